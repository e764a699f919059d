"""Membership plans against a model of Raft's members: interrupted after every step, they carry on."""

from collections.abc import Iterator
from itertools import count

import pytest

from dkv.cluster.group import CAUGHT_UP_ENTRIES, Group
from dkv.cluster.plans import (
    LEARNER,
    REMOVED,
    VOTER,
    Added,
    Change,
    Goal,
    Led,
    Moved,
    Pause,
    Removed,
    Replaced,
    Step,
    Transfer,
    next_step,
    refusal,
    steps,
)
from dkv.model.errors import InvalidRequest
from dkv.model.members import Member, decode_members

FAR = CAUGHT_UP_ENTRIES + 1


def member(node: int, replica: int = 0) -> Member:
    """Of node 3: replica 30, unless it is another one."""
    return Member(replica or 10 * node, node, f"n{node}:1", f"http://n{node}:1")


class Model:
    """Raft's members and the directory, as the leader applies them. Joint states end when time passes."""

    def __init__(self, nodes: int) -> None:
        self.voters = {10 * node for node in range(1, nodes + 1)}
        self.learners, self.outgoing = set[int](), set[int]()
        self.members = {10 * node: member(node) for node in range(1, nodes + 1)}
        self.leader = 10
        self.lags = dict[int, int]()

    def group(self) -> Group:
        conf = (sorted(self.voters), sorted(self.learners), sorted(self.outgoing), [], bool(self.outgoing))
        return Group(1, conf, list(self.members.values()), self.leader, 1, dict(self.lags))

    def take(self, step: Step) -> None:
        """What Raft makes of it; a step that is not safe fails the test."""
        if isinstance(step, Transfer):
            assert step.replica in self.voters, "a leader that has no vote"
            self.leader = step.replica
        elif isinstance(step, Change):
            assert refusal(step, self.group()) == ""
            self._change(step)
        else:
            self.pass_time()

    def _change(self, change: Change) -> None:
        before = set(self.voters)
        for kind, replica in change.changes:
            self.voters.discard(replica)
            self.learners.discard(replica)
            if kind == VOTER:
                assert self.lags.get(replica, 0) <= CAUGHT_UP_ENTRIES, "a vote for one that is far behind"
                self.voters.add(replica)
            elif kind == LEARNER:
                self.learners.add(replica)
                self.lags[replica] = FAR
            else:
                assert replica != self.leader, "the leader was removed"
        self.outgoing = before if len(change.changes) > 1 else set()
        self.members |= {each.replica: each for each in change.added}
        self._forget()

    def _forget(self) -> None:
        named = self.voters | self.learners | self.outgoing
        self.members = {replica: each for replica, each in self.members.items() if replica in named}
        assert self.voters, "nobody is left"

    def pass_time(self) -> None:
        """Learners catch up, a joint state is left, somebody leads."""
        self.lags = dict.fromkeys(self.lags, 0)
        self.outgoing = set()
        self._forget()
        self.leader = self.leader if self.leader in self.voters else min(self.voters)

    def nodes(self) -> list[int]:
        return sorted(each.node for each in self.members.values())


GOALS: list[tuple[int, Goal, list[int]]] = [
    (3, Added(member(4)), [1, 2, 3, 4]),
    (1, Added(member(2)), [1, 2]),
    (3, Removed(1), [2, 3]),
    (3, Removed(3), [1, 2]),
    (2, Removed(1), [2]),
    (3, Removed(9), [1, 2, 3]),
    (3, Replaced(2, member(4)), [1, 3, 4]),
    (3, Replaced(1, member(4)), [2, 3, 4]),
    (1, Replaced(1, member(4)), [4]),
    (3, Replaced(9, member(4)), [1, 2, 3, 4]),
    (3, Led(3), [1, 2, 3]),
]


def fresh(goal: Goal, replica: int) -> Goal:
    """The goal as somebody else would set it again: with another replica id for a newcomer."""
    return goal._replace(member=goal.member._replace(replica=replica)) if isinstance(goal, Added | Replaced) else goal


def runs(nodes: int, goal: Goal) -> Iterator[tuple[int, Model]]:
    """After each number of steps: the model as it is when the plan is interrupted there."""
    for length in count():
        model = Model(nodes)
        plan = steps(goal, model.group)
        taken = 0
        for step in plan:
            if taken == length:
                break
            model.take(step)
            taken += 1
        yield length, model
        if taken < length:
            return
        assert length < 20, "the plan does not end"


@pytest.mark.parametrize(("nodes", "goal", "wanted"), GOALS)
def test_plan_interrupted_after_each_step_carries_on(nodes: int, goal: Goal, wanted: list[int]) -> None:
    """Begun again by another, with another leader, it reaches the same end; no node ever has two replicas."""
    for length, model in runs(nodes, goal):
        model.pass_time()
        model.leader = max(model.voters)
        for taken, step in enumerate(steps(fresh(goal, 1_000 + length), model.group)):
            model.take(step)
            assert taken < 20, "the plan does not end"
        assert model.nodes() == wanted
        assert len(model.voters) == len(wanted)
        assert not model.outgoing


