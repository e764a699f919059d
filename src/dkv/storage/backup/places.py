"""Which folders a backup may be written to and read from. Looks only; texts as in COMPATIBILITY 1.6."""

import os
from pathlib import Path

from dkv.model.errors import BackupFailed, InvalidRequest, PathNotFound
from dkv.storage.backup.manifest import FILES_FOLDER, MANIFEST_FILE, MANIFEST_FILE_ASIDE

_OWN_NAMES = frozenset({MANIFEST_FILE, MANIFEST_FILE_ASIDE, FILES_FOLDER})


def target(text: str, root: str, data_folder: str) -> Path:
    """The folder that a backup may be written to, which may be missing. Raises InvalidRequest or PathNotFound."""
    path = _inside(text, root)
    if _is_within(path, Path(data_folder)):
        raise InvalidRequest(f"{path} lies in the data folder {data_folder}: choose a folder elsewhere")
    if not path.exists():
        if not path.parent.exists():
            raise PathNotFound(f"stat {path.parent}: no such file or directory")
        if not path.parent.is_dir():
            raise InvalidRequest("require a folder for rocksdb backup")
        return path
    if not path.is_dir():
        raise InvalidRequest("require a folder for rocksdb backup")
    others = sorted(set(_names(path)) - _OWN_NAMES)
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise InvalidRequest(f"{path} holds something else ({shown}): nothing was changed. Choose an empty folder")
    return path


def source(text: str, root: str) -> Path:
    """The folder of a backup. Raises InvalidRequest or PathNotFound."""
    path = _inside(text, root)
    if not path.exists():
        raise PathNotFound(f"stat {path}: no such file or directory")
    if not path.is_dir():
        raise InvalidRequest("require a folder for rocksdb restore")
    if MANIFEST_FILE not in _names(path):
        raise InvalidRequest(f"{path} holds no backup: it has no file {MANIFEST_FILE}")
    return path


def _inside(text: str, root: str) -> Path:
    """The path, absolute and free of links. It must not leave the root, if there is one; relative paths begin there."""
    base = Path(root) if root else Path.cwd()
    path = Path(os.path.realpath(base / text))
    if root and not _is_within(path, base):
        raise InvalidRequest(f"{text} is outside of the backup root {root}")
    return path


def _is_within(path: Path, folder: Path) -> bool:
    return path.is_relative_to(os.path.realpath(folder))


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError as error:
        raise BackupFailed(f"{path} cannot be listed: {error.strerror}") from error
