"""One replica of one vBucket: from commands to an entry, from committed entries to a batch of rows.

The straight line of a write passes here twice. `propose` fixes the log time and encodes; the log makes the entry
durable on a quorum; `keys_read` says which rows the decision depends on; `apply` decides, given their values, and hands
back one batch: rows, sessions, outcomes and the metadata row, to be written together (INVARIANTS 4). It does no I/O.

What must hold: an entry is applied once, in order, on every replica with the same effect. So entries at or below the
applied index are skipped (the log is replayed after a crash), a gap is InvariantBroken, and what could fail - decoding,
damaged rows - is checked before the first change: `apply` either returns, or leaves the replica as it was.

The caller writes every batch that `apply` returns before it reads rows again, or stops: in between the memory here is
ahead of the engine.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from dkv.model.commands import Command, Outcome, Restore
from dkv.model.errors import Corrupt, InvariantBroken
from dkv.model.members import Member, decode_members
from dkv.ports.clock import Now
from dkv.ports.consensus import Conf, EntryTuple
from dkv.ports.store import RowBatch
from dkv.vbucket import rows
from dkv.vbucket.apply import Applying, keys_read
from dkv.vbucket.directory import ConfChanged, Directory, first_members
from dkv.vbucket.entry import decode_entry, encode_entry, is_restore
from dkv.vbucket.history import ENTRY_OVERHEAD_BYTES, EntryChanges
from dkv.vbucket.log_time import JUMP_MS_MAX, LogClock
from dkv.vbucket.metadata import Metadata, decode_metadata, encode_conf, encode_metadata
from dkv.vbucket.outcomes import EntryOutcomes, decode_outcomes, encode_outcomes, outcomes_key
from dkv.vbucket.rows import Range
from dkv.vbucket.sessions import Sessions
from dkv.vbucket.slaves import Slaves
from dkv.vbucket.staging import Staged, decode_staged, encode_staged, flipped, is_staged_for, staging_key

NO_CONFS: Mapping[int, ConfChanged] = {}
_new = tuple.__new__
"""Skips the argument handling of a NamedTuple, which for a lone put is a part of what it costs."""


class Ranges(NamedTuple):
    """Where the rows of a replica lie; each is [start, end)."""

    data: Range
    expiries: Range
    outcomes: Range
    sessions: Range
    slaves: Range
    members: Range


class Proposal(NamedTuple):
    """An entry to hand to consensus."""

    data: bytes
    log_time: int
    commands: Sequence[Command]


class EntryResult(NamedTuple):
    """What became of one entry."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which no one wants of a result
    term: int
    log_time: int
    """As of this entry, for tokens (INVARIANTS 11)."""
    outcomes: list[Outcome]
    """By command; empty for the first entry of a leader and for changes of membership."""
    added: tuple[int, Sequence[Command], int, int] | None
    """What it added to the history; None when it took no number. First number, commands, bitmap of those without
    effect, bytes in the log."""

    def changes(self) -> EntryChanges | None:
        """That, for who follows: made anew each time."""
        if self.added is None:
            return None
        first_number, commands, without_effect, size = self.added
        return EntryChanges(self.index, first_number, self.log_time, commands, without_effect, size)


class Applied(NamedTuple):
    """What `apply` decided. `results` lacks the entries that had been applied before."""

    batch: RowBatch
    results: list[EntryResult]


