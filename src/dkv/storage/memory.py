"""The in-memory twin of an engine: the same port, over a disk that forgets what was not synced.

It keeps two images: what a reader sees, and what is synced; between them the batches not synced yet, in their order.
The simulation decides when a sync completes, what a power loss leaves (any prefix of those batches, as a WAL does), and
which write or sync fails.

Invariant: the synced image plus all unsynced batches is the visible image. What a newcomer breaks first: a process
crash is not a power loss; the page cache survives it, so nothing is lost, but what was not synced still is not
(INVARIANTS 3).
"""

import weakref
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path

from dkv.model.errors import Corrupt, FolderRefused, InvariantBroken, StorageFailed
from dkv.ports.store import Pressure, RowBatch
from dkv.storage.image import Image

_FREE_BYTES_DEFAULT = 1 << 40
NO_PRESSURE = Pressure(stopped=False, delayed_bytes_per_s=0)


class MemoryScan:
    """A walk over rows that were copied when it was opened, so nothing later shows."""

    __slots__ = ("__weakref__", "_closed", "_damaged", "_position", "_rows")

    def __init__(self, rows: list[tuple[bytes, bytes]], damaged: Set[bytes]) -> None:
        self._rows, self._damaged = rows, damaged
        self._position = 0
        self._closed = False

    def take(self, rows_max: int, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """The next rows: at most `rows_max`, and none after the one that reaches `bytes_max`. [] at the end."""
        if self._closed:
            raise InvariantBroken("a scan was used after it was closed")
        taken: list[tuple[bytes, bytes]] = []
        left = bytes_max
        for key, row in self._rows[self._position : self._position + max(rows_max, 1)]:
            if key in self._damaged:
                raise _damage(key)
            taken.append((key, row))
            left -= len(key) + len(row)
            if left <= 0:
                break
        self._position += len(taken)
        return taken

    def close(self) -> None:
        """Let the rows go. Idempotent."""
        self._closed = True
        self._rows = []


class MemoryStore:
    """Owns rows and their simulated disk. The store outlives crashes: after one it is as freshly opened.

    `auto_sync`: requested syncs complete at once. Otherwise only `complete_sync` completes them.
    """

    def __init__(self, *, auto_sync: bool = False, on_synced: Callable[[], None] | None = None) -> None:
        self.auto_sync = auto_sync
        self.fail_next_write: StorageFailed | None = None
        """Raised by the next write, which then did not happen."""
        self.fail_next_wait: StorageFailed | None = None
        """Raised by the next `sync`, which then made nothing durable."""
        self.fail_next_sync: StorageFailed | None = None
        """Ends the next sync to complete, which then made nothing durable."""
        self.damaged: set[bytes] = set()
        """Keys of rows whose bytes are not what was written; a later write of a row makes it whole."""
        self.free_bytes_now = _FREE_BYTES_DEFAULT
        self.pressure_now = NO_PRESSURE
        self._on_synced = on_synced
        self._checkpoints: dict[Path, Image] = {}
        self._synced = Image()
        self._unsynced: list[RowBatch] = []
        self._scans: weakref.WeakSet[MemoryScan] = weakref.WeakSet()
        self._visible = Image()
        self._requests: list[tuple[int, int]] = []
        """(mark, batches written when asked): the sync under way, then the one that waits."""
        self._synced_mark: int | None = None
        self._synced_count = 0
        self._flush_wanted: int | None = None
        """Batches written when a flush was asked for that has not completed."""
        self._failure: StorageFailed | None = None
        """Of a write."""
        self._sync_failure: StorageFailed | None = None
        self._closed = False

    # The port

    def write(self, batch: RowBatch) -> None:
        """Apply atomically, ranges first. Not synced. Raises what was injected, then and ever after."""
        self._check_usable()
        if (failure := self.fail_next_write) is not None:
            self.fail_next_write = None
            self._failure = failure
            raise failure
        self.damaged.difference_update(key for key, _ in batch.operations)
        kept = RowBatch(list(batch.operations), list(batch.ranges))
        self._visible.apply(kept)
        self._unsynced.append(kept)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows in the order of `keys`, None where there is none."""
        self._check_open()
        for key in self.damaged.intersection(keys):
            raise _damage(key)
        return [self._visible.rows.get(key) for key in keys]

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> MemoryScan:
        """Rows in [start, end) as they are now."""
        self._check_open()
        rows = self._visible.between(start, end)
        if reverse:
            rows.reverse()
        scan = MemoryScan(rows, self.damaged)
        self._scans.add(scan)
        return scan

    def request_sync(self, mark: int) -> None:
        """Ask for a sync; it covers what was written before the request, not what comes until it completes."""
        self._check_open()
        self._requests[1:] = [(mark, self._written_count())]
        if self.auto_sync:
            self.complete_sync()

    def take_synced(self) -> int | None:
        """The newest mark completed since the last call. Raises the failure once a sync has failed."""
        if self._sync_failure is not None:
            raise self._sync_failure
        mark, self._synced_mark = self._synced_mark, None
        return mark

    def sync(self) -> None:
        """Make everything written so far durable, at once."""
        self._check_usable()
        if self.fail_next_wait is not None:
            self.fail_next_sync, self.fail_next_wait = self.fail_next_wait, None
        self._sync_to(self._written_count())

    def pressure(self) -> Pressure:
        """`pressure_now`, which the simulation sets."""
        return self.pressure_now

    def request_flush(self) -> None:
        """There are no files to bring anything into; but it makes durable what was written before."""
        self._check_open()
        self._flush_wanted = self._written_count()
        if self.auto_sync:
            self.complete_sync()

    def has_flushed(self) -> bool:
        """Whether the flush has completed, with a `complete_sync`. Raises the failure once one has failed."""
        if self._sync_failure is not None:
            raise self._sync_failure
        return self._flush_wanted is None

    def request_compaction(self, start: bytes, end: bytes) -> None:
        """Deleted rows take no space here."""

    def checkpoint(self, folder: Path) -> None:
        """Remember a copy under the name of `folder`; no file is written. `from_checkpoint` opens it."""
        self._check_open()
        if folder in self._checkpoints or folder.exists() or not folder.parent.is_dir():
            raise FolderRefused(f"{folder}: a checkpoint needs a new folder in an existing one")
        self._checkpoints[folder] = self._visible.copy()

    def size_estimate(self, start: bytes, end: bytes) -> int:
        """Bytes of keys and rows in [start, end)."""
        return sum(len(key) + len(row) for key, row in self._visible.between(start, end))

    def free_bytes(self) -> int:
        """`free_bytes_now`, which the simulation sets."""
        return self.free_bytes_now

    def stats(self) -> dict[str, float]:
        """Numbers of rows and of batches not synced."""
        return {"engine_rows_estimate": len(self._visible.keys), "engine_unsynced_batches": len(self._unsynced)}

    def close(self) -> None:
        """Close scans, sync, close. Idempotent, also after a failure: then it does not sync again."""
        if self._closed:
            return
        self._closed = True
        self._close_scans()
        if self._failure is None and self._sync_failure is None:
            self._sync_to(self._written_count())

    # The simulation

    @property
    def has_sync_under_way(self) -> bool:
        """Whether `complete_sync` has something to complete."""
        return bool(self._requests) or self._flush_wanted is not None

    @property
    def unsynced_batches(self) -> int:
        """How many batches a power loss could take; the largest sensible `keep_batches`."""
        return len(self._unsynced)

    def complete_sync(self) -> None:
        """Let the sync under way end: durable, or failed if `fail_next_sync` says so. Nothing under way: no effect."""
        if self._flush_wanted is not None:
            self._complete_flush(self._flush_wanted)
        if not self._requests:
            return
        mark, written_count = self._requests.pop(0)
        try:
            self._sync_to(written_count)
        except StorageFailed:
            self._requests.clear()
        else:
            self._synced_mark = mark
        if self._on_synced is not None:
            self._on_synced()

    def crash_process(self) -> None:
        """End the process without close: nothing written is lost, nothing more is synced, scans and marks are gone."""
        self._reopen(self._visible)

    def power_loss(self, keep_batches: int) -> None:
        """Leave the synced rows and the first `keep_batches` unsynced batches; that much is then on the disk."""
        for batch in self._unsynced[:keep_batches]:
            self._synced.apply(batch)
        self._unsynced.clear()
        self._reopen(self._synced.copy())

    def reopen(self) -> None:
        """Open again after `close`."""
        if not self._closed:
            raise InvariantBroken("the store is open")
        self._reopen(self._visible)

    def from_checkpoint(self, folder: Path) -> "MemoryStore":
        """A store of its own with the rows of the checkpoint, all synced."""
        store = MemoryStore(auto_sync=self.auto_sync)
        store._synced = self._checkpoints[folder].copy()
        store._reopen(store._synced.copy())
        return store

    def _reopen(self, visible: Image) -> None:
        self._close_scans()
        self._visible = visible
        self._requests.clear()
        self._synced_mark = self._failure = self._sync_failure = self._flush_wanted = None
        self._synced_count = 0
        self._closed = False

    def _close_scans(self) -> None:
        for scan in list(self._scans):
            scan.close()
        self._scans.clear()

    def _complete_flush(self, written_count: int) -> None:
        self._flush_wanted = None
        with suppress(StorageFailed):  # whoever asks whether it is over is told
            self._sync_to(written_count)

    def _written_count(self) -> int:
        """Batches written since the store was opened, counting those left unsynced from before."""
        return self._synced_count + len(self._unsynced)

    def _sync_to(self, written_count: int) -> None:
        if (failure := self.fail_next_sync) is not None:
            self.fail_next_sync = None
            self._sync_failure = failure
            raise failure
        newly = max(0, written_count - self._synced_count)
        for batch in self._unsynced[:newly]:
            self._synced.apply(batch)
        del self._unsynced[:newly]
        self._synced_count += newly

    def _check_open(self) -> None:
        if self._closed:
            raise InvariantBroken("the store was used after it was closed")

    def _check_usable(self) -> None:
        self._check_open()
        failure = self._failure or self._sync_failure
        if failure is not None:
            raise failure


def _damage(key: bytes) -> Corrupt:
    return Corrupt(f"simulated: the row of {key.hex()} is damaged")
