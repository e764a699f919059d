"""A consensus log on a simulated disk: the methods of `dkv._native.Log`, over memory that forgets what was not synced.

A batch (one `append`) goes through three places, and each kind of failure empties other ones (INVARIANTS 3):

| place                      | process crash                 | power loss                          |
|----------------------------|-------------------------------|-------------------------------------|
| handed over, not written   | a prefix may have been written| lost                                |
| written, not synced        | survives, still not durable   | a prefix survives, the next is torn |
| synced                     | survives                      | survives                            |

A torn batch fails its checksum and is gone as a whole: batches are atomic. `LogDisk` is what outlives the process;
`SimulatedLog` is one process's handle on it, and syncs what it finds before anybody may call it durable.
"""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

EntryTuple = tuple[int, int, int, bytes]
HardState = tuple[int, int, int]
WriteItem = tuple[int, int, HardState | None, list[EntryTuple]]


class WritesLike(Protocol):
    """What `Raft.ready()` hands over; see `dkv._native.Writes`."""

    def items(self) -> list[WriteItem]: ...


@dataclass(slots=True)
class GroupLog:
    """One group's part of the log: entries follow (prev_index, prev_term) without a gap."""

    hard_state: HardState
    prev_index: int
    prev_term: int
    entries: list[EntryTuple] = field(default_factory=list)

    @property
    def last_index(self) -> int:
        return self.prev_index + len(self.entries)

    def append(self, entries: Sequence[EntryTuple]) -> None:
        """Entries replace what stands at and behind the first one's index, as Raft demands."""
        first = entries[0][0]
        if not self.prev_index < first <= self.last_index + 1:
            raise AssertionError(f"entry {first} does not follow {self.last_index}")
        del self.entries[first - self.prev_index - 1 :]
        self.entries.extend(entries)

    def term_at(self, index: int) -> int | None:
        """None: the entry is cut, or not there yet."""
        if index == self.prev_index:
            return self.prev_term
        return self.entries[index - self.prev_index - 1][1] if self.prev_index < index <= self.last_index else None

    def cut(self, index: int) -> None:
        if self.prev_index < index and (term := self.term_at(index)) is not None:
            del self.entries[: index - self.prev_index]
            self.prev_index, self.prev_term = index, term


class Appended(NamedTuple):
    """Entries as they were handed over, and the term of the one before them."""

    group: int
    prev_term: int
    entries: list[EntryTuple]


class Batch(NamedTuple):
    """One atomic write of the log's thread."""

    items: Sequence[WriteItem] = ()
    cuts: Sequence[tuple[int, int]] = ()
    resets: Sequence[tuple[int, HardState, int, int]] = ()
    """(group, hard state, previous index, its term): all that a group is."""

    def bytes(self) -> int:
        return sum(16 + len(entry[3]) for item in self.items for entry in item[3])


Groups = dict[int, GroupLog]


def apply_batch(groups: Groups, batch: Batch) -> None:
    for group, _, hard_state, entries in batch.items:
        log = groups[group]
        if hard_state is not None:
            log.hard_state = hard_state
        if entries:
            log.append(entries)
    for group, index in batch.cuts:
        groups[group].cut(index)
    for group, hard_state, prev_index, prev_term in batch.resets:
        groups[group] = GroupLog(hard_state, prev_index, prev_term)


@dataclass(slots=True)
class LogDisk:
    """What outlives the process. The schedule of the simulation calls the failures."""

    synced: Groups = field(default_factory=dict)
    written: list[Batch] = field(default_factory=list)
    """In the page cache only."""
    queued: list[Batch] = field(default_factory=list)
    """Still in the memory of the process."""
    syncs: int = 0
    free_bytes: int = 1 << 40
    sync_fails: bool = False
    """The next sync reports an error."""
    creation_fails: bool = False
    """The next new group cannot be written."""

    def begin_sync(self) -> bool:
        """The log's thread writes everything handed over. OSError when the disk is full, with nothing written."""
        if self.written or not self.queued:
            return False
        size = sum(batch.bytes() for batch in self.queued)
        if size > self.free_bytes:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk")
        self.free_bytes -= size
        self.written, self.queued = self.queued, []
        return True

    def finish_sync(self) -> list[Batch]:
        """What was written is durable now; returns it. OSError if this sync was to fail: then nothing is."""
        if self.sync_fails:
            self.sync_fails = False
            raise OSError(errno.EIO, "the simulated sync failed")
        done, self.written = self.written, []
        for batch in done:
            apply_batch(self.synced, batch)
        self.syncs += 1
        return done

    def crash_process(self, rng: Random) -> None:
        """kill -9: the page cache stays, the memory of the process goes."""
        count = rng.randint(0, len(self.queued))
        self.written += self.queued[:count]
        self.queued = []

    def power_loss(self, rng: Random) -> None:
        """The page cache goes too, but for the part that the kernel happened to write back."""
        count = rng.randint(0, len(self.written))
        for batch in self.written[:count]:
            apply_batch(self.synced, batch)
        self.written, self.queued = [], []


class SimulatedLog:
    """One process's handle. Nothing is durable before the schedule calls `step_disk` often enough."""

    def __init__(
        self, disk: LogDisk, appended: list[Appended] | None = None, is_quick: Callable[[], bool] = lambda: False
    ) -> None:
        """Opens: what the page cache still holds is synced first. OSError when that sync fails.

        Whatever is handed over is noted in `appended`, for a checker who takes it from there. `is_quick` is asked
        whether what is held may be written in line."""
        self._disk, self._appended, self._is_quick = disk, appended, is_quick
        disk.queued = []
        disk.finish_sync()
        self._view = {group: GroupLog(*_copied(log)) for group, log in disk.synced.items()}
        self._durable: list[tuple[int, int]] = []
        self._fetches: list[tuple[int, int, int, int, int]] = []
        self._failure: OSError | None = None
        self._appends = self._append_bytes = 0

    def step_disk(self) -> str:
        """One step of the log's thread: write what is queued, or finish the sync of what is written."""
        if self._failure is not None:
            return "failed"
        try:
            if self._disk.begin_sync():
                return "written"
            if not self._disk.written:
                return "idle"
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
        if self._disk.creation_fails:
            raise OSError(errno.EIO, "the simulated creation failed")
        self._disk.synced[group] = GroupLog(hard_state, prev_index, prev_term)
        self._view[group] = GroupLog(hard_state, prev_index, prev_term)
        self._disk.syncs += 1

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

    def append(self, writes: WritesLike, hold: bool = False) -> None:
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


def _copied(log: GroupLog) -> tuple[HardState, int, int, list[EntryTuple]]:
    return log.hard_state, log.prev_index, log.prev_term, list(log.entries)
