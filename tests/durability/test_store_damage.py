"""Damage to RocksDB's files is told, never taken for the end of the rows."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from dkv.model.errors import Corrupt, StorageFailed
from dkv.ports.store import RowBatch, Scan
from dkv.storage.rocksdb import RocksDbStore

ROWS = 3000


def key_of(number: int) -> bytes:
    return b"k%06d" % number


def take_all(scan: Scan, rows_max: int) -> None:
    while scan.take(rows_max, 1 << 30):
        pass


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A closed store whose one large file has a bit flipped in the middle of its rows."""
    folder = tmp_path / "rows"
    store = RocksDbStore(folder, cache_bytes=0)
    store.write(RowBatch([(key_of(number), os.urandom(100)) for number in range(ROWS)]))
    store.flush()
    store.close()
    path = max(folder.glob("*.sst"), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return folder


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rows_max", [1, 100, ROWS])
def test_scan_over_flipped_bit_raises_corrupt_never_ends(damaged: Path, reverse: bool, rows_max: int) -> None:
    """Both ways and whatever the slice; asked again, it says the same again."""
    store = RocksDbStore(damaged, cache_bytes=0)
    scan = store.scan(b"k", b"l", reverse=reverse)
    with pytest.raises(Corrupt, match="checksum"):
        take_all(scan, rows_max)
    with pytest.raises(Corrupt, match="checksum"):
        scan.take(rows_max, 1 << 30)
    store.close()


def test_scan_opened_on_flipped_bit_raises_corrupt(damaged: Path) -> None:
    """Also when the first block that the walk needs is the damaged one."""
    store = RocksDbStore(damaged, cache_bytes=0)
    for number in range(0, ROWS, 20):
        scan = store.scan(key_of(number), key_of(number + 1))
        try:
            rows = scan.take(10, 1 << 20)
        except Corrupt:
            break
        assert [key for key, _ in rows] == [key_of(number)]
    else:
        pytest.fail("no scan met the damage")
    store.close()


def test_get_many_on_flipped_bit_raises_corrupt_others_come_back(damaged: Path) -> None:
    """Rows outside the damaged block are still served."""
    store = RocksDbStore(damaged, cache_bytes=0)
    with pytest.raises(Corrupt, match="checksum"):
        store.get_many([key_of(number) for number in range(ROWS)])
    ends = store.get_many([key_of(0), key_of(ROWS - 1)])
    assert [len(row or b"") for row in ends] == [100, 100]
    store.close()


def test_open_without_a_file_it_needs_raises_and_names_the_folder(damaged: Path) -> None:
    """A missing file is found when the store is opened."""
    for path in damaged.glob("*.sst"):
        path.unlink()
    with pytest.raises(StorageFailed, match=str(damaged)):
        RocksDbStore(damaged)


@pytest.mark.parametrize("cut_bytes", [1, 20, 150])
def test_wal_cut_off_leaves_a_prefix_of_whole_batches(tmp_path: Path, cut_bytes: int) -> None:
    """What a power loss leaves of the log: batches from the front, each whole or not at all."""
    store = RocksDbStore(tmp_path / "rows")
    for number in range(100):
        store.write(RowBatch([(key_of(2 * number), b"x" * 30), (key_of(2 * number + 1), b"x" * 30)]))
    store.sync()
    shutil.copytree(tmp_path / "rows", tmp_path / "copy")
    store.close()
    log = max((tmp_path / "copy").glob("*.log"))
    os.truncate(log, log.stat().st_size - cut_bytes)
    again = RocksDbStore(tmp_path / "copy")
    keys = [key for key, _ in again.scan(b"k", b"l").take(1000, 1 << 30)]
    assert keys == [key_of(number) for number in range(len(keys))]
    assert len(keys) % 2 == 0
    assert 190 <= len(keys) < 200
    again.close()


class FailingDatabase:
    """The engine, but for one method that says what RocksDB says of a full disk."""

    def __init__(self, database: object, failing: str) -> None:
        self.database = database
        self.failing = failing

    def __getattr__(self, name: str) -> object:
        return self.fail if name == self.failing else getattr(self.database, name)

    def fail(self, *_: object) -> None:
        raise Exception("IO error: No space left on device")


def test_write_after_failed_write_is_refused_and_close_still_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed write is final (INVARIANTS 6); the folder can be opened again afterwards."""
    store = RocksDbStore(tmp_path / "rows")
    store.write(RowBatch([(b"a", b"1")]))
    with monkeypatch.context() as patch:
        patch.setattr(store, "_database", FailingDatabase(store._database, "write"))
        with pytest.raises(StorageFailed, match="No space left"):
            store.write(RowBatch([(b"b", b"1")]))
    with pytest.raises(StorageFailed, match="No space left"):
        store.write(RowBatch([(b"b", b"1")]))
    with pytest.raises(StorageFailed, match="No space left"):
        store.sync()
    store.close()
    again = RocksDbStore(tmp_path / "rows")
    assert again.get_many([b"a", b"b"]) == [b"1", None]
    again.close()


def test_sync_failed_off_the_turn_rings_and_ends_all_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node hears of it by the bell and `take_synced`; nothing is written or synced after it."""
    rung = threading.Event()
    store = RocksDbStore(tmp_path / "rows", on_synced=rung.set)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_database", FailingDatabase(store._database, "flush_wal"))
        store.request_sync(1)
        assert rung.wait(30)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="sync: IO error"):
            store.take_synced()
    with pytest.raises(StorageFailed, match="sync: IO error"):
        store.write(RowBatch([(b"a", b"1")]))
    store.close()


def test_mistake_of_ours_is_not_taken_for_a_failing_disk(tmp_path: Path) -> None:
    """Only the engine's own errors end the store; a wrong type stays what it is, and nothing of its batch is there."""
    store = RocksDbStore(tmp_path / "rows")
    with pytest.raises(Exception, match="bytes") as raised:
        store.write(RowBatch([(b"a", b"1"), ("text", b"1")]))  # type: ignore[list-item]  # the mistake
    assert not isinstance(raised.value, StorageFailed)
    store.write(RowBatch([(b"b", b"1")]))
    assert store.get_many([b"a", b"b"]) == [None, b"1"]
    store.close()


def test_kill_in_service_loses_nothing_that_was_written(tmp_path: Path) -> None:
    """A copy of the files of a running store stands for kill -9: the page cache has it all, synced or not."""
    store = RocksDbStore(tmp_path / "rows")
    store.write(RowBatch([(b"a", b"1")]))
    shutil.copytree(tmp_path / "rows", tmp_path / "copy")
    again = RocksDbStore(tmp_path / "copy")
    assert again.get_many([b"a"]) == [b"1"]
    again.close()
    store.close()
