"""The engine under the replicas: an ordered map of rows that forgets what was not synced.

A row's key is `space:u32 BE | key`; what spaces mean is `dkv.vbucket`'s business. One thread calls it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclass(slots=True)
class RowBatch:
    """Changes that become visible and durable together. Applied in this order: ranges, then operations as listed."""

    operations: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    """(row key, row) to write, (row key, None) to delete; a later one on the same key wins."""
    ranges: list[tuple[bytes, bytes]] = field(default_factory=list)
    """[start, end) to delete before the operations. Ordinary deletes of many rows go here, not key by key."""


class Pressure(NamedTuple):
    """Whether the engine wants fewer writes (INVARIANTS 17)."""

    stopped: bool
    delayed_bytes_per_s: int
    """0: not delayed."""


class Scan(Protocol):
    """An open, ordered walk over a pinned view: later writes never show. Close it: it pins files."""

    def take(self, rows_max: int, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """The next rows, at least one unless at the end; [] means the end was reached and checked.

        Raises Corrupt when the engine met damage: never a silent early end.
        """

    def close(self) -> None: ...


class Store(Protocol):
    """Atomic batches, reads, scans. `write` does not sync; `request_sync` does, off the caller's thread."""

    def write(self, batch: RowBatch) -> None:
        """Apply atomically, in memory order. Not durable until a sync that was requested later reports."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows in the order of `keys`, None where there is none. One crossing, the interpreter lock released."""

    def scan(self, start: bytes, end: bytes, *, reverse: bool = False) -> Scan:
        """Rows in [start, end), ascending, or descending when `reverse`. `end` is never empty."""

    def request_sync(self, mark: int) -> None:
        """Make everything written so far durable, natively; `mark` comes back from `take_synced`. Returns at once.
        A request made while one is under way waits for its turn; the newest mark stands for the older ones."""

    def take_synced(self) -> int | None:
        """The newest mark that became durable since the last call. Raises StorageFailed once a sync has failed."""

    def sync(self) -> None:
        """Make everything written so far durable before returning. For start, stop and installs."""

    def pressure(self) -> Pressure: ...
    def request_flush(self) -> None:
        """Bring what is in memory into files, natively: a `checkpoint` then has little left to do, and everything
        written so far becomes durable. Returns at once."""

    def has_flushed(self) -> bool:
        """Whether every flush that was requested is over. Raises StorageFailed once one has failed."""

    def request_compaction(self, start: bytes, end: bytes) -> None:
        """Give the space of deleted rows in [start, end) back to the disk, natively, in time. Returns at once."""

    def checkpoint(self, folder: Path) -> None:
        """A consistent copy (hard links) in a new folder; of what was written so far. FolderRefused when there is no
        place for it, BackupFailed when it cannot be made: the store goes on as if it had not been asked."""

    def size_estimate(self, start: bytes, end: bytes) -> int:
        """Bytes on disk, roughly."""

    def free_bytes(self) -> int:
        """Free space on the device that holds the rows."""

    def stats(self) -> dict[str, float]:
        """Numbers for /metrics, by metric suffix."""

    def close(self) -> None:
        """Sync and close. Idempotent. Open scans are closed first."""
