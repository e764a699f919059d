"""Changes of members under way: goals that calls have set, driven a step at a time until they are reached.

Plans remember nothing (`dkv.cluster.plans`), so a node that ends in the middle loses nothing but the call: who asks
again, on any node, goes on where it stopped. Learners need nobody to ask: the leader of a group gives each its vote as
soon as it has caught up. Nor does a node that is reached elsewhere than its directories say: it has them say so.
"""

from collections import deque
from dataclasses import dataclass, field

from dkv.cluster.group import Group
from dkv.cluster.plans import Added, Goal, Pause, Replaced, Step, Transfer, next_step
from dkv.model.errors import Busy, InvalidRequest, Unavailable
from dkv.services.calls import fail
from dkv.services.cluster_port import ClusterPort
from dkv.services.turn import Turn

TIMEOUT_MS = 60_000
"""Of a whole change; callers have deadlines of their own."""
AGAIN_MS = 500
"""A step that did not come to be is asked for again: longer than a commit, shorter than an election."""
LOOK_MS = 100
"""Between two looks at learners, and at where this node is said to be."""
GROUPS_AT_ONCE = 32


@dataclass(slots=True)
class Running:
    """What one call has asked for."""

    call_id: int
    reply: bytes
    waiting: deque[tuple[int, Goal]]
    """By vBucket, as all below."""
    deadline_ms: int
    active: dict[int, Goal] = field(default_factory=dict)
    why: str = "no leader has answered"
    """What it waited for last."""


class Changes:
    """Owns the goals. The node's thread calls it."""

    def __init__(self) -> None:
        self.now_ms: int = 0
        """Monotonic, of this turn's or the last one's beat."""
        self._running: list[Running] = []
        self._asked: dict[int, tuple[Step, int]] = {}
        """The last step that was asked for, and when, by vBucket."""
        self._look_ms = 0

    def start(self, port: ClusterPort, call_id: int, goal: Goal, reply: bytes, vbucket: int = 0) -> None:
        """The goal for every vBucket here, or for one; the call gets `reply` once it is reached. A member that is to be
        added gets replicas of its own."""
        goals = [(number, _drawn(goal, port)) for number in port.vbuckets() if vbucket in (0, number)]
        self._running.append(Running(call_id, reply, deque(goals), self.now_ms + TIMEOUT_MS))

    def beat(self, port: ClusterPort, turn: Turn, monotonic_ms: int) -> None:
        """Once a turn."""
        self.now_ms = monotonic_ms
        if self._running:
            self._running = [each for each in self._running if not self._is_over(each, port, turn)]
        if monotonic_ms >= self._look_ms:
            self._look_ms = monotonic_ms + LOOK_MS
            for vbucket in port.unsettled():
                self._give_vote(port, vbucket)
            for vbucket, goal in port.moved():
                if (step := next_step(goal, port.group(vbucket))) is not None:
                    self._ask(port, vbucket, step)

    def _is_over(self, running: Running, port: ClusterPort, turn: Turn) -> bool:
        """Goes on with it, and ends the call if there is nothing more to do."""
        try:
            self._go_on(running, port)
        except (InvalidRequest, Busy) as impossible:
            fail(turn, running.call_id, impossible)
            return True
        if running.active or running.waiting:
            if self.now_ms < running.deadline_ms:
                return False
            fail(turn, running.call_id, Unavailable(f"not done in time, ask again: {running.why}"))
        else:
            turn.reply_ids.append(running.call_id)
            turn.replies.append(running.reply)
        return True

    def _go_on(self, running: Running, port: ClusterPort) -> None:
        if port.is_restoring():
            raise Busy("a restore is under way: members and leaders stay as they are until it is over")
        while running.waiting and len(running.active) < GROUPS_AT_ONCE:
            vbucket, goal = running.waiting.popleft()
            if self._is_to_do(running, port, vbucket, goal):
                running.active[vbucket] = goal
        running.active = {
            vbucket: goal for vbucket, goal in running.active.items() if self._is_to_do(running, port, vbucket, goal)
        }

    def _is_to_do(self, running: Running, port: ClusterPort, vbucket: int, goal: Goal) -> bool:
        """Asks for the next step, if there is one."""
        group = port.group(vbucket)
        if _is_enough(goal, group) or (step := next_step(goal, group)) is None:
            return False
        if isinstance(step, Pause):
            running.why = step.why
        self._ask(port, vbucket, step)
        return True

    def _give_vote(self, port: ClusterPort, vbucket: int) -> None:
        group = port.group(vbucket)
        for member in group.members:
            if member.replica in group.conf[1] and (step := next_step(Added(member), group)) is not None:
                self._ask(port, vbucket, step)
                return  # one change at a time

    def _ask(self, port: ClusterPort, vbucket: int, step: Step) -> None:
        asked, asked_ms = self._asked.get(vbucket, (None, 0))
        if isinstance(step, Pause) or (asked == step and self.now_ms - asked_ms < AGAIN_MS):
            return
        self._asked[vbucket] = (step, self.now_ms)
        if isinstance(step, Transfer):
            port.transfer(vbucket, step.replica)
        else:
            port.propose_change(vbucket, step)


def _is_enough(goal: Goal, group: Group) -> bool:
    """For a caller: an added node may still have to catch up."""
    return isinstance(goal, Added) and group.at(goal.member.node) is not None


def _drawn(goal: Goal, port: ClusterPort) -> Goal:
    if isinstance(goal, Added | Replaced):
        return goal._replace(member=goal.member._replace(replica=port.new_replica_id()))
    return goal
