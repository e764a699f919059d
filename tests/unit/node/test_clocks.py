"""A leader whose clock is far ahead of its log asks the others what time it is, and believes a majority."""

import pytest
from tests.unit.node.test_cluster_turns import NODES, Member, Trio

from dkv.node.clocks import ANSWER_MS_MAX, ASK_INTERVAL_MS
from dkv.ports.clock import Now
from dkv.testing.clock import SimClock
from dkv.wire.peer import Kind, pack_number, pack_numbers

HOUR_MS = 3_600_000


class OwnClock:
    """A clock of a node that somebody has set; the monotonic one is everybody's."""

    def __init__(self, of_all: SimClock) -> None:
        self.of_all, self.ahead_ms = of_all, 0

    def now(self) -> Now:
        now = self.of_all.now()
        return Now(now.wall_ms + self.ahead_ms, now.monotonic_ms)


class Town(Trio):
    """Three nodes with a clock each. Their logs end long before what the clocks show."""

    def __init__(self) -> None:
        super().__init__()
        self.clocks: dict[int, OwnClock] = {}
        for member in self.members:
            clock = self.clocks[member.node_id] = OwnClock(self.clock)
            member.clock = clock  # type: ignore[assignment]
        self.elect_anew()

    def elect_anew(self) -> Member:
        """All start anew; who leads then has begun another run of its clock."""
        for member in self.members:
            member.crash()
        self.run(100)
        return self.leader


@pytest.fixture
def town() -> Town:
    """Log time is what the clocks show."""
    town = Town()
    assert not town.leader.node.sole.replica.clock.frozen
    town.put(town.leader, b"v")
    town.run(20)
    assert lag_ms(town, town.leader) == 0
    return town


def log_time(member: Member) -> int:
    return member.node.sole.replica.clock.peek(member.node.clock.now())


def lag_ms(town: Town, member: Member) -> int:
    """How far log time is behind the time of the town."""
    return town.clock.now().wall_ms - log_time(member)


def test_jump_that_all_clocks_have_made_is_believed(town: Town) -> None:
    """The cluster was off for a day: keys that are due since expire, and nobody had to confirm it."""
    town.clock.jump_wall(24 * HOUR_MS)
    leader = town.elect_anew()
    assert not leader.node.sole.replica.clock.frozen
    assert lag_ms(town, leader) == 0
    assert leader.node.duties is not None
    assert not leader.node.duties.clocks.is_own_wrong


def test_clock_of_the_leader_alone_moves_nothing_but_itself(town: Town) -> None:
    """Log time goes on with what the others show; the leader knows that its clock is wrong, and when it is set."""
    before, leader = town.clock.now().wall_ms, town.leader
    town.clocks[leader.node_id].ahead_ms = 24 * HOUR_MS
    leader.node.sole.replica.clock.begin(leader.node.clock.now())
    assert leader.node.sole.replica.clock.frozen
    town.run(60)
    assert not leader.node.sole.replica.clock.frozen
    assert before < log_time(leader) <= town.clock.now().wall_ms + 1_000
    assert leader.node.duties is not None
    clocks = leader.node.duties.clocks
    assert clocks.is_own_wrong
    assert abs(clocks.ahead_ms - 24 * HOUR_MS) < 1_000
    town.clocks[leader.node_id].ahead_ms = 0
    town.run(600)
    assert not clocks.is_own_wrong


def test_clock_of_another_node_that_is_ahead_moves_nothing(town: Town) -> None:
    """All were off for two hours, one clock is a day ahead: it is two hours later."""
    town.clocks[NODES[2]].ahead_ms = 24 * HOUR_MS
    town.clock.jump_wall(2 * HOUR_MS)
    leader = town.elect_anew()
    assert not leader.node.sole.replica.clock.frozen
    assert -1_000 <= lag_ms(town, leader) <= 1_000


