"""RocksDB behind the Store port, with the traps of its binding out of reach.

Writes go to the engine's WAL and are not synced; `SyncThread` syncs it off the turn, so that one thread never waits for
a disk it did not ask. One column family: a batch is then atomic also in what a power loss leaves of it.

Invariant: after a failed write or sync nothing more is written (INVARIANTS 6). What a newcomer breaks first:

* `write(sync=True)` holds the interpreter lock for the whole sync; `flush_wal(True)` does not.
* a range with its end before its start fails in the middle of its batch, half of which is then there, and every write
  and flush after it fails too: such a range is empty here, and never reaches the engine.
* a live iterator keeps the folder locked after `close`: scans are known here, and closed first.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rocksdict import Checkpoint, CompactOptions, Rdict, WriteBatch

from dkv.model.errors import BackupFailed, FolderRefused, StorageFailed
from dkv.ports.store import Pressure, RowBatch
from dkv.storage.engine_errors import translated
from dkv.storage.key_ranges import covered_share
from dkv.storage.rocksdb_options import CACHE_BYTES_DEFAULT, WRITE_BUFFER_BYTES_DEFAULT, engine_setup
from dkv.storage.rocksdb_scan import RocksDbScan
from dkv.storage.sync_thread import SyncThread

_STATS = {
    "engine_memtable_bytes": "rocksdb.cur-size-all-mem-tables",
    "engine_unflushed_bytes": "rocksdb.cur-size-active-mem-table",
    "engine_cache_bytes": "rocksdb.block-cache-usage",
    "engine_table_reader_bytes": "rocksdb.estimate-table-readers-mem",
    "engine_live_bytes": "rocksdb.estimate-live-data-size",
    "engine_files_bytes": "rocksdb.total-sst-files-size",
    "engine_rows_estimate": "rocksdb.estimate-num-keys",
    "engine_pending_compaction_bytes": "rocksdb.estimate-pending-compaction-bytes",
    "engine_compactions_running": "rocksdb.num-running-compactions",
    "engine_flushes_running": "rocksdb.num-running-flushes",
    "engine_background_errors": "rocksdb.background-errors",
}


class RocksDbStore:
    """Owns the database in `folder`, its sync thread and its open scans. One thread calls it."""

    def __init__(
        self,
        folder: Path,
        *,
        cache_bytes: int = CACHE_BYTES_DEFAULT,
        write_buffer_bytes: int = WRITE_BUFFER_BYTES_DEFAULT,
        engine_options: Mapping[str, str] | None = None,
        on_synced: Callable[[], None] | None = None,
    ) -> None:
        """Open or create. `cache_bytes` 0: no cache. `on_synced` is called on the sync thread after a sync.

        Raises InvalidRequest for impossible `engine_options`, Corrupt or StorageFailed when the engine cannot open.
        """
        setup = engine_setup(cache_bytes, write_buffer_bytes, engine_options or {})
        self.unknown_options: list[str] = setup.unknown
        """Names in `engine_options` that were not applied, for a warning."""
        self._folder = folder
        self._scans: weakref.WeakSet[RocksDbScan] = weakref.WeakSet()
        self._failure: StorageFailed | None = None
        self._closed = False
        try:
            self._database = Rdict(str(folder), setup.options)
        except Exception as error:
            raise translated(error, f"open {folder}") from error
        self._syncs = SyncThread(self._flush_wal, on_synced)
        self._flushes: SyncThread | None = None
        """Made for the first flush; its marks count the flushes."""
        self._flushes_wanted = self._flushes_done = 0
        self._compactions: SyncThread | None = None
        """Made for the first one; works off `_ranges_wanted`."""
        self._ranges_wanted: deque[tuple[bytes, bytes]] = deque()
        self._on_synced = on_synced

    def write(self, batch: RowBatch) -> None:
        """Apply atomically, ranges first. Not synced. Raises StorageFailed, then and ever after."""
        if self._failure is not None:
            raise self._failure
        changes = WriteBatch(raw_mode=True)
        put, delete = changes.put, changes.delete
        for start, end in batch.ranges:
            if start < end:
                changes.delete_range(start, end)
        for key, row in batch.operations:
            if row is None:
                delete(key)
            else:
                put(key, row)
        try:
            self._database.write(changes)
        except Exception as error:
            raise self._failed(error, "write") from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows in the order of `keys`, None where there is none. Raises Corrupt on damage."""
        try:
            rows: list[bytes | None] = self._database.get(list(keys))  # type: ignore[assignment]  # the stub says Any
        except Exception as error:
            raise translated(error, "read") from error
        return rows

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> RocksDbScan:
        """Rows in [start, end) as they are now, whatever is written while the scan is open."""
        scan = RocksDbScan(self._database, start, end, reverse)
        self._scans.add(scan)
        return scan

    def request_sync(self, mark: int) -> None:
        """Have everything written so far synced, off this thread; `take_synced` then reports `mark`."""
        self._syncs.request(mark)

    def take_synced(self) -> int | None:
        """The newest mark that is durable since the last call. Raises StorageFailed once a sync has failed."""
        return self._syncs.take()

    def sync(self) -> None:
        """Make everything written so far durable, waiting for the disk."""
        if self._failure is not None:
            raise self._failure
        self._flush_wal()

    def pressure(self) -> Pressure:
        """What the engine says about writes now: two look-ups, microseconds."""
        read = self._database.property_int_value
        stopped = read("rocksdb.is-write-stopped")
        return Pressure(bool(stopped), read("rocksdb.actual-delayed-write-rate") or 0)

    def request_flush(self) -> None:
        """Have what is in memory brought into files, off this thread; `has_flushed` then says so."""
        if self._flushes is None:
            self._flushes = SyncThread(self.flush, self._on_synced)
        self._flushes_wanted += 1
        self._flushes.request(self._flushes_wanted)

    def has_flushed(self) -> bool:
        """Whether every flush that was requested is over. Raises StorageFailed once one has failed."""
        if self._flushes is not None and (done := self._flushes.take()) is not None:
            self._flushes_done = done
        return self._flushes_done == self._flushes_wanted

    def request_compaction(self, start: bytes, end: bytes) -> None:
        """Have deleted rows in [start, end) dropped from the files, off this thread. What is left of it at a close is
        not done: the engine gets to it in its own time."""
        if self._compactions is None:
            self._compactions = SyncThread(self._compact, None)
        self._ranges_wanted.append((start, end))
        self._compactions.request(0)

    def checkpoint(self, folder: Path) -> None:
        """A consistent copy in `folder`, which must not exist in a folder that does.

        Flushes what has come since a `request_flush`: that one takes long and holds up nobody, this one is short.
        """
        if folder.exists() or not folder.parent.is_dir():
            raise FolderRefused(f"{folder}: a checkpoint needs a new folder in an existing one")
        self.flush()
        try:
            Checkpoint(self._database).create_checkpoint(str(folder))
        except Exception as error:
            failure = translated(error, f"checkpoint to {folder}")
            raise BackupFailed(str(failure)) if isinstance(failure, StorageFailed) else failure from error

    def flush(self) -> None:
        """Move what is in memory into files. For a checkpoint, and tests of damage; no promise needs it."""
        try:
            self._database.flush()
        except Exception as error:
            raise self._failed(error, "flush") from error

    def size_estimate(self, start: bytes, end: bytes) -> int:
        """Bytes in files, roughly: keys are taken as spread evenly within a file; memtables are not counted."""
        files = self._database.live_files()
        return int(sum(f["size"] * covered_share(f["start_key"], f["end_key"], start, end) for f in files))

    def free_bytes(self) -> int:
        """Bytes that an ordinary user can still write on the device of the folder."""
        device = os.statvfs(self._folder)
        return device.f_bavail * device.f_frsize

    def stats(self) -> dict[str, float]:
        """Sizes and running work of the engine, by metric suffix."""
        read = self._database.property_int_value
        return {name: float(read(key) or 0) for name, key in _STATS.items()}

    def close(self) -> None:
        """Close scans, sync, close. Idempotent, also after a failure: then it does not sync again."""
        if self._closed:
            return
        self._closed = True
        for scan in list(self._scans):
            scan.close()
        self._syncs.stop()
        if self._flushes is not None:
            self._flushes.stop()
        if self._compactions is not None:
            self._compactions.stop()
        try:
            if self._failure is None:
                self._flush_wal()
        finally:
            self._close_database()

    def _close_database(self) -> None:
        try:
            self._database.close()
        except Exception as error:
            raise self._failed(error, "close") from error

    def _compact(self) -> None:
        options = CompactOptions()
        options.set_exclusive_manual_compaction(False)
        while self._ranges_wanted:
            start, end = self._ranges_wanted.popleft()
            files = sorted((f["start_key"], f["end_key"]) for f in self._database.live_files())
            for first, last in files:  # one by one: a close waits for no more than one
                if first < end and last >= start and not self._closed:
                    # It changes no row; damage that it meets is the next reader's to tell.
                    with suppress(Exception):
                        self._database.compact_range(max(start, first), min(end, last), options)

    def _flush_wal(self) -> None:
        try:
            self._database.flush_wal(True)
        except Exception as error:
            raise self._failed(error, "sync") from error

    def _failed(self, error: Exception, doing: str) -> Exception:
        failure = translated(error, doing)
        if isinstance(failure, StorageFailed):
            self._failure = failure
        return failure
