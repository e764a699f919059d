"""The disk under a simulated log: what is synced, what is only written, what is not even that.

A batch (one `append`) goes through three places, and each kind of failure empties other ones (INVARIANTS 3):

| place                      | process crash                 | power loss                          |
|----------------------------|-------------------------------|-------------------------------------|
| handed over, not written   | a prefix may have been written| lost                                |
| written, not synced        | survives, still not durable   | a prefix survives, the next is torn |
| synced                     | survives                      | survives                            |

A torn batch fails its checksum and is gone as a whole: batches are atomic. A bit that flips in what is synced is met
when the next process opens the log. With something valid behind it, it is damage (INVARIANTS 2). In the last batch it
would pass for a torn one; so that one is sealed, as in the native log, when there is nothing else to write.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from dkv.model.errors import Corrupt

EntryTuple = tuple[int, int, int, bytes]
HardState = tuple[int, int, int]
WriteItem = tuple[int, int, HardState | None, list[EntryTuple]]


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


class Batch(NamedTuple):
    """One atomic write of the log's thread."""

    items: Sequence[WriteItem] = ()
    cuts: Sequence[tuple[int, int]] = ()
    resets: Sequence[tuple[int, HardState, int, int]] = ()
    """(group, hard state, previous index, its term): all that a group is."""

    def bytes(self) -> int:
        return sum(16 + len(entry[3]) for item in self.items for entry in item[3])

    def groups(self) -> set[int]:
        """That it says something of."""
        return {item[0] for item in self.items} | {cut[0] for cut in self.cuts} | {reset[0] for reset in self.resets}


Groups = dict[int, GroupLog]
FLIPPED_LAST = 0.5
"""How often it is the last batch that a flipped bit is in."""


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
    is_sealed: bool = False
    """Something stands behind the last batch that was synced."""
    flipped_at: int = 0
    """In which batch a bit is not any more what was written; 0: in none."""
    _batches: int = 0
    """How many were synced."""
    _before_last: Groups = field(default_factory=dict)
    """The groups of the last one, as they were."""

    def open(self) -> None:
        """What a process finds: a batch that is broken, and behind which nothing is, is the end of an interrupted write
        and cut off. Any other is damage: Corrupt."""
        if not self.flipped_at:
            return
        if self.is_sealed or self.written or self.flipped_at < self._batches:
            raise Corrupt(f"the simulated log is damaged in batch {self.flipped_at} of {self._batches}")
        self.synced |= self._before_last
        self.flipped_at = 0

    def flip_bit(self, rng: Random) -> bool:
        """Somewhere in what stands there for good; often in the batch before the seal. Not in one that is the last and
        has none: nobody could tell it from a torn one. False: there is nothing yet."""
        last = self._batches if self.is_sealed else self._batches - 1
        if last > 0:
            self.flipped_at = last if rng.random() < FLIPPED_LAST else rng.randint(1, last)
        return last > 0

    def seal(self) -> bool:
        """False: it is. OSError as for any write."""
        if self.is_sealed or not self._batches:
            return False
        if not self.free_bytes:
            raise OSError(errno.ENOSPC, "no space left on the simulated disk for a seal")
        self._sync()
        self.is_sealed = True
        return True

    def create(self, group: int, log: GroupLog) -> None:
        """A group's first state, synced. OSError."""
        if self.creation_fails:
            raise OSError(errno.EIO, "the simulated creation failed")
        self._apply([Batch(resets=[(group, log.hard_state, log.prev_index, log.prev_term)])])
        self.syncs += 1

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
        self._sync()
        done, self.written = self.written, []
        self._apply(done)
        return done

    def crash_process(self, rng: Random) -> None:
        """kill -9: the page cache stays, the memory of the process goes."""
        count = rng.randint(0, len(self.queued))
        self.written += self.queued[:count]
        self.queued = []

    def power_loss(self, rng: Random) -> None:
        """The page cache goes too, but for the part that the kernel happened to write back."""
        count = rng.randint(0, len(self.written))
        self._apply(self.written[:count])
        self.written, self.queued = [], []

    def _sync(self) -> None:
        if self.sync_fails:
            self.sync_fails = False
            raise OSError(errno.EIO, "the simulated sync failed")
        self.syncs += 1

    def _apply(self, batches: Sequence[Batch]) -> None:
        """They are on disk."""
        for batch in batches:
            if batch is batches[-1]:
                groups = batch.groups() & self.synced.keys()
                self._before_last = {group: copied(self.synced[group]) for group in groups}
            apply_batch(self.synced, batch)
        if batches:
            self._batches += len(batches)
            self.is_sealed = False


def copied(log: GroupLog) -> GroupLog:
    return GroupLog(log.hard_state, log.prev_index, log.prev_term, list(log.entries))
