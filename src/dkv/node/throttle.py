"""How fast entries may be applied while the engine asks for fewer writes (INVARIANTS 17).

RocksDB slows a writer down by putting it to sleep inside of the write, with the interpreter lock held. So the node
keeps to the rate itself: what is committed waits here, where reads and heartbeats go on, and not there.
"""

from dkv.ports.clock import Now
from dkv.ports.store import Store

BACKLOG_BYTES_MAX = 4 << 20
"""Committed entries that may wait for the engine before writes are refused: a fraction of a second at its rate."""


class Throttle:
    """Owned by the node."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owed_bytes = 0.0
        """Applied, and not yet paid for by the time that has passed at the engine's rate."""
        self._paid_ms = 0

    def may_apply(self, now: Now) -> bool:
        """Whether the engine takes a batch now without making its writer wait."""
        stopped, rate = self._store.pressure()
        if stopped:
            return False
        if not rate:
            self._owed_bytes = 0.0
        else:
            self._owed_bytes = max(0.0, self._owed_bytes - rate * (now.monotonic_ms - self._paid_ms) / 1_000)
        self._paid_ms = now.monotonic_ms
        return not self._owed_bytes

    def note_applied(self, applied_bytes: int) -> None:
        self._owed_bytes += applied_bytes

    def is_full(self, backlog_bytes: int) -> bool:
        """Whether so much waits that no more may be proposed."""
        return backlog_bytes > BACKLOG_BYTES_MAX or self._store.pressure().stopped
