"""Paths of backups: where they may lie, and the texts when they may not (COMPATIBILITY 1.6)."""

from pathlib import Path

import pytest

from dkv.model.errors import BackupFailed, InvalidRequest, PathNotFound
from dkv.storage.backup.places import source, target


@pytest.fixture
def data(tmp_path: Path) -> str:
    (tmp_path / "data").mkdir()
    return str(tmp_path / "data")


def test_target_may_be_missing_empty_or_a_backup(tmp_path: Path, data: str) -> None:
    """Its parent has to exist."""
    path = tmp_path / "backup"
    assert target(str(path), "", data) == path
    path.mkdir()
    assert target(str(path), "", data) == path
    (path / "files").mkdir()
    (path / "DKV-BACKUP").touch()
    (path / "DKV-BACKUP.new").touch()
    assert target(str(path), "", data) == path


def test_target_without_its_parent_is_not_found(tmp_path: Path, data: str) -> None:
    """In the original's words."""
    with pytest.raises(PathNotFound, match=rf"^stat {tmp_path}/no: no such file or directory$"):
        target(str(tmp_path / "no" / "backup"), "", data)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_target_that_is_a_file_is_refused(tmp_path: Path, data: str, name: str) -> None:
    """RocksDB's backups are folders."""
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match=r"^require a folder for rocksdb backup$"):
        target(str(tmp_path / name), "", data)


def test_target_that_holds_something_else_is_refused_by_name(tmp_path: Path, data: str) -> None:
    """Somebody's files never become part of a backup, nor are they removed."""
    path = tmp_path / "backup"
    path.mkdir()
    for name in ("a", "b", "c", "d", "DKV-BACKUP"):
        (path / name).touch()
    with pytest.raises(InvalidRequest, match=r"holds something else \(a, b, c, \.\.\.\): nothing was changed"):
        target(str(path), "", data)


@pytest.mark.parametrize("name", ["data", "data/snap/x", "link", "data/../data"])
def test_target_in_the_data_folder_is_refused(tmp_path: Path, data: str, name: str) -> None:
    """Also through a link, and by another spelling."""
    (tmp_path / "link").symlink_to(data)
    with pytest.raises(InvalidRequest, match="lies in the data folder"):
        target(str(tmp_path / name), "", data)


def test_target_that_cannot_be_listed_says_so(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system says it."""
    (tmp_path / "backup").mkdir()

    def refuse(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(BackupFailed, match="cannot be listed: Permission denied"):
        target(str(tmp_path / "backup"), "", data)


def test_paths_below_a_root_stay_there(tmp_path: Path, data: str) -> None:
    """Relative paths begin at the root; neither dots, nor links, nor absolute paths leave it."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    assert target("a", str(root), data) == root / "a"
    assert target(str(root / "a"), str(root), data) == root / "a"
    for text in ("../a", str(tmp_path / "a"), "link/a", "/"):
        for look in (lambda path, top: target(path, top, data), source):
            with pytest.raises(InvalidRequest, match="is outside of the backup root"):
                look(text, str(root))


def test_source_has_to_be_a_backup(tmp_path: Path) -> None:
    """Missing, a file, a folder without a manifest, a backup."""
    path = tmp_path / "backup"
    with pytest.raises(PathNotFound, match=rf"^stat {path}: no such file or directory$"):
        source(str(path), "")
    path.touch()
    with pytest.raises(InvalidRequest, match=r"^require a folder for rocksdb restore$"):
        source(str(path), "")
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidRequest, match="holds no backup: it has no file DKV-BACKUP"):
        source(str(path), "")
    (path / "DKV-BACKUP").touch()
    assert source(str(path), "") == path