def test_clock_of_another_node_that_is_behind_holds_nothing_up(town: Town) -> None:
    """Even if its answer is the first to come."""
    town.clock.jump_wall(24 * HOUR_MS)
    behind = next(member for member in town.members if not member.is_leading)
    town.clocks[behind.node_id].ahead_ms = -20 * HOUR_MS
    leader = town.leader
    leader.node.sole.replica.clock.begin(leader.node.clock.now())
    town.run(60)
    assert not leader.node.sole.replica.clock.frozen
    assert lag_ms(town, leader) == 0


def test_leader_whose_questions_are_not_answered_believes_nobody(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A majority has to speak; until it does nothing expires, and writes go on."""
    town.clock.jump_wall(24 * HOUR_MS)
    leader = town.leader
    for member in town.followers:
        assert member.node.peering is not None
        monkeypatch.setitem(member.node.peering._hear_of, Kind.CLOCK_ASKED, lambda *_: None)
    leader.node.sole.replica.clock.begin(leader.node.clock.now())
    town.run(200)
    assert leader.node.sole.replica.clock.frozen
    town.put(leader, b"w")
    assert leader.node.sole.replica.clock.frozen
    monkeypatch.undo()
    town.run(60)
    assert not leader.node.sole.replica.clock.frozen


@pytest.mark.parametrize(("late_ms", "is_other"), [(ANSWER_MS_MAX + 1, False), (0, True)])
def test_answer_that_is_old_or_to_another_question_does_not_count(town: Town, late_ms: int, is_other: bool) -> None:
    """It may be of a clock that was set since."""
    town.clock.jump_wall(24 * HOUR_MS)
    leader = town.leader
    assert leader.node.duties is not None
    clocks, clock = leader.node.duties.clocks, leader.node.sole.replica.clock
    now = leader.node.clock.now()
    clock.begin(now)
    clocks.after_turn(Now(now.wall_ms, now.monotonic_ms + ASK_INTERVAL_MS))
    later = Now(now.wall_ms, now.monotonic_ms + ASK_INTERVAL_MS + late_ms)
    question = clocks._question ^ is_other
    for member in town.followers:
        clocks.hear(member.node_id, Kind.CLOCK_TOLD, 0, pack_numbers(question, later.wall_ms), later)
    assert clock.frozen
    right = Now(now.wall_ms, now.monotonic_ms + ASK_INTERVAL_MS)
    for member in town.followers:
        clocks.hear(member.node_id, Kind.CLOCK_TOLD, 0, pack_numbers(clocks._question, right.wall_ms), right)
    assert not clock.frozen


def test_majority_that_is_behind_the_log_leaves_it_standing(town: Town) -> None:
    """Log time has passed what they show; it does not run on by a clock that is wrong."""
    leader = town.leader
    clock = leader.node.sole.replica.clock
    for member in town.followers:
        town.clocks[member.node_id].ahead_ms = -HOUR_MS
    town.clocks[leader.node_id].ahead_ms = 24 * HOUR_MS
    clock.begin(leader.node.clock.now())
    before = clock.last
    town.run(60)
    assert clock.frozen
    assert log_time(leader) == before


def test_nobody_asks_while_nothing_is_in_doubt(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle nodes stay idle."""
    asked: list[int] = []
    for member in town.members:
        assert member.node.peering is not None
        monkeypatch.setitem(member.node.peering._hear_of, Kind.CLOCK_ASKED, lambda node, *_: asked.append(node))
    town.run(300)
    assert asked == []


def test_garbage_in_a_question_is_counted_and_passed_over(town: Town) -> None:
    """As all that cannot be read."""
    member = town.members[0]
    assert member.node.peering is not None
    before = member.node.peering.unreadable
    sender = town.members[1].node.peering
    assert sender is not None
    sender.tell(member.node_id, Kind.CLOCK_ASKED, 0, b"short")
    sender.tell(member.node_id, Kind.CLOCK_TOLD, 0, pack_number(1))
    town.run(3)
    assert member.node.peering.unreadable > before
