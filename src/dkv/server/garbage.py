"""How rarely Python looks for garbage in cycles.

A turn makes some objects for each vBucket and drops them all: counting references frees them at once. What is made of
cycles is rare here (errors with tracebacks), while every look goes through objects that live as long as the server:
with a thousand vBuckets that was a ninth of the processor time of Puts.
"""

import gc

YOUNG_MAX = 50_000
"""Objects that may come to be, beyond those that went, before a look: a few megabytes, where Python takes 700."""
MIDDLE_EVERY, OLD_EVERY = 20, 100
"""Every so many looks at the young the next older ones are looked at, too."""


def collect_rarely() -> None:
    """To be called when everything is there that stays: it is never looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_EVERY, OLD_EVERY)
