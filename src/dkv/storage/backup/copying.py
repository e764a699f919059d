"""Moving bytes and digesting them, a chunk at a time, no faster than asked and never onto a full disk."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dkv.model.errors import BackupFailed

CHUNK_BYTES = 1 << 20


class Pace:
    """Lets bytes through at a rate. A pause is made up for within a second, no more."""

    def __init__(
        self,
        bytes_per_second: int,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """0: as fast as it goes."""
        self._rate, self._now, self._sleep = bytes_per_second, now, sleep
        self._due = now()

    def spend(self, count: int) -> None:
        """Wait until `count` more bytes are due."""
        if not self._rate:
            return
        now = self._now()
        self._due = max(self._due, now - 1) + count / self._rate
        if self._due > now:
            self._sleep(self._due - now)


class Room:
    """The space that must stay free on a device: the server that is served from it ends when its disk is full."""

    def __init__(self, folder: Path, free_bytes_min: int) -> None:
        self._folder, self._free_bytes_min = folder, free_bytes_min

    def check(self) -> None:
        """Before each chunk. Raises BackupFailed."""
        device = os.statvfs(self._folder)
        if device.f_bavail * device.f_frsize < self._free_bytes_min + CHUNK_BYTES:
            raise BackupFailed(f"{self._folder}: no space left but the {self._free_bytes_min >> 20} MiB that stay free")


class Digest:
    """Reads or copies files chunk by chunk; `value` is the SHA-256 of the last one, hexadecimal."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self.value: str = ""

    def read(self, path: Path) -> Iterator[int]:
        """Digests a file; yields the bytes of each chunk."""
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                self._pace.spend(len(chunk))
                digest.update(chunk)
                yield len(chunk)
        self.value = digest.hexdigest()

    def copy(self, path: Path, to: Path, room: Room) -> Iterator[int]:
        """Digests a file and writes it to `to`, synced at the end."""
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file, to.open("wb", buffering=0) as copy:
            while chunk := file.read(CHUNK_BYTES):
                room.check()
                self._pace.spend(len(chunk))
                digest.update(chunk)
                _write(copy.fileno(), chunk)
                yield len(chunk)
            os.fsync(copy.fileno())
        self.value = digest.hexdigest()


def _write(descriptor: int, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]
