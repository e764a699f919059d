"""Mishaps: what befalls a cluster now and then, between the steps of its schedule, and needs several things in a row.

They are drawn from a stream of their own, so that a run without any is the run that it was before they were thought of.
"""

from collections.abc import Callable
from random import Random

from dkv.testing.cluster.former_release import turn_back
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.operator import Aim, Kind
from dkv.testing.cluster.telling import ELECTION_ROUND_MS, ELECTION_ROUNDS_MAX, Telling, apart
from dkv.testing.cluster.world import ClusterWorld

SHARE = 0.25
"""Of the runs that have one."""
TIMES_MAX = 4
CALM_ROUNDS_MAX, CALM_ROUND_MS = 80, 100
"""Longer than what an operator has dropped may be under way."""
COMMIT_ROUNDS = 20
REST_ROUNDS_MAX = 10
HOUR_MS = 3_600_000
FAR_MS = (5 * HOUR_MS, 24 * HOUR_MS, 365 * 24 * HOUR_MS)
"""Beyond what is believed of one clock (INVARIANTS 7), whatever it was wrong by before."""


class Mishaps:
    """Those of one run."""

    def __init__(self, world: ClusterWorld, rng: Random, steps: int) -> None:
        self._world, self._rng, self._tell = world, rng, Telling(world, rng)
        kinds = self._change_twice, self._flip_bit, self._set_clock, self._set_clocks, self._upgrade
        self._due: dict[int, list[Callable[[], None]]] = {}
        for kind in kinds:
            if rng.random() < SHARE:
                for _ in range(rng.randint(1, TIMES_MAX)):
                    self._due.setdefault(rng.randrange(steps), []).append(kind)

    def after_step(self, number: int) -> None:
        """Whatever is due behind it."""
        for mishap in self._due.pop(number, ()):
            mishap()

    def _change_twice(self) -> None:
        """Two operators have one node each removed, at the same moment. The leader reaches so many that both removals
        can be committed, and then so few that it needs both to lead on; those who are left do not know of them."""
        world, pair = self._world, list[Member]()
        for _ in range(CALM_ROUNDS_MAX):
            leader = self._tell.leader()
            if leader is not None and (pair := world.operator.pair_to_remove(leader, world.network.now_ms)):
                break
            world.round(CALM_ROUND_MS)
        if leader is None or not pair:
            return
        rest = [each for each in self._tell.others(leader) if each not in pair]
        kept = rest[: len(rest) // 2]
        world.operator.ask_besides(leader, [Aim(Kind.REMOVE, each, node=each.node_id) for each in pair])
        cuts = world.network.cuts
        self._isolate([leader, *kept, pair[0]])
        self._tell.take(leader)
        self._tell.rounds(COMMIT_ROUNDS, 2)
        world.network.cut(cuts)
        self._isolate([leader, *kept])
        for _ in range(ELECTION_ROUNDS_MAX):
            world.round(ELECTION_ROUND_MS)
            for each in world.members:
                if each.leads:
                    self._tell.write(each)
                    self._tell.take(each)
        world.network.cut(cuts)

    def _flip_bit(self) -> None:
        """A bit flips on a disk, most often at rest; the next process finds it. What is written last is in danger most:
        it must not pass for what a loss of power has torn."""
        world, member = self._world, self._rng.choice(self._world.members)
        self._tell.rounds(self._rng.randint(0, REST_ROUNDS_MAX), 20)
        if not world.flip_bit(member) or self._rng.random() < 0.2:
            return
        if member.is_running:
            world.end_life(member, "a bit has flipped", self._rng.choice([member.crash_process, member.power_loss]))
        world.start(member)

    def _set_clock(self) -> None:
        """Somebody sets one machine's clock by hours or days, or sets it right again. Where that one leads, or comes to
        lead, nothing may expire by it."""
        world, checks = self._world, self._world.clock_checks
        if checks.astray is not None:
            right = [member for member in world.members if member is not checks.astray]
            off_ms = checks.astray.clock.now().wall_ms - self._rng.choice(right).clock.now().wall_ms
            world.jump(checks.astray, -off_ms)
            checks.go_astray(None)
            return
        member = self._tell.leader() or self._rng.choice(world.members)
        checks.go_astray(member)
        world.jump(member, self._rng.choice([-1, 1, 1]) * self._rng.choice(FAR_MS))
        self._tell.rounds(self._rng.randint(0, REST_ROUNDS_MAX), 50)
        if (leader := self._tell.leader()) is not None:
            world.transfer(leader, member if leader is not member else self._rng.choice(world.members))

    def _set_clocks(self) -> None:
        """All clocks are set ahead alike, as by a time server that is wrong, or was: a majority agrees, so it is so."""
        far_ms = self._rng.choice(FAR_MS)
        for member in self._world.members:
            self._world.jump(member, far_ms)

    def _upgrade(self) -> None:
        """Nodes have run the release before until now. One after the other, or some of them, begin with this one."""
        world = self._world
        for member in self._rng.sample(world.members, self._rng.randint(1, len(world.members))):
            if member.is_running:
                world.end_life(
                    member, "the release before ends", self._rng.choice([member.crash_process, member.power_loss])
                )
            world.trace.add(f"node {member.number} has {turn_back(member.store)} rows of the release before")
            world.start(member)
            self._tell.rounds(self._rng.randint(0, REST_ROUNDS_MAX), 50)

    def _isolate(self, some: list[Member]) -> None:
        """They do not reach anybody else."""
        network = self._world.network
        others = [each for each in self._world.members if each not in some]
        network.cut(network.cuts.union(*(apart(each, others) for each in some)))
