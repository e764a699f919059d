"""Reading a backup: every file is brought where the engine can open it, and compared with its checksum there.

Tables are linked where the folders share a device, and copied otherwise. What is digested is what will be read. Nothing
of the node is touched: what is wrong with a backup is known before anything is replaced.

What a newcomer breaks first: linking all files. Only tables are never written again; the binding of the engine writes a
file of its own anew whenever it opens a folder, also to read, and through a link that would be the backup's.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dkv.model.errors import BackupDamaged, BackupFailed
from dkv.storage.backup.copying import Digest, Pace, Room
from dkv.storage.backup.manifest import FILES_FOLDER, MANIFEST_FILE, BackupFile, Manifest, decode_manifest


class Fetcher:
    """One backup on its way into `into`, a folder that does not exist yet."""

    def __init__(self, place: Path, into: Path, pace: Pace, free_bytes_min: int) -> None:
        """Raises BackupDamaged or BackupFailed."""
        self._files, self._into = place / FILES_FOLDER, into
        self._digest, self._free_bytes_min = Digest(pace), free_bytes_min
        self.manifest: Manifest = _read(place / MANIFEST_FILE)
        self.bytes_total: int = sum(each.size for each in self.manifest.files)

    def steps(self, engine: str) -> Iterator[int]:
        """The bytes of each chunk that was found right."""
        if self.manifest.engine != engine:
            raise BackupFailed(f"a backup of the engine {self.manifest.engine} cannot be restored into {engine}")
        self._into.mkdir()
        room = Room(self._into, self._free_bytes_min)
        for each in self.manifest.files:
            yield from self._bring(each, room)

    def _bring(self, file: BackupFile, room: Room) -> Iterator[int]:
        path, brought = self._files / file.sha256, self._into / file.name
        try:
            size = path.stat().st_size
            if size != file.size:
                raise BackupDamaged(f"{path} has {size} bytes, not {file.size} as {file.name} had")
            if file.name.endswith(".sst"):
                with suppress(OSError):
                    os.link(path, brought)
            yield from self._digest.read(brought) if brought.exists() else self._digest.copy(path, brought, room)
        except FileNotFoundError:
            raise BackupDamaged(f"{path} is missing, which the manifest names as {file.name}") from None
        if self._digest.value != file.sha256:
            raise BackupDamaged(f"{path} is damaged: it is not what was written as {file.name}")


def _read(path: Path) -> Manifest:
    try:
        return decode_manifest(path.read_bytes(), path)
    except OSError as error:
        raise BackupFailed(f"{path} cannot be read: {error.strerror}") from error
