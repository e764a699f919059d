"""Stories: what befalls a cluster in an order that chance alone hardly ever gives it, and that a bug has needed.

The faults of `schedule` come one by one. A story is a few of them in a row, with clients who ask the right node at the
right moment: about a leader that has lost touch and does not know, a node that has slept through a snapshot's worth of
writes. It begins wherever the run is and leaves the rest of the world as it is, so that it meets other faults and other
stories. Each run draws the ones it has. What must hold is what must always hold: a story has no checks of its own.
"""

from collections.abc import Callable
from random import Random

from dkv.model.errors import StorageFailed
from dkv.testing.cluster.telling import ELECTION_ROUND_MS, ELECTION_ROUNDS_MAX, Telling, apart
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.history import Level
from dkv.testing.network import LINK_NOTICE_MS
from dkv.testing.protocol import Method

STORIES = {
    "leader is deposed": 0.2,
    "node comes back": 0.5,
    "node is left behind": 0.4,
    "answer is late": 0.3,
    "range is cut short": 0.3,
}
"""How often each is told in a run that has it; all turns of all nodes have 40."""
SHARE = 0.4
"""Of the runs that have one."""
LATE_ROUNDS, LATE_ROUND_MS = 20, 20
"""Shorter than one, longer than most bounds on staleness."""
BEHIND_ROUNDS, CATCH_UP_ROUNDS, ROUND_MS = 25, 60, 20


class Stories:
    """Those of one run."""

    def __init__(self, world: ClusterWorld, rng: Random) -> None:
        self._world, self._rng, self._tell = world, rng, Telling(world, rng)
        self.weights: dict[str, float] = {name: weight for name, weight in STORIES.items() if rng.random() < SHARE}
        if len(world.vbuckets) == 1:
            self.weights.pop("range is cut short", None)

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        return {
            "leader is deposed": self._depose,
            "node comes back": self._come_back,
            "node is left behind": self._leave_behind,
            "answer is late": self._answer_late,
            "range is cut short": self._cut_range_short,
        }

    # The stories

    def _depose(self) -> None:
        """A leader loses touch with all others, and goes on: it takes writes, and is read from. Another one leads, and
        is written to, in the same places of the log. Then they meet."""
        world, leader = self._world, self._tell.leader()
        others = self._tell.others(leader)
        if leader is None or len(others) < 2:
            return
        cuts = world.network.cuts
        world.network.cut(cuts | apart(leader, others))
        for _ in range(self._rng.randint(0, 3)):
            self._tell.write(leader)
            self._tell.take(leader)
        for _ in range(ELECTION_ROUNDS_MAX):
            world.round(ELECTION_ROUND_MS)
            newer = [member for member in others if member.leads]
            for member in newer:
                self._tell.write(member)
                self._tell.take(member)
            self._tell.read(leader, Level.LINEARIZABLE)
            self._tell.take(leader)
            if newer and self._rng.random() < 0.2:
                break
        world.network.cut(cuts)
        self._tell.rounds(self._rng.randint(1, 20), 10)

    def _come_back(self) -> None:
        """Somebody has read at a node what its engine had not synced. It loses its power, is back at once, and is read
        from before it has heard of anybody."""
        world, member = self._world, self._tell.any_other(None)
        if member is None:
            return
        if (leader := self._tell.leader()) is not None:
            self._tell.write(leader)
            self._tell.rounds(4, 10)
        client = self._tell.read(member, Level.SEQUENTIAL)
        self._tell.take(member)
        if member.life is None or (client is not None and client.call_id is not None):
            return
        world.end_life(member, "a story's power loss", member.power_loss)
        world.start(member)
        for _ in range(self._rng.randint(1, 3)):
            self._tell.read(member, Level.SEQUENTIAL)
            self._tell.take(member)

    def _leave_behind(self) -> None:
        """A node is away while the others write, and may cut their logs. It is sent a snapshot; its disk fails when
        that is to be made durable."""
        world, leader = self._world, self._tell.leader()
        member = self._tell.any_other(leader)
        if leader is None or member is None:
            return
        world.end_life(member, "it is left behind", member.crash_process)
        for _ in range(BEHIND_ROUNDS):
            for each in self._tell.others(member):
                if each.leads:
                    self._tell.write(each)
            world.round(ROUND_MS)
        world.start(member)
        for _ in range(CATCH_UP_ROUNDS):
            if member.life is None:
                world.start(member)
                break
            if member.has_snapshot_under_way:
                member.store.fail_next_wait = StorageFailed("simulated sync of a flip")
            world.round(ROUND_MS)

    def _answer_late(self) -> None:
        """A follower asks what is current; the leader's answer is long under way, and so is what is written meanwhile.
        When it has come, and the rest is not applied yet, the follower is read from on the same terms."""
        world, leader = self._world, self._tell.leader()
        follower = self._tell.any_other(leader)
        if leader is None or follower is None:
            return
        self._tell.read(follower, Level.BOUNDED_STALENESS)
        self._tell.take(follower)
        cuts = world.network.cuts
        world.network.cut(cuts | {(leader.node_id, follower.node_id)})
        self._tell.rounds(4, 2)
        for _ in range(self._rng.randint(5, LATE_ROUNDS)):
            self._tell.write(leader)
            world.round(LATE_ROUND_MS)
        world.network.cut(cuts)
        for _ in range(3):
            self._tell.take(follower)
            self._tell.read(follower, Level.BOUNDED_STALENESS)
        self._tell.take(follower)

    def _cut_range_short(self) -> None:
        """A node knows that it does not reach the leader of one vBucket, and hands a part of a delete-range over to
        that of another one, whose answer never comes. Who has asked believes what it is told, and gives up."""
        world = self._world
        pair = [each for each in world.members if each.leads]
        if len(pair) < 2:
            return
        near, far = self._rng.sample(pair, 2)
        node = self._rng.choice([each for each in self._tell.others(near) if each is not far] or [near])
        if node is near:
            return
        cuts = world.network.cuts
        world.network.cut(cuts | apart(node, [far]))
        self._tell.rounds(2 + LINK_NOTICE_MS // ELECTION_ROUND_MS, ELECTION_ROUND_MS)
        client = self._tell.ask(node, Method.DELETE_RANGE)
        self._tell.take(node)
        for _ in range(2):
            world.pass_time(3)
            self._tell.take(near)
        world.network.cut(cuts | apart(node, [near, far]))
        for _ in range(2 * LINK_NOTICE_MS // ELECTION_ROUND_MS):
            world.round(ELECTION_ROUND_MS)
            if client is not None and client.call_id is None:
                client.give_up()
                break
        world.network.cut(cuts)
