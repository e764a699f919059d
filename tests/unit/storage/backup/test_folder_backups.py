"""The port over folders, with real processes and a real engine."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupDamaged, BackupFailed, Busy, DkvError, InvalidRequest, PathNotFound
from dkv.ports.backups import Copied
from dkv.ports.store import RowBatch
from dkv.storage.backup.folder_backups import BackupSettings, FolderBackups, FolderFetching, FolderKeeping
from dkv.storage.rocksdb import RocksDbStore

T = TypeVar("T")
FACTS = BackupFacts(1, 4, 9, 2, 7, 1_700_000_000_000, b"h" * 16)
PATIENCE_S = 30
ROWS: list[tuple[bytes, bytes | None]] = [(b"\0\0\0\4%04d" % number, b"\0" + b"v" * 100) for number in range(1_000)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RocksDbStore]:
    store = RocksDbStore(tmp_path / "db")
    store.write(RowBatch(list(ROWS)))
    yield store
    store.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., FolderBackups]]:
    (tmp_path / "snap").mkdir()
    made: list[FolderBackups] = []

    def backups(**settings: Any) -> FolderBackups:
        made.append(FolderBackups(tmp_path / "snap", tmp_path / "db", BackupSettings(**settings)))
        return made[-1]

    yield backups
    for each in made:
        each.close()


@pytest.fixture
def backups(make: Callable[..., FolderBackups]) -> FolderBackups:
    return make()


def until(look: Callable[[], T | None]) -> T:
    """What `look` finds at last; it is asked again while it finds nothing."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := look()) is None:
        assert time.monotonic() < deadline
    return found


def done(work: FolderKeeping | FolderFetching) -> Copied:
    return until(lambda: copied if (copied := work.poll()).is_done else None)


def keep(backups: FolderBackups, store: RocksDbStore, path: Path) -> Copied:
    keeping = backups.keep(str(path))
    with closing(keeping):
        until(lambda: keeping.is_ready() or None)
        store.checkpoint(keeping.checkpoint)
        keeping.begin([FACTS])
        return done(keeping)


def is_empty(folder: Path) -> bool | None:
    return not list(folder.iterdir()) or None


def test_backup_and_back_gives_the_same_rows_and_leaves_nothing(
    backups: FolderBackups, store: RocksDbStore, tmp_path: Path
) -> None:
    """Kept, fetched, opened, read; afterwards neither checkpoint nor fetched files are left."""
    copied = keep(backups, store, tmp_path / "backup")
    assert copied.bytes_done == copied.bytes_total > 0
    fetching = backups.fetch(str(tmp_path / "backup"))
    done(fetching)
    assert fetching.facts() == [FACTS]
    rows = fetching.open()
    scan = rows.scan(b"\0\0\0\4", b"\0\0\0\5")
    assert scan.take(2_000, 1 << 20) == ROWS
    assert rows.get(ROWS[5][0]) == ROWS[5][1]
    assert rows.get(b"none") is None
    assert rows.rows_estimate() == len(ROWS)
    rows.close()
    fetching.close()
    until(lambda: is_empty(tmp_path / "snap"))


@pytest.mark.parametrize(
    ("path", "error"),
    [("no/such", PathNotFound), ("db", InvalidRequest), ("file", InvalidRequest), ("../outside", InvalidRequest)],
)
def test_bad_target_is_told_before_a_checkpoint_is_made(
    make: Callable[..., FolderBackups], tmp_path: Path, path: str, error: type[DkvError]
) -> None:
    """By class and text, from the process that looked."""
    (tmp_path / "file").touch()
    (tmp_path / "db").mkdir()
    keeping = make(root=str(tmp_path)).keep(path)
    with pytest.raises(error):
        until(lambda: keeping.is_ready() or None)
    keeping.close()


