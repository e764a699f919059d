"""Which vBuckets a turn looks at, so that a thousand idle ones cost it nothing.

Those that somebody waits for, or that have got calls or news; and now and then those with something due. The only
vBucket of a node is looked at in every turn.
"""

from collections.abc import Iterable, Mapping

from dkv.node.hosted import Hosted
from dkv.node.upkeep import CLOCK_TICK_INTERVAL_MS
from dkv.ports.clock import Now
from dkv.vbucket.replica import Replica

LOOK_AT_ALL_MS = 10_000
"""Also a vBucket that nobody asks for notes the time in its log, now and then."""


class Busy:
    """Owned by the node."""

    def __init__(self, vbuckets: Mapping[int, Hosted]) -> None:
        self._vbuckets = vbuckets
        self.now: dict[int, Hosted] = dict(vbuckets)
        """Those that this turn looks at, or, between two turns, that the next one does even if there is no news."""
        self.writing: dict[int, Hosted] = {}
        """Those with calls that wait for an entry: there is nothing to do for them before there is news."""
        self._expiring: dict[int, None] = {}
        """Those with a row that expires."""
        self._woke_ms = self._woke_all_ms = 0
        for hosted in vbuckets.values():
            self.note_expiring(hosted.replica)

    def wake(self, called: Iterable[int], now: Now) -> None:
        """A turn begins, with calls for these."""
        for vbucket in called:
            self.now[vbucket] = self._vbuckets[vbucket]
        if len(self.now) < len(self._vbuckets):
            if now.monotonic_ms - self._woke_ms >= CLOCK_TICK_INTERVAL_MS:
                self._woke_ms = now.monotonic_ms
                self.now |= {vbucket: self._vbuckets[vbucket] for vbucket in self._expiring}
            if now.monotonic_ms - self._woke_all_ms >= LOOK_AT_ALL_MS:
                self._woke_all_ms = now.monotonic_ms
                self.now |= self._vbuckets

    def settle(self) -> None:
        """The turn ends."""
        if len(self._vbuckets) > 1:
            self.now = {vbucket: hosted for vbucket, hosted in self.now.items() if hosted.is_busy}

    def note_expiring(self, replica: Replica) -> None:
        """Something was applied there."""
        if replica.earliest_expiry is None:
            self._expiring.pop(replica.vbucket, None)
        else:
            self._expiring[replica.vbucket] = None

    def forget_written(self) -> None:
        """Those in which no call waits any more."""
        self.writing = {vbucket: each for vbucket, each in self.writing.items() if each.writes.waiting_entries}
