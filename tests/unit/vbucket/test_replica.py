"""Proposing and applying."""

import pytest

from dkv.model.commands import Command, CompareAndSet, Delete, DeleteRange, MultiPut, Outcome, Put, Session, Sweep, Tick
from dkv.model.errors import Corrupt, InvariantBroken
from dkv.ports.clock import Now
from dkv.ports.consensus import Conf, EntryTuple
from dkv.vbucket.directory import ConfChanged
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.history import ENTRY_OVERHEAD_BYTES
from dkv.vbucket.outcomes import decode_outcomes, outcomes_key
from dkv.vbucket.replica import Applied, Replica
from dkv.vbucket.rows import visible

CONF: Conf = ([7], [], [], [], False)
START_MS = 1_000_000


class Vault:
    """A replica with a dict as its engine; entries are applied as soon as they are made."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.write(Applied(Replica.first_rows(3, 7, b"h" * 16, CONF, START_MS), []))
        self.replica = self.reopen()

    def reopen(self) -> Replica:
        row = self.rows[Replica.metadata_key(3)]
        ranges = Replica.ranges(row)
        sessions, expiries = self.between(*ranges.sessions), self.between(*ranges.expiries)
        outcomes, staging_row = self.between(*ranges.outcomes), self.rows.get(Replica.staging_key(3))
        return Replica.open(3, row, sessions, expiries[:1], outcomes[-1:], staging_row=staging_row)

    def between(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        return sorted((key, row) for key, row in self.rows.items() if start <= key < end)

    def write(self, applied: Applied) -> None:
        for start, end in applied.batch.ranges:
            for key, _ in self.between(start, end):
                del self.rows[key]
        for key, row in applied.batch.operations:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def apply(self, *entries: EntryTuple) -> list[list[Outcome]]:
        values = [self.rows.get(key) for key in self.replica.keys_read(entries)]
        applied = self.replica.apply(entries, values)
        self.write(applied)
        return [result.outcomes for result in applied.results]

    def do(self, *commands: Command, at_ms: int = START_MS) -> list[Outcome]:
        data = encode_entry(at_ms, commands)
        return self.apply((self.replica.applied_index + 1, 1, 0, data))[0]

    def get(self, key: bytes) -> bytes | None:
        return visible(self.rows.get(self.replica.row_key(key)), self.replica.log_time)


def yes(number: int) -> Outcome:
    return Outcome(True, number)


def no(number: int) -> Outcome:
    return Outcome(False, number)


def test_put_and_delete_take_one_number_each() -> None:
    """A delete of an absent key takes a number too."""
    vault = Vault()
    assert vault.do(Put(b"a", b"1"), Delete(b"a"), Delete(b"a"), Put(b"a", b"")) == [yes(1), yes(2), yes(3), yes(4)]
    assert vault.get(b"a") == b""


@pytest.mark.parametrize(
    ("before", "expected", "updated"),
    [
        (None, b"", True),
        (None, b"x", False),
        (b"", b"", True),
        (b"x", b"", False),
        (b"x", b"x", True),
        (b"x", b"y", False),
    ],
)
@pytest.mark.parametrize("same_turn", [True, False])
def test_compare_and_set_follows_the_table(
    before: bytes | None, expected: bytes, updated: bool, same_turn: bool
) -> None:
    """The table of COMPATIBILITY 1.3, with the value from the engine or from the same entry."""
    vault = Vault()
    first: list[Command] = [Delete(b"k") if before is None else Put(b"k", before)]
    second: list[Command] = [CompareAndSet(b"k", expected, b"new")]
    outcome = vault.do(*first, *second)[1] if same_turn else (vault.do(*first), vault.do(*second)[0])[1]
    assert outcome == Outcome(updated, 1 + updated)
    assert vault.get(b"k") == (b"new" if updated else before)


def test_compare_and_set_race_has_one_winner() -> None:
    """Of several creators in one entry exactly one is told yes."""
    vault = Vault()
    assert vault.do(*[CompareAndSet(b"k", b"", b"%d" % i) for i in range(4)]) == [yes(1), no(1), no(1), no(1)]
    assert vault.get(b"k") == b"0"


def test_compare_and_set_of_expired_key_sees_it_absent() -> None:
    """Log time, not the sweep, decides."""
    vault = Vault()
    vault.do(Put(b"k", b"old", START_MS + 10))
    assert vault.do(CompareAndSet(b"k", b"old", b"x"), at_ms=START_MS + 10) == [no(1)]
    assert vault.do(CompareAndSet(b"k", b"", b"x"), at_ms=START_MS + 10) == [yes(2)]


def test_multi_put_takes_a_number_per_entry_and_the_last_duplicate_wins() -> None:
    """Atomic, in order; an empty one takes none."""
    vault = Vault()
    puts = MultiPut((Put(b"a", b"1", START_MS + 5), Put(b"b", b"2"), Put(b"a", b"3")))
    assert vault.do(puts, MultiPut(())) == [yes(3), yes(3)]
    assert vault.get(b"a") == b"3"


def test_put_with_past_expiry_makes_the_key_absent_at_once() -> None:
    """It is accepted, takes a number, and leaves no row."""
    vault = Vault()
    assert vault.do(Put(b"k", b"1"), Put(b"k", b"2", START_MS)) == [yes(1), yes(2)]
    assert vault.rows.get(vault.replica.row_key(b"k")) is None


def test_put_without_expiry_clears_the_old_one() -> None:
    """A plain put outlives the expiry of what it replaced, and the sweep of it."""
    vault = Vault()
    vault.do(Put(b"k", b"1", START_MS + 5), Put(b"k", b"2"))
    vault.do(Sweep(((START_MS + 5, b"k"),)), at_ms=START_MS + 9)
    assert vault.get(b"k") == b"2"
    assert vault.between(*vault.replica.expired_range()) == []


def test_sweep_of_candidates_not_yet_due_changes_nothing() -> None:
    """Apply checks what the leader claimed."""
    vault = Vault()
    vault.do(Put(b"k", b"1", START_MS + 5))
    ranges = Replica.ranges(vault.rows[Replica.metadata_key(3)])
    before = vault.between(*ranges.data) + vault.between(*ranges.expiries)
    assert vault.do(Sweep(((START_MS + 5, b"k"),)), at_ms=START_MS + 4) == [yes(1)]
    assert vault.between(*ranges.data) + vault.between(*ranges.expiries) == before


def test_sweep_of_a_longer_lived_record_keeps_it() -> None:
    """A stale row of the index goes, the record stays."""
    vault = Vault()
    vault.do(Put(b"k", b"1", START_MS + 5), Put(b"k", b"2", START_MS + 50))
    vault.do(Sweep(((START_MS + 5, b"k"),)), at_ms=START_MS + 9)
    assert vault.get(b"k") == b"2"
    assert len(vault.between(*vault.replica.expired_range())) == 1


def test_delete_range_hides_earlier_writes_of_the_turn_and_not_later_ones() -> None:
    """Ranges go first in a batch, so earlier operations in the range must not be in it."""
    vault = Vault()
    vault.do(Put(b"b", b"old"), Put(b"c", b"old"), Put(b"z", b"old"))
    outcomes = vault.do(
        Put(b"a", b"1"), DeleteRange(b"a", b"d"), CompareAndSet(b"c", b"", b"new"), CompareAndSet(b"b", b"old", b"x")
    )
    assert outcomes == [yes(4), yes(5), yes(6), no(6)]
    assert [vault.get(key) for key in (b"a", b"b", b"c", b"z")] == [None, None, b"new", b"old"]


def test_delete_range_with_empty_end_reaches_the_last_key_and_no_other_space() -> None:
    """The expiry index and the outcomes stay."""
    vault = Vault()
    vault.do(Put(b"\xff" * 20, b"1", START_MS + 5), Put(b"a", b"2"))
    vault.do(DeleteRange(b"b", b""), DeleteRange(b"z", b"a"))
    assert (vault.get(b"a"), vault.get(b"\xff" * 20)) == (b"2", None)
    assert len(vault.between(*vault.replica.expired_range())) == 1


def test_apply_writes_the_outcomes_of_every_entry_with_commands() -> None:
    """The log is the history: one row says which commands count and from which number on."""
    vault = Vault()
    vault.do(Put(b"k", b"1"), CompareAndSet(b"k", b"?", b"x"), Sweep(()), Tick(), MultiPut(()), Delete(b"k"))
    vault.do(Tick(), CompareAndSet(b"k", b"?", b"x"))
    assert decode_outcomes(vault.rows[outcomes_key(vault.replica.space, 2)])[:3] == (1, START_MS, 0b000010)
    assert decode_outcomes(vault.rows[outcomes_key(vault.replica.space, 3)])[:3] == (3, START_MS, 0b10)
    vault.apply((4, 1, 0, b""))
    assert outcomes_key(vault.replica.space, 4) not in vault.rows


def test_apply_of_applied_entries_changes_nothing() -> None:
    """The log is replayed from before the applied index after a crash."""
    vault = Vault()
    data = encode_entry(START_MS, [CompareAndSet(b"k", b"", b"1")])
    assert vault.apply((2, 1, 0, data)) == [[yes(1)]]
    before = dict(vault.rows)
    assert vault.apply((2, 1, 0, data)) == []
    assert vault.rows == before
    assert vault.replica.change_number == 1


def test_apply_of_a_gap_raises_and_changes_nothing() -> None:
    """An entry that is missing is a bug, not a jump."""
    vault = Vault()
    with pytest.raises(InvariantBroken, match="entry 3 committed where 2 is next"):
        vault.apply((3, 1, 0, b""))


@pytest.mark.parametrize("bad", [b"junk", encode_entry(1, []) + b"!"])
def test_apply_of_a_damaged_entry_raises_and_changes_nothing(bad: bytes) -> None:
    """Also the good entries before it in the turn are not applied."""
    vault = Vault()
    entries = [(2, 1, 0, encode_entry(START_MS, [Put(b"k", b"1", 0, Session(b"s", 1, 0))])), (3, 1, 0, bad)]
    with pytest.raises(Corrupt):
        vault.replica.apply(entries, [])
    assert (vault.replica.metadata(), len(vault.replica.sessions)) == (vault.reopen().metadata(), 0)


def test_apply_of_a_damaged_row_raises_and_changes_nothing() -> None:
    """A row is checked before the first command is applied."""
    vault = Vault()
    entry = (2, 1, 0, encode_entry(START_MS, [Put(b"a", b"1"), CompareAndSet(b"k", b"", b"1")]))
    with pytest.raises(Corrupt, match="unknown flags 09"):
        vault.replica.apply([entry], [b"\x09"])
    assert vault.replica.applied_index == 1


def test_apply_with_too_few_values_raises() -> None:
    """The values belong to the keys read."""
    entry = (2, 1, 0, encode_entry(START_MS, [CompareAndSet(b"k", b"", b"1")]))
    with pytest.raises(InvariantBroken, match="0 values for 1 keys read"):
        Vault().replica.apply([entry], [])


def test_apply_of_a_leaders_first_entry_moves_index_and_term() -> None:
    """Reads of a new leader wait for its first own entry (INVARIANTS 5)."""
    vault = Vault()
    assert vault.apply((2, 4, 0, b"")) == [[]]
    assert (vault.reopen().applied_index, vault.reopen().applied_term) == (2, 4)


def test_apply_of_a_membership_change_takes_the_new_members() -> None:
    """They are in the same batch as the applied index."""
    vault = Vault()
    with pytest.raises(InvariantBroken, match="changes the members"):
        vault.apply((2, 1, 1, b"raft's"))
    vault.write(vault.replica.apply([(2, 1, 2, b"raft's")], [], {2: ConfChanged(([7, 8], [9], [], [], True))}))
    assert vault.reopen().members == ([7, 8], [9], [], [], True)


def test_apply_of_noted_proposal_gives_what_decoding_gives() -> None:
    """The leader does not decode its own entries, unless another took their place."""
    ours, theirs = Vault(), Vault()
    ours.replica.lead(Now(START_MS, 0))
    proposal = ours.replica.propose([Put(b"k", b"1"), CompareAndSet(b"k", b"1", b"2")], Now(START_MS + 3, 3))
    ours.replica.note_proposed(2, 1, proposal)
    assert ours.apply((2, 1, 0, proposal.data)) == theirs.apply((2, 1, 0, proposal.data))
    assert ours.rows == theirs.rows
    ours.replica.note_proposed(3, 1, proposal)
    assert ours.apply((3, 2, 0, encode_entry(1, [Put(b"k", b"other")]))) == [[yes(3)]]
    assert ours.get(b"k") == b"other"


@pytest.mark.parametrize(("index", "earliest", "kept"), [(2, 3, 1), (3, 4, 0)])
def test_history_cut_keeps_what_is_behind_the_index(index: int, earliest: int, kept: int) -> None:
    """The metadata row says from which number on changes can be served."""
    vault = Vault()
    vault.do(Put(b"a", b"1"), Put(b"b", b"2"))
    vault.do(Put(b"c", b"3"))
    row = vault.rows.get(outcomes_key(vault.replica.space, index + 1))
    vault.write(Applied(vault.replica.cut_history(index, decode_outcomes(row) if row else None), []))
    assert vault.reopen().earliest_change == earliest
    assert len(vault.between(*Replica.ranges(vault.rows[Replica.metadata_key(3)]).outcomes)) == kept


def test_history_bytes_grow_with_the_log_and_shrink_with_a_cut() -> None:
    """Counted by entry, data and overhead, whether or not it took a number; as the outcomes rows say after an open."""
    vault = Vault()
    one = len(encode_entry(START_MS, [Put(b"a", b"1")])) + ENTRY_OVERHEAD_BYTES
    tick = len(encode_entry(START_MS, [Tick()])) + ENTRY_OVERHEAD_BYTES
    vault.do(Put(b"a", b"1"))
    vault.do(Tick())
    vault.do(Put(b"b", b"2"))
    assert vault.replica.history_bytes == 2 * one + tick
    rows = [decode_outcomes(row) for _, row in vault.between(*vault.replica.outcomes_after(1))]
    assert [row.log_bytes for row in rows] == [one, one + tick, 2 * one + tick]
    reopened = vault.reopen()
    reopened.note_history(2, rows[0])
    assert (reopened.log_bytes, reopened.history_bytes) == (2 * one + tick, one + tick)
    reopened.cut_history(3, rows[-1])
    assert (reopened.history_bytes, reopened.earliest_change, reopened.earliest_index) == (0, 2, 4)


def test_apply_tells_the_changes_of_each_entry() -> None:
    """What took no number is marked; an entry without a number has no changes."""
    vault = Vault()
    entries = [
        (2, 1, 0, encode_entry(START_MS, [CompareAndSet(b"k", b"no", b"1"), Put(b"k", b"2")])),
        (3, 1, 0, encode_entry(START_MS, [Tick()])),
    ]
    keys = vault.replica.keys_read(entries)
    results = vault.replica.apply(entries, [vault.rows.get(key) for key in keys]).results
    changes = results[0].changes()
    assert changes is not None
    assert list(changes.records()) == [(1, (Put(b"k", b"2"),))]
    assert results[1].changes() is None


def test_apply_never_takes_log_time_back() -> None:
    """An entry of an older leader with an older time is applied at the newer one."""
    vault = Vault()
    vault.do(Put(b"k", b"1", START_MS + 50), Tick(), at_ms=START_MS + 60)
    vault.do(Tick(), at_ms=START_MS + 10)
    assert vault.replica.log_time == START_MS + 60
    assert vault.get(b"k") is None


def test_tick_is_due_when_readers_still_see_what_is_due() -> None:
    """Not before, and not after its log time is applied; then it is the sweep's turn."""
    vault = Vault()
    replica = vault.replica
    replica.lead(Now(START_MS, 0))
    assert not replica.tick_due(Now(START_MS + 100, 100))
    vault.do(Put(b"k", b"1", START_MS + 50))
    assert not replica.tick_due(Now(START_MS + 49, 49))
    assert replica.tick_due(Now(START_MS + 50, 50))
    assert not replica.sweep_due()
    vault.do(Tick(), at_ms=START_MS + 50)
    assert not replica.tick_due(Now(START_MS + 60, 60))
    assert replica.sweep_due()