@pytest.mark.parametrize(("nodes", "goal", "wanted"), GOALS)
def test_plan_whose_step_is_lost_asks_for_it_again(nodes: int, goal: Goal, wanted: list[int]) -> None:
    """A step is a wish: the same look gives the same step."""
    for _, model in runs(nodes, goal):
        assert next_step(goal, model.group()) == next_step(goal, model.group())


def test_plan_of_an_addition_is_learner_then_voter() -> None:
    """With a wait in between, and the directory's change in the first entry."""
    model = Model(3)
    plan = []
    for step in steps(Added(member(4)), model.group):
        plan.append(step)
        model.take(step)
    assert plan == [
        Change(((LEARNER, 40),), (member(4),)),
        Pause(f"the newcomer is {FAR} entries behind"),
        Change(((VOTER, 40),)),
    ]
    assert decode_members(plan[0].context) == [member(4)]  # type: ignore[union-attr]
    assert plan[2].context == b""  # type: ignore[union-attr]


def test_plan_of_a_removal_hands_over_first() -> None:
    """To the voter that lacks least."""
    model = Model(3)
    model.lags = {20: 5, 30: 2}
    assert next_step(Removed(1), model.group()) == Transfer(30)


def test_plan_of_a_replacement_is_one_joint_change() -> None:
    """At no moment fewer votes than before."""
    model = Model(3)
    taken = []
    for step in steps(Replaced(2, member(4)), model.group):
        taken.append(step)
        model.take(step)
    assert Change(((VOTER, 40), (REMOVED, 20))) in taken


@pytest.mark.parametrize(
    "goal", [Added(member(4)), Removed(2), Replaced(2, member(4)), Led(2), Moved(2, "n:1", "http://n:1")]
)
def test_plan_without_a_leader_or_in_a_joint_state_pauses(goal: Goal) -> None:
    """Nobody to ask, or nothing to ask for."""
    group = Model(3).group()
    assert next_step(goal, group._replace(leader=0)) == Pause("no leader is known")
    joint = ([10, 20, 30], [], [10, 20], [], True)
    assert next_step(goal, group._replace(conf=joint)) == Pause("another change is under way")


def test_last_member_is_not_removed() -> None:
    """A cluster of none would be lost."""
    with pytest.raises(InvalidRequest, match="last member"):
        next_step(Removed(1), Model(1).group())


@pytest.mark.parametrize("node", [4, 9])
def test_learner_and_stranger_are_not_handed_leadership(node: int) -> None:
    """They could not lead."""
    model = Model(3)
    model.take(Change(((LEARNER, 40),), (member(4),)))
    with pytest.raises(InvalidRequest, match="may lead"):
        next_step(Led(node), model.group())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (Change(((LEARNER, 77),), (member(2, 77),)), "n2:1 has a replica already"),
        (Change(((VOTER, 40),)), f"the replica is {FAR} entries behind"),
        (Change(((VOTER, 50),)), "the replica is in no directory"),
        (Change(((REMOVED, 10),)), "the replica leads: it hands over first"),
        (Change(((REMOVED, 20),)), ""),
        (Change(((VOTER, 20),), (member(2)._replace(address="other:1"),)), ""),
    ],
)
def test_leader_refuses_what_is_not_safe_any_more(change: Change, why: str) -> None:
    """It sees what the change will meet; a member may be told of with another address."""
    model = Model(3)
    model.take(Change(((LEARNER, 40),), (member(4),)))
    assert refusal(change, model.group()) == why


def test_leader_refuses_a_change_in_a_joint_state() -> None:
    """Raft takes one at a time."""
    joint = ([10, 20, 30], [], [10, 20], [], True)
    assert refusal(Change(((REMOVED, 20),)), Model(3).group()._replace(conf=joint)) == "another change is under way"


@pytest.mark.parametrize("is_learner", [False, True])
def test_node_that_moved_is_what_it_was_under_its_new_address(*, is_learner: bool) -> None:
    """The entry changes nothing but the directory, and is not asked for twice."""
    model = Model(3)
    if is_learner:
        model.voters.discard(20)
        model.learners.add(20)
    before = model.group()
    for step in steps(Moved(2, "new:1", "http://new:1"), model.group):
        assert isinstance(step, Change)
        model.take(step)
    after = model.group()
    assert after.conf == before.conf
    assert after.at(2) == Member(20, 2, "new:1", "http://new:1")
    assert next_step(Moved(9, "new:1", "http://new:1"), after) is None
