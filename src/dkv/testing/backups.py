"""Backups on a simulated shelf: the `Backups` port without files and processes.

A backup appears on the shelf whole, in the step that ends it, or not at all; the process of a node may end before. What
is on the shelf outlives every process and loss of power. The seed says how many looks each piece of work takes, and
which copy fails or finds its bytes changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupDamaged, BackupFailed, PathNotFound
from dkv.ports.backups import Copied
from dkv.ports.store import Scan
from dkv.storage.memory import MemoryStore

LOOKS_MAX = 12


class Shelved:
    """One backup: the rows of a checkpoint, and what they are a state of."""

    def __init__(self, vbuckets: Sequence[BackupFacts], store: MemoryStore) -> None:
        self.vbuckets: Sequence[BackupFacts] = vbuckets
        self._store = store

    @property
    def facts(self) -> BackupFacts:
        """Of the first vBucket."""
        return self.vbuckets[0]

    def get(self, key: bytes) -> bytes | None:
        return self._store.get_many([key])[0]

    def scan(self, start: bytes, end: bytes) -> Scan:
        return self._store.scan(start, end)

    def rows_estimate(self) -> int:
        return int(self._store.stats()["engine_rows_estimate"])

    def close(self) -> None:
        """It stays on the shelf."""


@dataclass(slots=True)
class Shelf:
    """Owned by the machine; implements `Backups`."""

    rng: Random
    store: MemoryStore
    """What the checkpoints are of."""
    kept: dict[str, Shelved] = field(default_factory=dict)
    """By path; only the newest of each."""
    opened: Shelved | None = None
    """The last one that a restore has read."""
    copy_fails: bool = False
    is_damaged: bool = False
    _checkpoints: int = 0

    def keep(self, path: str) -> "ShelfKeeping":
        self._checkpoints += 1
        return ShelfKeeping(self, path, Path(f"/checkpoint-{self._checkpoints}"))

    def fetch(self, path: str) -> "ShelfFetching":
        return ShelfFetching(self, path)

    def looks(self) -> int:
        return self.rng.randint(1, LOOKS_MAX)


class ShelfKeeping:
    """A backup under way."""

    def __init__(self, shelf: Shelf, path: str, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self._shelf, self._path = shelf, path
        self._left = self._total = shelf.looks()
        self._facts: Sequence[BackupFacts] | None = None

    def is_ready(self) -> bool:
        return self._shelf.rng.random() < 0.5

    def begin(self, facts: Sequence[BackupFacts]) -> None:
        self._facts = facts

    def poll(self) -> Copied:
        assert self._facts is not None
        if self._shelf.copy_fails:
            self._shelf.copy_fails = False
            raise BackupFailed("simulated: no space left on the device of the backup")
        self._left -= 1
        if not self._left:
            rows = self._shelf.store.from_checkpoint(self.checkpoint)
            self._shelf.kept[self._path] = Shelved(self._facts, rows)
        return Copied(self._total - self._left, self._total, not self._left)

    def close(self) -> None:
        """Nothing is left to let go of."""


class ShelfFetching:
    """A restore's look at every byte."""

    def __init__(self, shelf: Shelf, path: str) -> None:
        self._shelf, self._path = shelf, path
        self._left = self._total = shelf.looks()

    def poll(self) -> Copied:
        if self._path not in self._shelf.kept:
            raise PathNotFound(f"stat {self._path}: no such file or directory")
        if self._shelf.is_damaged:
            self._shelf.is_damaged = False
            raise BackupDamaged("simulated: a file is not what its checksum says")
        self._left -= 1
        return Copied(self._total - self._left, self._total, not self._left)

    def facts(self) -> Sequence[BackupFacts]:
        return self._shelf.kept[self._path].vbuckets

    def open(self) -> Shelved:
        self._shelf.opened = self._shelf.kept[self._path]
        return self._shelf.opened

    def close(self) -> None:
        """Nothing is left to let go of."""
