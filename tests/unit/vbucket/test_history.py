"""Which changes the entries of the log are, and finding one among their rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.model.commands import CompareAndSet, Delete, DeleteRange, MultiPut, Put, Sweep, Tick
from dkv.model.errors import InvariantBroken
from dkv.vbucket.history import EntryChanges, changes_of, find_last
from dkv.vbucket.outcomes import EntryOutcomes, OutcomesAt


def test_records_number_what_took_effect_and_keep_a_multi_put_together() -> None:
    """A record is what one command did; commands without effect and without a number are left out."""
    puts = (Put(b"a", b"1"), Put(b"b", b"2", 9_000))
    commands = [
        CompareAndSet(b"k", b"old", b"new"),
        Tick(),
        MultiPut(puts),
        Sweep(((1, b"x"),)),
        MultiPut(()),
        Delete(b"d"),
        CompareAndSet(b"k", b"", b"v", 5_000),
        DeleteRange(b"a", b"b"),
    ]
    records = list(EntryChanges(7, 40, 1_000, commands, 0b1, 99).records())
    assert records == [
        (40, puts),
        (42, (Delete(b"d"),)),
        (43, (Put(b"k", b"v", 5_000),)),
        (44, (DeleteRange(b"a", b"b"),)),
    ]


def test_changes_of_an_unknown_command_is_a_bug() -> None:
    """A new kind of command has to say what it is in the history."""
    with pytest.raises(InvariantBroken, match="no known kind"):
        changes_of("a command")  # type: ignore[arg-type]


@given(st.sets(st.integers(1, 60)), st.integers(0, 70), st.integers(0, 70), st.integers(0, 70))
def test_find_last_is_what_a_walk_from_the_start_finds(kept: set[int], low: int, high: int, bound: int) -> None:
    """For any gaps between the rows, any bounds, and any place where the condition ends."""
    rows = [OutcomesAt(index, EntryOutcomes(index * 10, 0, 0, 0)) for index in sorted(kept)]

    def row_at(index: int) -> OutcomesAt | None:
        return next((row for row in rows if row.log_index >= index), None)

    found = find_last(low, high, row_at, lambda row: row.first_change_number <= bound * 10)
    walked = [row for row in rows if low <= row.log_index <= min(high, bound)]
    assert found == (walked[-1] if walked else None)