def test_open_with_metadata_of_another_vbucket_raises() -> None:
    """A row under the wrong key is damage."""
    row = Replica.first_rows(3, 7, b"h" * 16, CONF, START_MS).operations[0][1]
    assert row is not None
    with pytest.raises(Corrupt, match="metadata of vBucket 3"):
        Replica.open(4, row, [], [], [])


def test_retry_in_a_session_applies_once_and_after_reopening() -> None:
    """The second attempt gets the first one's outcome, whatever the key holds by then."""
    vault = Vault()
    create = CompareAndSet(b"k", b"", b"1", 0, Session(b"s", 1, 0))
    assert vault.do(create) == [yes(1)]
    vault.do(Delete(b"k"))
    vault.replica = vault.reopen()
    retry = create._replace(session=Session(b"s", 1, 1))
    assert vault.do(retry, Put(b"x", b"y")) == [yes(1), yes(3)]
    assert vault.get(b"k") is None
    assert decode_outcomes(vault.rows[outcomes_key(vault.replica.space, 4)]).without_effect == 1


def test_retry_of_compare_and_set_leaves_the_values_of_others_alone() -> None:
    """Each compare gets the value of its own key, also behind one that is not applied."""
    vault = Vault()
    first = CompareAndSet(b"a", b"", b"1", 0, Session(b"s", 1, 0))
    vault.do(first, Put(b"b", b"2"))
    assert vault.do(first, CompareAndSet(b"b", b"2", b"3")) == [yes(1), yes(3)]
