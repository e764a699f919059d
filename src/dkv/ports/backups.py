"""Where backups are kept, and who moves their bytes: never the node's thread (INVARIANTS 16).

The node says what is to be done and polls; nothing here waits. What is under way ends with `close`, whatever its state:
a backup that was not finished leaves the one before it as it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from dkv.model.backups import BackupFacts
from dkv.ports.store import Scan


class Copied(NamedTuple):
    """How far it is."""

    bytes_done: int
    bytes_total: int
    is_done: bool


class Keeping(Protocol):
    """A backup on its way into its folder."""

    @property
    def checkpoint(self) -> Path:
        """A folder that does not exist yet: where the engine's checkpoint is wanted."""

    def is_ready(self) -> bool:
        """Whether the path was found good, so that a checkpoint is worth its cost. Raises what is wrong with it."""

    def begin(self, facts: Sequence[BackupFacts]) -> None:
        """The checkpoint is there, of these vBuckets: copy it, then let it go."""

    def poll(self) -> Copied:
        """Raises BackupFailed; then the backup that was there before is still there."""

    def close(self) -> None:
        """Stop, if it is not done. Idempotent."""


class BackupRows(Protocol):
    """The rows of a verified backup, to be read only. Raises BackupDamaged where the engine meets damage."""

    def get(self, key: bytes) -> bytes | None: ...
    def scan(self, start: bytes, end: bytes) -> Scan: ...
    def rows_estimate(self) -> int:
        """How many rows there are, roughly, internal ones included."""

    def close(self) -> None: ...


class Fetching(Protocol):
    """A backup on its way back: every file is compared with its checksum."""

    def poll(self) -> Copied:
        """Raises what is wrong with the path, BackupDamaged or BackupFailed."""

    def facts(self) -> Sequence[BackupFacts]:
        """Once it is done: what the backup says that it holds, by vBucket, ascending."""

    def open(self) -> BackupRows:
        """Once it is done: its rows."""

    def close(self) -> None:
        """Stop, and let go of what was brought. Idempotent; the rows are closed first."""


class Backups(Protocol):
    def keep(self, path: str) -> Keeping:
        """Start a backup into the folder `path`."""

    def fetch(self, path: str) -> Fetching:
        """Start to verify the backup in the folder `path`, and bring it where its rows can be read."""
