"""The `Backups` port over folders: child processes that are started, listened to and let go, never waited for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupDamaged, BackupFailed, Busy, DkvError, InvalidRequest, PathNotFound
from dkv.ports.backups import Copied
from dkv.storage.backup.manifest import heard_facts, told_facts
from dkv.storage.backup.rows import RocksDbBackupRows

_ERRORS: dict[str, type[DkvError]] = {
    each.__name__: each for each in (InvalidRequest, PathNotFound, Busy, BackupFailed, BackupDamaged)
}


CLEAR_UP_S_MAX = 5.0
"""What a process that was let go has at the end of the server; what it leaves then is removed at the next start."""


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """What every backup and restore of a server keeps to."""

    root: str = ""
    """Paths may not leave this folder. Empty: they may be anywhere."""
    bytes_per_second: int = 0
    """Read and written by the copying process; 0: as fast as it goes."""
    free_bytes_min: int = 0
    """Stay free on the device that is copied to."""


class Child:
    """One copying process: what it has said, and its leash."""

    def __init__(self, task: dict[str, Any]) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "dkv.storage.backup.child", json.dumps(task)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise BackupFailed(f"no process to copy files could be started: {error.strerror}") from error
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._unread = b""
        self.is_ready: bool = False
        self.copied: Copied = Copied(0, 0, False)
        self.result: dict[str, Any] = {}

    def listen(self) -> None:
        """Takes what it has said since the last time. Raises what it has failed with."""
        if self.copied.is_done:
            return
        assert self._process.stdout is not None
        heard = self._process.stdout.read()
        lines = (self._unread + (heard or b"")).split(b"\n")
        self._unread = lines.pop()
        for line in lines:
            self._hear(json.loads(line))
        if heard == b"" and not self.copied.is_done:
            raise BackupFailed("the process that copies files has ended early")

    def _hear(self, news: dict[str, Any]) -> None:
        if "error" in news:
            raise _ERRORS[news["kind"]](news["error"])
        self.is_ready = self.is_ready or "ready" in news
        if "total" in news:
            self.copied = Copied(news["done"], news["total"], False)
        if "over" in news:
            self.result = news["over"]
            self.copied = self.copied._replace(bytes_done=self.copied.bytes_total, is_done=True)

    def tell(self, line: bytes) -> None:
        """One line. The process waits for it, so that one longer than a pipe holds is taken at once, too."""
        assert self._process.stdin is not None
        left = memoryview(line + b"\n")
        try:
            while left:
                left = left[os.write(self._process.stdin.fileno(), left) :]
        except OSError as error:
            raise BackupFailed(f"the process that copies files has ended early: {error.strerror}") from error

    def let_go(self) -> None:
        """It ends by itself, after clearing up. Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """Let it go, and wait until it has ended."""
        self.let_go()
        try:
            self._process.wait(CLEAR_UP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class FolderBackups:
    """Owns the folder for checkpoints and fetched backups, and the processes that work there."""

    def __init__(self, work: Path, data: Path, settings: BackupSettings) -> None:
        """Empties `work`: what is in it was left by a process that was killed."""
        self._work, self._settings = work, settings
        self._common = {
            "root": settings.root,
            "data": str(data),
            "engine": "rocksdb",
            "bytes_per_second": settings.bytes_per_second,
            "free_bytes_min": settings.free_bytes_min,
        }
        self._children: list[Child] = []
        self._count = 0
        for left in work.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def keep(self, path: str) -> "FolderKeeping":
        checkpoint = self._fresh("checkpoint")
        return FolderKeeping(self._child({"do": "keep", "path": path, "checkpoint": str(checkpoint)}), checkpoint)

    def fetch(self, path: str) -> "FolderFetching":
        into = self._fresh("restore")
        return FolderFetching(self._child({"do": "fetch", "path": path, "into": str(into)}), into)

    def close(self) -> None:
        """End every process, with what it was doing. Idempotent."""
        for child in self._children:
            child.end()
        self._children.clear()

    def _fresh(self, what: str) -> Path:
        """A name that no process which was let go may still be clearing away."""
        self._count += 1
        return self._work / f"{what}-{os.getpid()}-{self._count}"

    def _child(self, task: dict[str, Any]) -> Child:
        self._children = [each for each in self._children if not each.has_ended()]
        child = Child(task | self._common)
        self._children.append(child)
        return child


class FolderKeeping:
    """A backup on its way."""

    def __init__(self, child: Child, checkpoint: Path) -> None:
        self._child = child
        self.checkpoint = checkpoint

    def is_ready(self) -> bool:
        self._child.listen()
        return self._child.is_ready

    def begin(self, facts: Sequence[BackupFacts]) -> None:
        self._child.tell(json.dumps(told_facts(facts)).encode())

    def poll(self) -> Copied:
        self._child.listen()
        return self._child.copied

    def close(self) -> None:
        self._child.let_go()


class FolderFetching:
    """A backup on its way back."""

    def __init__(self, child: Child, into: Path) -> None:
        self._child, self._into = child, into

    def poll(self) -> Copied:
        self._child.listen()
        return self._child.copied

    def facts(self) -> list[BackupFacts]:
        return heard_facts(self._child.result["facts"])

    def open(self) -> RocksDbBackupRows:
        return RocksDbBackupRows(self._into)

    def close(self) -> None:
        self._child.let_go()
