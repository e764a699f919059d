"""A consensus log on a simulated disk: the methods of `dkv._native.Log`, over memory that forgets what was not synced.

`LogDisk` is what outlives the process; `SimulatedLog` is one process's handle on it, and syncs what it finds before
anybody may call it durable.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from dkv.testing.log_disk import Batch, EntryTuple, GroupLog, HardState, LogDisk, WriteItem, apply_batch, copied


class WritesLike(Protocol):
    """What `Raft.ready()` hands over; see `dkv._native.Writes`."""

    def items(self) -> list[WriteItem]: ...


class Appended(NamedTuple):
    """Entries as they were handed over, and the term of the one before them."""

    group: int
    prev_term: int
    entries: list[EntryTuple]


class SimulatedLog:
    """One process's handle. Nothing is durable before the schedule calls `step_disk` often enough."""

    def __init__(
        self, disk: LogDisk, appended: list[Appended] | None = None, is_quick: Callable[[], bool] = lambda: False
    ) -> None:
        """Opens: what the page cache still holds is synced first. OSError when that sync fails, Corrupt for damage.

        Whatever is handed over is noted in `appended`, for a checker who takes it from there. `is_quick` is asked
        whether what is held may be written in line."""
        self._disk, self._appended, self._is_quick = disk, appended, is_quick
        disk.queued = []
        disk.open()
        disk.finish_sync()
        self._view = {group: copied(log) for group, log in disk.synced.items()}
        self._durable: list[tuple[int, int]] = []
        self._fetches: list[tuple[int, int, int, int, int]] = []
        self._failure: OSError | None = None
        self._appends = self._append_bytes = 0

    def step_disk(self) -> str:
        """One step of the log's thread: write what is queued, or finish the sync of what is written, or seal it."""
        if self._failure is not None:
            return "failed"
        try:
            if self._disk.begin_sync():
                return "written"
            if not self._disk.written:
                return "sealed" if self._disk.seal() else "idle"
            for batch in self._disk.finish_sync():
                self._durable += [(group, number) for group, number, _, _ in batch.items]
        except OSError as failure:
            self._failure = failure
            return "failed"
        return "synced"

    @property
    def has_failed(self) -> bool:
        """A write or sync has failed; the node learns it in its next turn."""
        return self._failure is not None

    def failure(self) -> str | None:
        """Why nothing more is written."""
        return None if self._failure is None else str(self._failure)

    def groups(self) -> list[int]:
        return sorted(self._view)

    def state(self, group: int) -> tuple[HardState, int, int] | None:
        log = self._view.get(group)
        return None if log is None else (log.hard_state, log.prev_index + 1, log.last_index)

    def read(self, group: int, low: int, high: int, bytes_max: int) -> list[EntryTuple]:
        log = self._view[group]
        if not log.prev_index < low <= high <= log.last_index + 1:
            raise ValueError(f"[{low}, {high}) is outside ({log.prev_index}, {log.last_index}]")
        found: list[EntryTuple] = []
        size = 0
        for entry in log.entries[low - log.prev_index - 1 : high - log.prev_index - 1]:
            size += len(entry[3])
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def create_group(self, group: int, hard_state: HardState, prev_index: int, prev_term: int) -> None:
        if group in self._view:
            raise ValueError(f"group {group} exists")
        self._disk.create(group, GroupLog(hard_state, prev_index, prev_term))
        self._view[group] = GroupLog(hard_state, prev_index, prev_term)

    def term_at(self, group: int, index: int) -> int | None:
        """For checkers: the term of an entry; None when it is cut, or not there yet."""
        return self._view[group].term_at(index)

    def reset_group(self, group: int, hard_state: HardState, prev_index: int, prev_term: int) -> None:
        if group not in self._view:
            raise ValueError(f"the log does not know group {group}")
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror)
        self._hand_over(Batch(resets=[(group, hard_state, prev_index, prev_term)]))

    def prev(self, group: int) -> tuple[int, int]:
        log = self._view[group]
        return log.prev_index, log.prev_term

    def append(self, writes: WritesLike) -> None:
        batch = Batch(writes.items())
        if self._failure is None and batch.items:
            self._appends += 1
            self._append_bytes += batch.bytes()
            self._hand_over(batch)
            if self._appended is not None:
                self._note(batch, self._appended)

    def write_in_line(self) -> bool:
        """As the native log does, where the disk happens to be quick."""
        if self._disk.written or not self._disk.queued or not self._is_quick():
            return False
        while self.step_disk() == "written":
            pass
        return True

    def durable(self) -> list[tuple[int, int]]:
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror)
        news, self._durable = self._durable, []
        return news

    def cut(self, group: int, index: int) -> None:
        if self._failure is None:
            self._hand_over(Batch(cuts=[(group, index)]))

    def fetch(self, token: int, group: int, low: int, high: int, bytes_max: int) -> None:
        """Reads when `fetched` is asked: the log may be cut in between, as under the native log's reading thread."""
        self._fetches.append((token, group, low, high, bytes_max))

    def fetched(self) -> list[tuple[int, list[EntryTuple] | str]]:
        asked, self._fetches = self._fetches, []
        return [(token, self._read_now(*what)) for token, *what in asked]

    def _read_now(self, group: int, low: int, high: int, bytes_max: int) -> list[EntryTuple] | str:
        try:
            return self.read(group, low, high, bytes_max)
        except (KeyError, ValueError) as error:
            return str(error)

    def stats(self) -> dict[str, float]:
        return {
            "appends": self._appends,
            "syncs": self._disk.syncs,
            "sync_seconds_total": 0.0,
            "sync_seconds_max": 0.0,
            "append_bytes": self._append_bytes,
            "queued_bytes": sum(batch.bytes() for batch in self._disk.queued),
            "disk_bytes": sum(len(entry[3]) for log in self._view.values() for entry in log.entries),
        }

    def close(self) -> None:
        """Writes and syncs what was handed over, unless the log has failed."""
        while self.step_disk() not in ("idle", "failed"):
            pass

    def _note(self, batch: Batch, appended: list[Appended]) -> None:
        for group, _, _, entries in batch.items:
            if entries and (prev_term := self._view[group].term_at(entries[0][0] - 1)) is not None:
                appended.append(Appended(group, prev_term, entries))

    def _hand_over(self, batch: Batch) -> None:
        apply_batch(self._view, batch)
        self._disk.queued.append(batch)