def test_damaged_backup_is_told_and_clears_up(backups: FolderBackups, store: RocksDbStore, tmp_path: Path) -> None:
    """One bit in the largest file."""
    keep(backups, store, tmp_path / "backup")
    largest = max((tmp_path / "backup" / "files").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[100] ^= 1
    largest.write_bytes(data)
    fetching = backups.fetch(str(tmp_path / "backup"))
    with pytest.raises(BackupDamaged, match="is damaged"):
        done(fetching)
    fetching.close()
    until(lambda: is_empty(tmp_path / "snap"))


def test_rows_damaged_after_they_were_verified_are_the_backups_fault(
    backups: FolderBackups, store: RocksDbStore, tmp_path: Path
) -> None:
    """The engine's own checksums find it; it is no damage of the node's."""
    keep(backups, store, tmp_path / "backup")
    fetching = backups.fetch(str(tmp_path / "backup"))
    done(fetching)
    rows = fetching.open()
    table = next(path for path in (tmp_path / "snap").rglob("*.sst"))
    table.write_bytes(bytes(table.stat().st_size))
    with pytest.raises(BackupDamaged):
        rows.scan(b"\0\0\0\4", b"\0\0\0\5").take(2_000, 1 << 20)
    rows.close()
    with pytest.raises(BackupDamaged, match="open the backup"):
        fetching.open()
    fetching.close()


def test_two_at_once_in_one_folder_are_refused(backups: FolderBackups, store: RocksDbStore, tmp_path: Path) -> None:
    """Also of two servers: the folder is locked while somebody writes it."""
    keep(backups, store, tmp_path / "backup")
    with _locked(tmp_path / "backup"), pytest.raises(Busy, match="is in use by another backup or restore"):
        keep(backups, store, tmp_path / "backup")
    with _locked(tmp_path / "backup"), closing(backups.fetch(str(tmp_path / "backup"))) as work, pytest.raises(Busy):
        done(work)


def test_backup_that_is_let_go_leaves_the_one_before(
    make: Callable[..., FolderBackups], store: RocksDbStore, tmp_path: Path
) -> None:
    """Closed in the middle, at a pace at which it would take minutes: it clears up, and the old one is whole."""
    fast, slow = make(), make(bytes_per_second=10)
    keep(fast, store, tmp_path / "backup")
    store.write(RowBatch([(b"\0\0\0\4new", b"\0new")]))
    keeping = slow.keep(str(tmp_path / "backup"))
    until(lambda: keeping.is_ready() or None)
    store.checkpoint(keeping.checkpoint)
    keeping.begin([FACTS])
    keeping.close()
    keeping.close()
    slow.close()
    assert is_empty(tmp_path / "snap")
    fetching = fast.fetch(str(tmp_path / "backup"))
    done(fetching)
    assert fetching.open().get(b"\0\0\0\4new") is None
    fetching.close()


def test_process_that_does_not_end_is_ended(
    backups: FolderBackups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a server does not wait for a disk that hangs."""
    monkeypatch.setattr("dkv.storage.backup.folder_backups.CLEAR_UP_S_MAX", 0.0)
    keeping = backups.keep(str(tmp_path / "backup"))
    backups.close()
    with pytest.raises(ValueError, match="closed"):
        keeping.is_ready()


def test_process_that_dies_is_a_failed_backup(backups: FolderBackups, tmp_path: Path) -> None:
    """Killed by somebody, before it said that it was over."""
    keeping = backups.keep(str(tmp_path / "backup"))
    until(lambda: keeping.is_ready() or None)
    keeping._child._process.kill()
    keeping._child._process.wait()
    with pytest.raises(BackupFailed, match="has ended early"):
        keeping.begin([FACTS])
    with pytest.raises(BackupFailed, match="has ended early"):
        done(keeping)
    keeping.close()


def test_process_that_cannot_be_started_is_a_failed_backup(
    backups: FolderBackups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a machine has no processes left."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(BackupFailed, match="could be started"):
        backups.keep(str(tmp_path / "backup"))


def test_leftovers_of_a_killed_server_are_removed(make: Callable[..., FolderBackups], tmp_path: Path) -> None:
    """At the next start."""
    (tmp_path / "snap" / "checkpoint-1-1").mkdir()
    (tmp_path / "snap" / "checkpoint-1-1" / "000001.sst").touch()
    make()
    assert is_empty(tmp_path / "snap")


class _locked:  # noqa: N801 (used as a function)
    """Another process that holds the lock of a folder."""

    def __init__(self, folder: Path) -> None:
        code = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), 2); print(flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, os.fspath(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
