"""Chance from a seed, in streams that do not disturb each other.

Each consumer (schedule, clients, disk, node) draws from a stream of its own, named after it: one more draw in one place
does not change what all others see, so a seed keeps its meaning while code around it changes.
"""

import random


def stream(seed: int | str, name: str) -> random.Random:
    """A generator that depends on (seed, name) alone; the same on every machine and Python run."""
    return random.Random(f"{seed}/{name}")


class SeededRandom:
    """The node's `Random` port."""

    def __init__(self, seed: int | str, name: str = "node") -> None:
        self._stream = stream(seed, name)

    def bytes(self, count: int) -> bytes:
        return self._stream.randbytes(count)
