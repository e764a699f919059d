"""Refuses writes before either store meets a full disk; reads go on, writes resume by themselves (INVARIANTS 6)."""

from dkv.model.errors import Overloaded
from dkv.ports.clock import Now
from dkv.ports.store import Store

CHECK_INTERVAL_MS = 200


class Disk:
    """Owned by the node: log and engine of all vBuckets lie on it."""

    def __init__(self, store: Store, free_bytes_min: int) -> None:
        self._store = store
        self.free_bytes_min: int = free_bytes_min
        self._checked_ms = -1_000_000
        self._bytes_since_check = 0
        self._is_full = False

    def note_applied(self, applied_bytes: int) -> None:
        self._bytes_since_check += applied_bytes

    def full(self, now: Now) -> Overloaded | None:
        """Why no write may be taken now; None when it may."""
        wrote_much = self._bytes_since_check > self.free_bytes_min // 16
        if wrote_much or now.monotonic_ms - self._checked_ms >= CHECK_INTERVAL_MS:
            self._checked_ms, self._bytes_since_check = now.monotonic_ms, 0
            self._is_full = self._store.free_bytes() < self.free_bytes_min
        if not self._is_full:
            return None
        return Overloaded(f"the disk has less than {self.free_bytes_min >> 20} MiB left, writes are refused", 1_000)
