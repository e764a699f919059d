"""The folder of a node: one process at a time, ours or refused.

    <db-folder>/DKV      identity, see identity.py; there from the last step of creation on
                LOCK     locked while a process has the folder open; holds its pid for people
                data/    the engine's rows          sst/     files on their way into the engine
                logs/    the Raft log               entry/   kept free: a name of the original's layout
                snap/    checkpoints and snapshots

Invariant: a crash at any moment of creation leaves a folder that opens, as empty or as ready. So the identity comes
last, when everything it vouches for is on disk; what is there without one is either empty and ours, or not ours.

What a newcomer breaks first: looking comes before touching, even before the lock file. A refused folder is left exactly
as it was found.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dkv.model.errors import FolderRefused
from dkv.storage.foreign_folder import refuse_foreign
from dkv.storage.identity import (
    FORMAT_VERSION,
    IDENTITY_FILE,
    IDENTITY_FILE_ASIDE,
    Identity,
    read_identity,
    rename_into_place,
    write_aside,
)

LOCK_FILE = "LOCK"
SUBFOLDERS = ("data", "sst", "logs", "snap", "entry")
_OWN_NAMES = frozenset({IDENTITY_FILE, IDENTITY_FILE_ASIDE, LOCK_FILE, *SUBFOLDERS})


class Folder:
    """Owns the lock of a node's folder. Open it with `Folder.open`, close it after the stores in it."""

    def __init__(self, path: Path, identity: Identity, lock: int) -> None:
        self.path = path
        self.identity = identity
        self.data: Path = path / "data"
        self.logs: Path = path / "logs"
        self.snap: Path = path / "snap"
        self._lock: int | None = lock

    @classmethod
    def open(cls, path: Path, engine: str = "rocksdb") -> "Folder":
        """Open `path`, creating it (and its parents) if it is missing or empty.

        Raises FolderRefused, having changed nothing, if it is in use, foreign, damaged, of another engine or a newer
        format, or read-only.
        """
        inspect(path, engine)
        lock = _locked(path)
        try:
            identity = inspect(path, engine)
            if identity is None:
                identity = _new_identity(engine)
                for _ in creation_steps(path, identity):
                    pass
        except OSError as error:
            os.close(lock)
            raise FolderRefused(f"{path} cannot be written: {error.strerror}") from error
        except FolderRefused:
            os.close(lock)
            raise
        return cls(path, identity, lock)

    @property
    def node_id(self) -> int:
        """The random id that the folder was made with."""
        return self.identity.node_id

    def close(self) -> None:
        """Let another process in. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def inspect(path: Path, engine: str) -> Identity | None:
    """Whose folder it is, None if it may become ours, without touching it. Raises FolderRefused otherwise."""
    if not path.exists():
        return None
    if not path.is_dir():
        raise FolderRefused(f"{path} is not a folder; nothing was changed. Choose a folder")
    if not os.access(path, os.W_OK | os.X_OK):
        raise FolderRefused(f"{path} is read-only for this user; nothing was changed. Change its owner or its mode")
    identity = read_identity(path)
    if identity is None:
        refuse_foreign(path, _OWN_NAMES, SUBFOLDERS)
    elif identity.engine != engine:
        raise FolderRefused(
            f"{path} belongs to the engine {identity.engine}, not {engine}; nothing was changed. "
            f"Start with the engine {identity.engine}, or choose an empty folder"
        )
    else:
        _refuse_incomplete(path)
    return identity


def creation_steps(path: Path, identity: Identity) -> Iterator[str]:
    """Make an empty, locked folder ours, yielding after each step that a crash could follow."""
    for name in SUBFOLDERS:
        (path / name).mkdir(exist_ok=True)
        yield f"made {name}"
    sync_folder(path)
    yield "synced the subfolders"
    write_aside(path, identity)
    yield "wrote the identity aside"
    rename_into_place(path)
    yield "renamed the identity"
    sync_folder(path)
    sync_folder(path.parent)
    yield "synced the folder"


def sync_folder(path: Path) -> None:
    """Make the names in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_incomplete(path: Path) -> None:
    """An engine opened anew beside an old log, or the reverse, would forget writes in silence."""
    lost = [name for name in ("data", "logs") if not (path / name).is_dir()]
    if lost:
        raise FolderRefused(
            f"{path} has lost its folder {' and '.join(lost)}; nothing was changed. Bring it back, or remove this node "
            "from its cluster and add it again with an empty folder"
        )


def _new_identity(engine: str) -> Identity:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Identity(FORMAT_VERSION, engine, secrets.randbelow((1 << 63) - 1) + 1, created)


def _locked(path: Path) -> int:
    """The descriptor that holds the lock; the kernel lets go of it however the process ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FolderRefused(f"{path} cannot be written: {error.strerror}. Choose another folder") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise FolderRefused(
            f"{path} is in use by the process {holder}; nothing was changed. Stop it, or choose another folder"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
