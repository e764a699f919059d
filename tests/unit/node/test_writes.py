"""Calls between proposal and application: each is answered once, whatever becomes of its place in the log."""

from collections.abc import Sequence
from typing import Any, cast

from dkv.model.commands import Outcome, Put
from dkv.model.errors import Code
from dkv.model.limits import Limits
from dkv.node.meter import Meter
from dkv.node.writes import Writes
from dkv.ports.clock import Now
from dkv.services.turn import Turn
from dkv.vbucket.replica import EntryResult, Replica

NOW = Now(1_700_000_000_000, 5_000)
TIMEOUT_MS = 1_000


class Places:
    """A consensus that gives every proposal the place that the test has named."""

    def __init__(self) -> None:
        self.next: tuple[int, int] = (2, 5)

    def propose(self, vbucket: int, data: bytes) -> tuple[int, int]:
        return self.next


class House:
    """Writes of one replica, over a consensus that does as it is told."""

    def __init__(self) -> None:
        rows = Replica.first_rows(1, 7, b"h" * 16, ([7], [], [], [], False), 0)
        row = rows.operations[0][1]
        assert row is not None
        self.places = Places()
        replica = Replica.open(1, row, [], [], [])
        self.writes = Writes(replica, cast(Any, self.places), Limits(), Meter(), TIMEOUT_MS)
        self.answered: list[int] = []

    def propose(self, call_id: int, term: int, index: int) -> Turn:
        """One call's write goes to this place."""
        self.places.next = (term, index)
        turn = Turn(0)
        turn.commands, turn.command_calls, turn.command_answers = [Put(b"k", b"v")], [call_id], [self._answer]
        self.writes.propose(turn, NOW, None)
        return turn

    def _answer(self, turn: Turn, call_ids: Sequence[int], outcomes: Sequence[Outcome], log_time: int) -> None:
        self.answered += call_ids

    def applied(self, term: int, index: int) -> Turn:
        """This entry was applied."""
        turn = Turn(0)
        self.writes.answer([EntryResult(index, term, 0, [Outcome(True, 1)], None)], turn)
        return turn


def codes(turn: Turn) -> list[tuple[int, int]]:
    return [(finish[0], finish[1]) for finish in turn.finished]


def test_answer_of_the_own_entry_reaches_its_call() -> None:
    """Place and term are those of the proposal."""
    house = House()
    house.propose(1, 2, 5)
    assert codes(house.applied(2, 5)) == []
    assert house.answered == [1]
    assert house.writes.waiting_entries == 0


def test_entry_of_another_leader_in_its_place_refuses_the_call() -> None:
    """The write can never be applied any more."""
    house = House()
    house.propose(1, 2, 5)
    assert codes(house.applied(3, 5)) == [(1, Code.UNAVAILABLE)]
    assert house.answered == []


def test_second_proposal_for_a_place_leaves_the_first_unknown() -> None:
    """A leader that was deposed and leads again has a shorter log; the old entry may still live in another one."""
    house = House()
    house.propose(1, 2, 5)
    assert codes(house.propose(2, 4, 5)) == [(1, Code.DEADLINE_EXCEEDED)]
    house.applied(4, 5)
    assert house.answered == [2]


def test_write_that_waits_too_long_is_unknown() -> None:
    """It may still be committed."""
    house = House()
    house.propose(1, 2, 5)
    turn = Turn(0)
    house.writes.give_up(turn, NOW._replace(monotonic_ms=NOW.monotonic_ms + TIMEOUT_MS - 1))
    assert turn.finished == []
    house.writes.give_up(turn, NOW._replace(monotonic_ms=NOW.monotonic_ms + TIMEOUT_MS))
    assert codes(turn) == [(1, Code.DEADLINE_EXCEEDED)]
