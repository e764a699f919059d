"""A replica against a dumb second version of itself, over random commands, times and cuts into turns."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.model.commands import (
    AddSlave,
    Command,
    CompareAndSet,
    Delete,
    DeleteRange,
    MultiPut,
    Outcome,
    Put,
    RemoveSlave,
    Session,
    Sweep,
    Tick,
)
from dkv.ports.consensus import EntryTuple
from dkv.ports.store import RowBatch
from dkv.vbucket.entry import decode_entry, encode_entry
from dkv.vbucket.history import read_entry
from dkv.vbucket.outcomes import decode_outcomes, outcomes_key
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import decode_expiry_key, visible
from dkv.vbucket.sessions import IDLE_MS_MAX

START = 1_000
KEYS = [b"a", b"ab", b"b", b"\xff", b"\xff\xff"]

keys = st.sampled_from(KEYS)
values = st.sampled_from([b"", b"x", b"y"])
expiries = st.one_of(st.just(0), st.integers(START - 5, START + 60), st.just(2**64 - 1))
sessions = st.none() | st.builds(Session, st.sampled_from([b"s", b"t"]), st.integers(1, 4), st.integers(0, 3))
puts = st.builds(Put, keys, values, expiries, st.none())
commands = st.one_of(
    st.builds(Put, keys, values, expiries, sessions),
    st.builds(Delete, keys, sessions),
    st.builds(DeleteRange, keys | st.just(b""), keys | st.just(b""), sessions),
    st.builds(CompareAndSet, keys, values, values, expiries, sessions),
    st.builds(CompareAndSet, keys, values, values, expiries, sessions),
    st.builds(MultiPut, st.lists(puts, max_size=3).map(tuple), sessions),
    st.builds(Sweep, st.lists(st.tuples(st.integers(START, START + 60), keys), max_size=3).map(tuple)),
    st.just(Tick()),
    st.builds(AddSlave, keys),
    st.builds(RemoveSlave, keys),
)
times = st.integers(START, START + 70) | st.just(START + 2 * IDLE_MS_MAX)
few = st.sampled_from(KEYS[:2])
of_ranges = st.one_of(
    st.builds(Put, few, values, st.just(0), st.none()),
    st.builds(DeleteRange, few, st.just(b""), st.none()),
    st.builds(CompareAndSet, few, values, values, st.just(0), st.none()),
)
of_one_session = st.builds(
    CompareAndSet,
    few,
    values,
    values,
    st.just(0),
    st.builds(Session, st.just(b"s"), st.integers(1, 4), st.integers(0, 4)),
)
# Worlds small enough that commands meet: a range between a write and a compare, a retry after an acknowledgement.
entries = st.sampled_from([commands, of_ranges, of_one_session]).flatmap(
    lambda world: st.lists(st.tuples(times, st.lists(world, max_size=6)), max_size=8)
)


class Model:
    """What the words of COMPATIBILITY 1.3 say, as slowly and plainly as possible."""

    def __init__(self) -> None:
        self.data: dict[bytes, tuple[bytes, int]] = {}
        self.number, self.log_time = 0, START
        self.sessions: dict[bytes, tuple[int, int, dict[int, Outcome]]] = {}
        self.slaves: set[bytes] = set()
        self.changes: list[Put | Delete | DeleteRange] = []
        """In the order of their numbers, from 1."""

    def get(self, key: bytes) -> bytes | None:
        value, expires_at = self.data.get(key, (b"", 1))
        return None if 0 < expires_at <= self.log_time else value

    def entry(self, log_time: int, commands: Sequence[Command]) -> list[Outcome]:
        self.log_time = max(self.log_time, log_time)
        idle = [name for name, (used, _, _) in self.sessions.items() if used + IDLE_MS_MAX <= self.log_time]
        for name in idle:
            del self.sessions[name]
        return [self.command(command) for command in commands]

    def command(self, command: Command) -> Outcome:
        session = None if isinstance(command, Sweep | Tick | AddSlave | RemoveSlave) else command.session
        if session is None:
            return self.take(command)
        name, sequence, said = session
        if name not in self.sessions and said:
            return Outcome(False, self.number, "unknown")
        _, lowest, results = self.sessions.get(name, (0, sequence, {}))
        if sequence in results:
            return results[sequence]
        if sequence < max(lowest, said):
            return Outcome(False, self.number, "seen")
        outcome = self.take(command)
        lowest = max(lowest, said)
        kept = {old: result for old, result in results.items() if old >= lowest}
        self.sessions[name] = (self.log_time, lowest, kept | {sequence: outcome})
        return outcome

    def take(self, command: Command) -> Outcome:
        if isinstance(command, CompareAndSet) and (self.get(command.key) or b"") != command.expected:
            return Outcome(False, self.number)
        if isinstance(command, Put | CompareAndSet):
            self.put(command.key, command.value, command.expires_at)
        elif isinstance(command, MultiPut):
            for put in command.puts:
                self.put(put.key, put.value, put.expires_at)
        elif isinstance(command, Delete):
            self.number += 1
            self.changes.append(Delete(command.key))
            self.data.pop(command.key, None)
        elif isinstance(command, DeleteRange):
            self.number += 1
            self.changes.append(DeleteRange(command.start, command.end))
            for key in list(self.data):
                if command.start <= key and (key < command.end or not command.end):
                    del self.data[key]
        elif isinstance(command, AddSlave):
            self.slaves.add(command.address)
        elif isinstance(command, RemoveSlave):
            self.slaves.discard(command.address)
        return Outcome(True, self.number)

    def put(self, key: bytes, value: bytes, expires_at: int) -> None:
        self.number += 1
        self.changes.append(Put(key, value, expires_at))
        self.data[key] = (value, expires_at)


Rows = dict[bytes, bytes]


def write(rows: Rows, batch: RowBatch) -> None:
    for start, end in batch.ranges:
        for key in [key for key in rows if start <= key < end]:
            del rows[key]
    for key, row in batch.operations:
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


def first() -> Rows:
    rows: Rows = {}
    write(rows, Replica.first_rows(1, 7, b"h" * 16, ([7], [], [], [], False), START))
    return rows


def opened(rows: Rows) -> Replica:
    row = rows[Replica.metadata_key(1)]
    where = Replica.ranges(row)
    within = [
        sorted((key, value) for key, value in rows.items() if start <= key < end)
        for start, end in (where.sessions, where.expiries, where.outcomes, where.slaves)
    ]
    return Replica.open(1, row, within[0], within[1][:1], within[2][-1:], within[3])


def turn(replica: Replica, rows: Rows, committed: Sequence[EntryTuple]) -> list[list[Outcome]]:
    values = [rows.get(key) for key in replica.keys_read(committed)]
    applied = replica.apply(committed, values)
    write(rows, applied.batch)
    return [result.outcomes for result in applied.results]


def log_of(made: list[tuple[int, list[Command]]]) -> list[EntryTuple]:
    return [(2 + position, 1, 0, encode_entry(*entry)) for position, entry in enumerate(made)]


def cut(log: list[EntryTuple], sizes: list[int]) -> list[list[EntryTuple]]:
    turns, start = [], 0
    for size in [*sizes, len(log)]:
        turns.append(log[start : start + size])
        start += size
    return [part for part in turns if part]


def kinds(outcomes: list[Outcome]) -> list[tuple[bool, int, bool]]:
    return [(outcome.took_effect, outcome.change_number, bool(outcome.error)) for outcome in outcomes]


cuts = st.lists(st.integers(1, 4), max_size=8)


@settings(max_examples=250, deadline=None)
@given(entries, cuts)
def test_replica_over_random_entries_equals_the_model(made: list[tuple[int, list[Command]]], sizes: list[int]) -> None:
    """Outcomes, numbers and what readers see agree, however the entries are cut into turns."""
    rows, model, at = first(), Model(), 0
    replica = opened(rows)
    for part in cut(log_of(made), sizes):
        outcomes = turn(replica, rows, part)
        for mine in outcomes:
            assert kinds(mine) == kinds(model.entry(*made[at]))
            at += 1
        seen = [visible(rows.get(replica.row_key(key)), replica.log_time) for key in KEYS]
        assert seen == [model.get(key) for key in KEYS]
        assert (replica.change_number, replica.log_time) == (model.number, model.log_time)
        assert replica.slaves.addresses() == sorted(model.slaves)


@settings(max_examples=250, deadline=None)
@given(entries, cuts)
def test_history_from_log_and_outcomes_equals_the_changes_of_the_model(
    made: list[tuple[int, list[Command]]], sizes: list[int]
) -> None:
    """Every change once, with its number; the tail, made by apply, says the same as what is read of the log."""
    rows, model, log = first(), Model(), log_of(made)
    replica, tail = opened(rows), []
    for part in cut(log, sizes):
        applied = replica.apply(part, [rows.get(key) for key in replica.keys_read(part)])
        write(rows, applied.batch)
        tail += [changes for result in applied.results if (changes := result.changes()) is not None]
    for entry in made:
        model.entry(*entry)
    found = [
        read_entry(index, data, decode_outcomes(rows[outcomes_key(replica.space, index)]))
        for index, _, _, data in log
        if decode_entry(data)[1]
    ]
    for history in (found, tail):
        changes = {
            number: each._replace(session=None)
            for entry in history
            for number, each in enumerate(entry.changes(), entry.first_number)
        }
        assert list(changes.items()) == list(enumerate(model.changes, 1))
        for entry in history:
            records = [(first, list(some)) for first, some in entry.records()]
            assert [each for _, some in records for each in some] == list(entry.changes())
            assert all(some for _, some in records)


@settings(max_examples=150, deadline=None)
@given(entries, cuts, cuts)
def test_replica_with_other_turns_and_restarts_has_equal_rows(
    made: list[tuple[int, list[Command]]], sizes: list[int], other_sizes: list[int]
) -> None:
    """Two replicas that cut the log differently, one restarted between all turns, end byte for byte equal."""
    log, steady_rows, restarted_rows = log_of(made), first(), first()
    steady = opened(steady_rows)
    for part in cut(log, sizes):
        turn(steady, steady_rows, part)
    for part in cut(log, other_sizes):
        turn(opened(restarted_rows), restarted_rows, part)
    assert restarted_rows == steady_rows
    assert opened(restarted_rows).metadata() == steady.metadata()


@settings(max_examples=150, deadline=None)
@given(entries, st.integers(0, 8), st.integers(0, 8))
def test_replica_after_a_crash_replays_to_the_same_rows(
    made: list[tuple[int, list[Command]]], kept: int, replayed_from: int
) -> None:
    """The engine lost what was not synced; the log comes again, also from before the applied index."""
    log, rows, lost_rows = log_of(made), first(), first()
    turn(opened(rows), rows, log)
    kept = min(kept, len(log))
    turn(opened(lost_rows), lost_rows, log[:kept])
    turn(opened(lost_rows), lost_rows, log[min(kept, replayed_from) :])
    assert lost_rows == rows


@settings(max_examples=100, deadline=None)
@given(entries)
def test_replica_expiry_index_covers_every_record_that_expires(made: list[tuple[int, list[Command]]]) -> None:
    """A row may be stale but never missing, and none is below the earliest expiry known (INVARIANTS 9)."""
    rows = first()
    replica = opened(rows)
    for entry in log_of(made):
        turn(replica, rows, [entry])
    start, end = replica.expired_range()
    index = {decode_expiry_key(key) for key in rows if start <= key < end}
    for key in KEYS:
        row = rows.get(replica.row_key(key))
        if row is not None and row[0]:
            assert (int.from_bytes(row[1:9], "big"), key) in index
    assert all(replica.earliest_expiry is not None and replica.earliest_expiry <= at for at, _ in index)
