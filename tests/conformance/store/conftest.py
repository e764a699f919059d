"""Every store behind one face: open, open again after close, open a checkpoint, let syncs complete."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from dkv.ports.store import RowBatch, Store
from dkv.storage.memory import MemoryStore
from dkv.storage.rocksdb import RocksDbStore


class StoreBed(Protocol):
    """Where the suite gets its stores from."""

    store: Store

    def reopen(self) -> Store: ...
    def open_checkpoint(self, folder: Path) -> Store: ...
    def wait_synced(self, mark: int) -> list[int]: ...


class _Bell:
    def __init__(self) -> None:
        self.rung = threading.Event()

    def wait_synced(self, store: Store, mark: int) -> list[int]:
        """The marks reported until `mark` was; fails by the test's own time-out."""
        seen: list[int] = []
        while not seen or seen[-1] < mark:
            self.rung.clear()
            taken = store.take_synced()
            if taken is not None:
                seen.append(taken)
            else:
                assert self.rung.wait(30)
        return seen

    def wait_flushed(self, store: Store) -> None:
        """Until no flush is under way; fails by the test's own time-out."""
        while not store.has_flushed():
            self.rung.clear()
            if not store.has_flushed():
                assert self.rung.wait(30)


class RocksDbBed:
    def __init__(self, folder: Path) -> None:
        self._folder = folder / "rows"
        self._bell = _Bell()
        self._others: list[RocksDbStore] = []
        self.store: Store = self._open()

    def _open(self) -> RocksDbStore:
        return RocksDbStore(self._folder, cache_bytes=1 << 20, on_synced=self._bell.rung.set)

    def reopen(self) -> Store:
        self.store = self._open()
        return self.store

    def open_checkpoint(self, folder: Path) -> Store:
        self._others.append(RocksDbStore(folder))
        return self._others[-1]

    def wait_synced(self, mark: int) -> list[int]:
        return self._bell.wait_synced(self.store, mark)

    def wait_flushed(self) -> None:
        self._bell.wait_flushed(self.store)

    def close(self) -> None:
        for store in (self.store, *self._others):
            store.close()


class MemoryBed:
    def __init__(self) -> None:
        self._bell = _Bell()
        self._memory = MemoryStore(auto_sync=True, on_synced=self._bell.rung.set)
        self.store: Store = self._memory

    def reopen(self) -> Store:
        self._memory.reopen()
        return self._memory

    def open_checkpoint(self, folder: Path) -> Store:
        return self._memory.from_checkpoint(folder)

    def wait_synced(self, mark: int) -> list[int]:
        return self._bell.wait_synced(self.store, mark)

    def wait_flushed(self) -> None:
        self._bell.wait_flushed(self.store)

    def close(self) -> None:
        self._memory.close()


@pytest.fixture(params=["rocksdb", "memory"])
def bed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreBed]:
    """A place with one open, empty store."""
    made = RocksDbBed(tmp_path) if request.param == "rocksdb" else MemoryBed()
    yield made
    made.close()


@pytest.fixture
def store(bed: StoreBed) -> Store:
    """The open, empty store of the bed."""
    return bed.store


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with the keys k00 to k99 in ten batches, row = key reversed."""
    for tens in range(10):
        keys = [b"k%d%d" % (tens, ones) for ones in range(10)]
        store.write(RowBatch([(key, key[::-1]) for key in keys]))
    return store