class Replica:
    """State and decisions of one replica. Owned by the node's thread."""

    def __init__(
        self,
        metadata: Metadata,
        sessions: Sessions,
        slaves: Slaves,
        directory: Directory,
        earliest_expiry: int | None,
        log_bytes: int,
        jump_ms_max: int,
    ) -> None:
        m = metadata
        self.vbucket: int = m.vbucket
        self.replica: int = m.replica
        self.space: int = m.space
        self.history_id: bytes = m.history_id
        self.members: Conf = m.members
        self.applied_index: int = m.applied_index
        self.applied_term: int = m.applied_term
        self.change_number: int = m.change_number
        self.earliest_change: int = m.earliest_change
        self.log_time: int = m.log_time
        """Of the last entry applied: decides what readers see."""
        self.earliest_expiry = earliest_expiry
        """No row of the expiry index is below it; None: the index is empty."""
        self.clock: LogClock = LogClock(m.log_time, jump_ms_max)
        self.sessions: Sessions = sessions
        self.slaves = slaves
        self.directory: Directory = directory
        self.log_bytes: int = log_bytes
        """Of all entries with commands up to the applied one, as the outcomes rows count them."""
        self.earliest_index: int = 1
        """No entry before it is needed for the history."""
        self._bytes_cut = 0
        self.staged: Staged | None = None
        """What a restore has made ready, whole; its row is in the engine."""
        self._data = rows.prefix(m.space)
        self._metadata_key = rows.metadata_key(m.vbucket)
        self._conf = m.members, encode_conf(m.members)
        self._noted: dict[int, tuple[int, int, Sequence[Command]]] = {}

    @staticmethod
    def first_rows(
        vbucket: int,
        replica: int,
        history_id: bytes,
        conf: Conf,
        log_time: int,
        space: int | None = None,
        members: Iterable[Member] = (),
    ) -> RowBatch:
        """The batch that forms a vBucket: an empty block, a metadata row at index 1, term 1, and in a cluster the
        directory. Sync it."""
        block = rows.formed_space(vbucket) if space is None else space
        first = Metadata(vbucket, replica, block, 1, 1, 0, 1, log_time, history_id, conf)
        row = (rows.metadata_key(vbucket), encode_metadata(first))
        return RowBatch([row, *first_members(vbucket, members)], [rows.block_range(block)])

    @staticmethod
    def metadata_key(vbucket: int) -> bytes:
        """The row to read first."""
        return rows.metadata_key(vbucket)

    @staticmethod
    def staging_key(vbucket: int) -> bytes:
        """The row that `open` wants as `staging_row`, if it is there."""
        return staging_key(vbucket)

    @staticmethod
    def ranges(metadata_row: bytes) -> Ranges:
        """Where the other rows lie: `open` wants all of `sessions`, `slaves` and `members`, the first of `expiries`,
        the last of `outcomes`.

        Raises Corrupt."""
        metadata = decode_metadata(metadata_row)
        space = metadata.space
        return Ranges(
            rows.data_range(space),
            rows.expiry_range(space),
            rows.outcomes_range(space),
            rows.session_range(space),
            rows.slaves_range(metadata.vbucket),
            rows.members_range(metadata.vbucket),
        )

    @classmethod
    def open(
        cls,
        vbucket: int,
        metadata_row: bytes,
        session_rows: Iterable[tuple[bytes, bytes]],
        first_expiries: Sequence[tuple[bytes, bytes]],
        last_outcomes: Sequence[tuple[bytes, bytes]],
        slave_rows: Iterable[tuple[bytes, bytes]] = (),
        member_rows: Iterable[tuple[bytes, bytes]] = (),
        jump_ms_max: int = JUMP_MS_MAX,
        staging_row: bytes | None = None,
    ) -> Self:
        """A replica as its rows say, see `ranges`. A list is empty where there is no row. Raises Corrupt."""
        metadata = decode_metadata(metadata_row)
        if metadata.vbucket != vbucket:
            raise Corrupt(f"metadata of vBucket {metadata.vbucket} where that of {vbucket} belongs")
        sessions = Sessions(metadata.space)
        sessions.load(session_rows)
        slaves = Slaves(vbucket)
        slaves.load(slave_rows)
        directory = Directory(vbucket)
        directory.load(member_rows)
        earliest = rows.decode_expiry_key(first_expiries[0][0])[0] if first_expiries else None
        log_bytes = decode_outcomes(last_outcomes[0][1]).log_bytes if last_outcomes else 0
        replica = cls(metadata, sessions, slaves, directory, earliest, log_bytes, jump_ms_max)
        staged = decode_staged(staging_row) if staging_row is not None else None
        replica.staged = staged if staged is not None and staged.is_whole else None
        return replica

    def become(self, other: Self) -> None:
        """Everything of this replica is now as `other` has it, which was opened from rows that a snapshot has brought.
        Who holds on to this one need not notice."""
        other.clock.jump_ms_max = self.clock.jump_ms_max
        self.__dict__.update(other.__dict__)

    def metadata(self) -> Metadata:
        """The state as the metadata row has it."""
        return Metadata(
            self.vbucket,
            self.replica,
            self.space,
            self.applied_index,
            self.applied_term,
            self.change_number,
            self.earliest_change,
            self.log_time,
            self.history_id,
            self.members,
        )

    def row_key(self, key: bytes) -> bytes:
        return self._data + key

    def row_keys(self, keys: Iterable[bytes]) -> list[bytes]:
        data = self._data
        return [data + key for key in keys]

    def data_range(self, start: bytes = b"", end: bytes = b"") -> Range:
        """The rows of the user keys in [start, end); an empty end means to the last key."""
        return self._data + start, self._data + end if end else rows.data_range(self.space)[1]

    def expired_range(self, since: tuple[int, bytes] | None = None) -> Range:
        """The expiry index, what is due first. All of it, so that a scan also shows where the rest begins.

        `since`: the first (expires_at, key) that an earlier scan found due. Nothing is below it, nor will be, as log
        time has passed it; but the deleted rows there lie in the engine for long, and would be walked over."""
        start, end = rows.expiry_range(self.space)
        return rows.expiry_row_key(self.space, *since) if since else start, end

    def lead(self, now: Now) -> None:
        """This replica leads from now on: a new run of its clock; see `clock.frozen` afterwards."""
        self._noted.clear()
        self.clock.begin(now)

    def follow(self) -> None:
        """This replica does not lead any more: what it proposed may never commit."""
        self._noted.clear()
        self.clock.end()

    def propose(self, commands: Sequence[Command], now: Now) -> Proposal:
        """An entry at the next log time. The commands are kept, not copied: the caller does not change them."""
        log_time = self.clock.next(now)
        return Proposal(encode_entry(log_time, commands), log_time, commands)

    def note_proposed(self, index: int, term: int, proposal: Proposal) -> None:
        """Consensus took the proposal at this place: `apply` need not decode it again."""
        self._noted[index] = (term, proposal.log_time, proposal.commands)

    def applied_together(self, entries: Sequence[EntryTuple], start: int, bytes_max: int) -> int:
        """The end of the entries from `start` on that one `apply` may take: at least one, at most `bytes_max`.

        A restore goes alone, as it changes where the rows of all others lie."""
        end, size = start + 1, len(entries[start][3])
        if is_restore(entries[start][3]):
            return end
        while end < len(entries) and (size := size + len(entries[end][3])) <= bytes_max:
            if is_restore(entries[end][3]):
                break
            end += 1
        return end

    def lacks(self, entry: EntryTuple) -> bool:
        """Whether the entry restores what is not staged here: then it cannot be applied (INVARIANTS 22)."""
        index, term, kind, data = entry
        if not is_restore(data) or kind or index <= self.applied_index:
            return False
        restore = self._commands(index, term, data)[1][0]
        return isinstance(restore, Restore) and not is_staged_for(self.staged, restore)

    def keys_read(self, entries: Sequence[EntryTuple]) -> list[bytes]:
        """The row keys whose rows `apply` of the same entries wants, in its order. Raises Corrupt."""
        keys: list[bytes] = []
        for index, term, kind, data in entries:
            if index > self.applied_index and not kind and data:
                keys += keys_read(self._commands(index, term, data)[1])
        return self.row_keys(keys)

    def apply(
        self, entries: Sequence[EntryTuple], values: Sequence[bytes | None], confs: Mapping[int, ConfChanged] = NO_CONFS
    ) -> Applied:
        """Decides committed entries. `values` are the rows of `keys_read(entries)`; `confs` what Raft made of the
        entries that change its members (kind 1 and 2), by log index.
        Raises Corrupt or InvariantBroken, and then has changed nothing."""
        for row in values:
            if row is not None:
                rows.decode_row(row)
        todo = self._todo(entries, len(values), confs)
        added = {index: decode_members(changed.context) if changed.context else [] for index, changed in confs.items()}
        if len(todo) == 1 and todo[0][3] and isinstance(restore := todo[0][3][0], Restore):
            return self._restore(todo[0], restore)
        work = Applying(self.space, self.sessions, self.slaves, self.change_number, self.log_time, self.earliest_expiry)
        read, space, noted, entry_rows = iter(values), self.space, self._noted, work.rows
        results: list[EntryResult] = []
        log_bytes = self.log_bytes
        for index, term, log_time, commands, size in todo:
            first, history = work.change_number + 1, None
            outcomes, without_effect = work.entry(log_time, commands, read)
            if commands:
                log_bytes += size + ENTRY_OVERHEAD_BYTES
                row = encode_outcomes(_new(EntryOutcomes, (first, work.log_time, without_effect, log_bytes)))
                entry_rows[outcomes_key(space, index)] = row
                if work.change_number >= first:
                    history = first, commands, without_effect, size
            results.append(_new(EntryResult, (index, term, work.log_time, outcomes, history)))
            if index in confs:
                self.members = confs[index].conf
                self.directory.change(self.members, added[index], entry_rows)
            noted.pop(index, None)
        if results:
            self.log_bytes = log_bytes
            self._advance(results[-1], work)
        return Applied(RowBatch(list(entry_rows.items()), work.ranges), results)

    def _todo(
        self, entries: Sequence[EntryTuple], value_count: int, confs: Mapping[int, ConfChanged]
    ) -> list[tuple[int, int, int, Sequence[Command], int]]:
        """(index, term, log time, commands, bytes) of what is not applied yet, decoded; every check that can fail."""
        todo: list[tuple[int, int, int, Sequence[Command], int]] = []
        expected, wanted = self.applied_index + 1, 0
        for index, term, kind, data in entries:
            if index < expected:
                continue
            if index != expected:
                raise InvariantBroken(f"vBucket {self.vbucket}: entry {index} committed where {expected} is next")
            if kind and index not in confs:
                raise InvariantBroken(f"vBucket {self.vbucket}: entry {index} changes the members, to what is not said")
            expected += 1
            log_time, commands = self._commands(index, term, data) if data and not kind else (0, ())
            wanted += len(keys_read(commands))
            todo.append((index, term, log_time, commands, len(data)))
        if len(todo) > 1 and any(each[3] and isinstance(each[3][0], Restore) for each in todo):
            raise InvariantBroken(f"vBucket {self.vbucket}: a restore among {len(todo)} entries")
        if wanted != value_count:
            raise InvariantBroken(f"vBucket {self.vbucket}: {value_count} values for {wanted} keys read")
        return todo

    def _commands(self, index: int, term: int, data: bytes) -> tuple[int, Sequence[Command]]:
        """An entry decoded, at most once. Index and term name one entry for ever (Raft, log matching)."""
        noted = self._noted.get(index)
        if noted is None or noted[0] != term:
            noted = self._noted[index] = (term, *decode_entry(data))
        return noted[1], noted[2]

    def _restore(self, entry: tuple[int, int, int, Sequence[Command], int], restore: Restore) -> Applied:
        """What is staged is served from here on; the old rows are gone in the same batch (INVARIANTS 4)."""
        index, term, log_time, _, _ = entry
        old, new = self.space, flipped(self.metadata(), self.staged, restore, index, term, log_time)
        assert self.staged is not None
        self.space, self.sessions, self._data = new.space, Sessions(new.space), rows.prefix(new.space)
        self.earliest_expiry, self.staged = self.staged.earliest_expiry, None
        self.history_id, self.log_time = new.history_id, new.log_time
        self.change_number, self.earliest_change = new.change_number, new.earliest_change
        self.earliest_index, self.log_bytes, self._bytes_cut = index + 1, 0, 0
        self.applied_index, self.applied_term = index, term
        self.clock.observe(new.log_time)
        self._noted.pop(index, None)
        flip: list[tuple[bytes, bytes | None]] = [
            (rows.metadata_key(self.vbucket), encode_metadata(new)),
            (staging_key(self.vbucket), None),
        ]
        result = EntryResult(index, term, new.log_time, [Outcome(True, new.change_number)], None)
        return Applied(RowBatch(flip, [rows.block_range(old)]), [result])

    def _advance(self, last: EntryResult, work: Applying) -> None:
        self.applied_index, self.applied_term = last.index, last.term
        self.change_number, self.log_time = work.change_number, work.log_time
        self.earliest_expiry = work.earliest_expiry
        self.clock.observe(work.log_time)
        if self._conf[0] is not self.members:
            self._conf = self.members, encode_conf(self.members)
        work.rows[self._metadata_key] = encode_metadata(self.metadata(), self._conf[1])

    def stage(self, staged: Staged) -> RowBatch:
        """The row that names the block of a restore. Once it says that the block is whole, sync it before the restore
        is proposed."""
        self.staged = staged if staged.is_whole else None
        return RowBatch([(staging_key(self.vbucket), encode_staged(staged))])

    def unstage(self, blocks: list[Range]) -> RowBatch:
        """A restore was given up, or cut short by a crash: its row goes, and the blocks that nobody serves."""
        self.staged = None
        return RowBatch([(staging_key(self.vbucket), None)], blocks)

    @property
    def history_bytes(self) -> int:
        """Of the entries kept for the history, about: whole entries, and not the first."""
        return self.log_bytes - self._bytes_cut

    def outcomes_after(self, index: int) -> Range:
        """The outcomes rows of the entries behind `index`."""
        return outcomes_key(self.space, index + 1), rows.outcomes_range(self.space)[1]

    def cut_history(self, index: int, first: EntryOutcomes | None) -> RowBatch:
        """Forgets the outcomes of entries up to `index`, whose log entries are not kept either (INVARIANTS 14).

        `first` is the first row of `ranges.outcomes` behind `index`, None if there is none. The history of a replica
        is its own affair: others may keep more."""
        self.note_history(index + 1, first)
        metadata = (rows.metadata_key(self.vbucket), encode_metadata(self.metadata()))
        return RowBatch([metadata], [(outcomes_key(self.space, 0), outcomes_key(self.space, index + 1))])

    def note_history(self, first_index: int, first: EntryOutcomes | None, last: EntryOutcomes | None = None) -> None:
        """The log begins at `first_index`: what is before is not in the history. `first` is the first outcomes row from
        there on, None if there is none; `last`, given after an open, the last one."""
        if last is not None:
            self.log_bytes = last.log_bytes
        self.earliest_change = max(self.earliest_change, first.first_change_number if first else self.change_number + 1)
        self.earliest_index = first_index
        self._bytes_cut = first.log_bytes if first else self.log_bytes

    def tick_due(self, now: Now) -> bool:
        """Whether to propose a Tick: a record is due that readers still see. Ask at most 20 times a second."""
        earliest = self.earliest_expiry
        return earliest is not None and self.log_time < earliest <= self.clock.peek(now)

    def sweep_due(self) -> bool:
        """Whether the expiry index may hold rows that are due: see `jobs.sweep`."""
        return self.earliest_expiry is not None and self.earliest_expiry <= self.log_time

    def note_earliest(self, expires_at: int | None) -> None:
        """The expiry index begins here, or is empty (None): read from a view in which everything applied shows."""
        self.earliest_expiry = expires_at
