"""How many bytes of bulk may leave in a turn: a rate, so that snapshots take their time and heartbeats do not wait."""

from dkv.ports.clock import Now

BYTES_PER_SECOND = 32 << 20
"""A gigabyte in half a minute. On two cores for everything Puts beside it kept 0.67 of their rate at twice as much, and
0.89 at 24 MiB."""
TURN_BYTES_MAX = 1 << 20
"""About 4 ms of a turn."""


class Allowance:
    """Owned by whoever sends."""

    def __init__(self) -> None:
        self.bytes_left: int = 0
        """The sender takes from it what it has sent; a last chunk may go beyond it."""
        self._earned_ms = 0

    def earn(self, now: Now) -> None:
        """Once a turn. What was not used is kept up to a turn's worth."""
        passed_ms, self._earned_ms = now.monotonic_ms - self._earned_ms, now.monotonic_ms
        self.bytes_left = min(TURN_BYTES_MAX, self.bytes_left + BYTES_PER_SECOND * passed_ms // 1_000)
