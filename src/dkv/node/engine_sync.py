"""Syncs the engine off the turn, and says up to where each vBucket is then on disk.

The log is cut only behind what the engine has synced (INVARIANTS 17): what is applied is noted before the sync is
requested, and counts once that request comes back.
"""

from collections.abc import Mapping

from dkv.ports.clock import Now
from dkv.ports.store import Store

SYNC_INTERVAL_MS = 1_000
SYNC_BYTES = 32 << 20
"""Applied bytes after which the engine is synced without waiting for the interval: bounds the replay at start."""


class EngineSync:
    """Owned by the node: one engine holds all of its vBuckets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._applied: dict[int, int] = {}
        """By vBucket, what was applied since the last request."""
        self._requested: dict[int, dict[int, int]] = {}
        """By mark, what a request makes durable."""
        self._mark = 0
        self.synced_mark: int = 0
        """What was written before the request of this mark, or an earlier one, is on disk."""
        self._requested_ms = -1_000_000
        self._bytes_since_request = 0

    def note_applied(self, vbucket: int, index: int, applied_bytes: int) -> None:
        self._applied[vbucket] = index
        self._bytes_since_request += applied_bytes

    def take_synced(self) -> Mapping[int, int]:
        """By vBucket, the applied index that has become durable since the last call. Raises StorageFailed."""
        mark = self._store.take_synced()
        if mark is None:
            return {}
        self.synced_mark = mark
        synced: dict[int, int] = {}
        for each in [each for each in self._requested if each <= mark]:  # in order: later ones are further
            synced |= self._requested.pop(each)
        return synced

    def request_if_due(self, now: Now) -> None:
        """Asks for a sync when there is something to sync, and enough of it or for long enough."""
        due = now.monotonic_ms - self._requested_ms >= SYNC_INTERVAL_MS or self._bytes_since_request >= SYNC_BYTES
        if due and self._applied:
            self.request(now)

    def request(self, now: Now) -> int:
        """Asks at once; returns the mark of the request."""
        self._mark, self._requested_ms, self._bytes_since_request = self._mark + 1, now.monotonic_ms, 0
        self._requested[self._mark], self._applied = self._applied, {}
        self._store.request_sync(self._mark)
        return self._mark
