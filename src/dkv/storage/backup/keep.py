"""Writing a backup, as a generator of steps: a crash after any of them leaves the old backup or the new one.

    <path>/DKV-BACKUP      the manifest: the backup is what it names
           files/<sha256>  the engine's files, each under the digest of its bytes

A file never changes once it has its name, and a name vouches for the bytes. So the files of the backup before need no
copy when their bytes are the same: the large ones of the engine are, as they are never rewritten. Both sides are read
to compare; a file of the backup that has rotted is found here, and written anew. The new manifest takes the place of
the old one in one rename, when everything it names is synced; only then are files removed that it does not name.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupFailed
from dkv.storage.backup.copying import Digest, Pace, Room
from dkv.storage.backup.manifest import (
    FILES_FOLDER,
    MANIFEST_FILE,
    MANIFEST_FILE_ASIDE,
    BackupFile,
    Manifest,
    decode_manifest,
    encode_manifest,
)
from dkv.storage.folder import sync_folder

_ASIDE = "copy.new"
"""A file on its way; of one that a crash cut short nothing is kept."""


class Keeper:
    """One backup into one folder. `steps` does it; a step is (bytes of the checkpoint that are dealt with)."""

    def __init__(self, checkpoint: Path, place: Path, pace: Pace, free_bytes_min: int) -> None:
        self._checkpoint, self._place = checkpoint, place
        self._files = place / FILES_FOLDER
        self._digest, self._free_bytes_min = Digest(pace), free_bytes_min
        self.bytes_total: int = sum(path.stat().st_size for path in checkpoint.iterdir())
        self.bytes_copied: int = 0
        """Of those, what the backup before did not have."""

    def steps(self, engine: str, taken: str, facts: Sequence[BackupFacts]) -> Iterator[int]:
        """Raises BackupFailed or OSError; the backup before is then as it was."""
        self._files.mkdir(parents=True, exist_ok=True)
        sync_folder(self._place.parent)
        room = Room(self._files, self._free_bytes_min)
        before = {each.name: each for each in self._before()}
        kept: list[BackupFile] = []
        for path in sorted(self._checkpoint.iterdir()):
            old, size = before.get(path.name), path.stat().st_size
            if old is None or old.size != size or not (yield from self._is_kept(path, old)):
                yield from self._copy(path, room)
            kept.append(BackupFile(path.name, size, self._digest.value))
        sync_folder(self._files)
        yield 0
        yield from self._commit(Manifest(engine, taken, tuple(facts), tuple(kept)))
        yield from self._remove_others({each.sha256 for each in kept})

    def _before(self) -> tuple[BackupFile, ...]:
        """What the backup before says that it has; nothing when that cannot be read."""
        path = self._place / MANIFEST_FILE
        try:
            return decode_manifest(path.read_bytes(), path).files
        except (OSError, BackupFailed):
            return ()

    def _is_kept(self, path: Path, old: BackupFile) -> Generator[int, None, bool]:
        """Whether the backup before has these very bytes: both sides are read."""
        mine = self._files / old.sha256
        if not mine.is_file():
            return False
        for _ in self._digest.read(mine):
            yield 0
        if self._digest.value != old.sha256:
            return False
        yield from self._digest.read(path)
        return self._digest.value == old.sha256

    def _copy(self, path: Path, room: Room) -> Iterator[int]:
        aside = self._files / _ASIDE
        for count in self._digest.copy(path, aside, room):
            self.bytes_copied += count
            yield count
        aside.rename(self._files / self._digest.value)
        yield 0

    def _commit(self, manifest: Manifest) -> Iterator[int]:
        aside = self._place / MANIFEST_FILE_ASIDE
        with aside.open("wb") as file:
            file.write(encode_manifest(manifest))
            file.flush()
            os.fsync(file.fileno())
        yield 0
        aside.rename(self._place / MANIFEST_FILE)
        sync_folder(self._place)
        yield 0

    def _remove_others(self, kept: set[str]) -> Iterator[int]:
        for path in sorted(self._files.iterdir()):
            if path.name not in kept:
                path.unlink()
                yield 0
