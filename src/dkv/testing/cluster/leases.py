"""Leases and FAST writes in simulated clusters: which runs have them, what is done to leaders there, what must hold.

A third of the seeds have leases. Their length is what the server would give for clocks that are as wrong as those here
are at worst, so that a lease and a vow that differ by a moment are found out. Beside the faults of all runs, these have
some that aim at leases: a leader that stands still for longer than one while the others go on, a leader that hears its
followers but not the next leader, a voter that restarts right after it has vowed, a transfer of which nothing comes.
What must hold is in `lease_checks`.
"""

from collections.abc import Callable
from random import Random

from dkv.node.lease import lease_ms
from dkv.testing.clients import Client
from dkv.testing.clock import DRIFT_PERMILLE_MAX
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.history import Level
from dkv.testing.partitions import Cuts

SHARE = 1 / 3
FAST_SHARE = 0.3
"""Of the Puts and Deletes of clients without a session, in runs with FAST writes."""
LEASE_MS = lease_ms(DRIFT_PERMILLE_MAX // 10)
STALL_MS = (LEASE_MS // 2, LEASE_MS, 2 * LEASE_MS, 700, 1_500)
"""Within a lease, about one, beyond it; around an election and beyond it."""
STALL_ROUND_MS = 40
APART_ROUNDS = (1, 14, 20)
"""Of which most are longer than a vow."""
ROUND_MS = 10
FAULTS = {
    "leader stalls": 0.8,
    "voter restarts": 0.3,
    "leader reads": 8.0,
    "transfer fails": 0.3,
}
"""How often each happens in a run with leases; all turns of all nodes have 40."""


def draw(world: ClusterWorld, rng: Random) -> None:
    """Decides what this run has, before any process begins. `rng` is of its own: all other runs stay what they were."""
    has_leases, has_fast_writes = rng.random() < SHARE, rng.random() < SHARE
    for member in world.members:
        member.lease_ms = LEASE_MS if has_leases else None
        member.has_fast_writes = has_fast_writes
    if has_fast_writes:
        for client in world.callers.clients:
            client.fast_share = FAST_SHARE


def _between(one: Member, others: list[Member]) -> Cuts:
    """Both ways."""
    return frozenset(pair for other in others for pair in ((one.node_id, other.node_id), (other.node_id, one.node_id)))


class LeaseFaults:
    """What happens to the leaders of one run."""

    def __init__(self, world: ClusterWorld, rng: Random) -> None:
        self._world, self._rng = world, rng
        self.weights: dict[str, float] = {}
        if any(member.lease_ms for member in world.members):
            self.weights = {name: weight for name, weight in FAULTS.items() if rng.random() < 0.8}
        elif rng.random() < SHARE:
            self.weights = {"leader stalls": FAULTS["leader stalls"]}

    @property
    def steps(self) -> dict[str, Callable[[], None]]:
        return {
            "leader stalls": self._stall,
            "voter restarts": self._restart,
            "leader reads": self._read,
            "transfer fails": self._transfer,
        }

    def _leader(self) -> Member | None:
        leaders = [member for member in self._world.members if member.leads]
        return self._rng.choice(leaders) if leaders else None

    def _others(self, leader: Member) -> list[Member]:
        return [member for member in self._world.members if member is not leader and member.life is not None]

    def _ask(self, member: Member) -> None:
        """Somebody who waits for nothing asks this node, whatever it does."""
        idle = [client for client in self._world.callers.clients if client.call_id is None]
        if idle:
            self._world.callers.act(self._rng.choice(idle), [member])

    def _read(self) -> None:
        """A leader is asked again and again, as leases are for those."""
        if (leader := self._leader()) is not None:
            idle = [client for client in self._world.callers.clients if client.call_id is None]
            for client in idle[:2]:
                self._read_of(client, leader)

    def _stall(self) -> None:
        """A leader stands still, with calls and answers that it has not seen; the others go on, and are written to. For
        a while after it only those reach it who reached it before."""
        world, leader = self._world, self._leader()
        if leader is None or len(world.members) == 1:
            return
        self._read()
        if self._rng.random() < 0.5:
            for _ in range(3):
                world.turn(leader)  # it has asked its quorum, and does not see the answers
        world.pause(leader, True)
        cuts = world.network.cuts
        until_another, stall_ms = self._rng.random() < 0.5, self._rng.choice(STALL_MS)
        for at in range(max(STALL_MS) // STALL_ROUND_MS):
            newer = [member for member in self._others(leader) if member.leads]
            if newer if until_another else at * STALL_ROUND_MS >= stall_ms:
                break
            world.round(STALL_ROUND_MS)
            newer = [member for member in self._others(leader) if member.leads]
            for member in newer:
                self._ask(member)
                if self._rng.random() < 0.8:
                    world.network.cut(world.network.cuts | {(member.node_id, leader.node_id)})
        self._read_at(leader)
        world.pause(leader, False)
        for _ in range(self._rng.randint(1, 4)):
            world.turn(leader)
            self._read_at(leader)
        world.network.cut(cuts)

    def _read_at(self, member: Member) -> None:
        """Somebody does; who waits too long for another node gives up."""
        client = self._rng.choice(self._world.callers.clients)
        if client.call_id is not None and client.at != member.number:
            self._world.callers.time_out(client)
        if client.call_id is None:
            self._read_of(client, member)

    def _read_of(self, client: Client, member: Member) -> None:
        client.wants = Level.LINEARIZABLE
        self._world.callers.act(client, [member])
        client.wants = None

    def _restart(self) -> None:
        """A leader goes on with one half. Then its voters are gone and back within a lease, and lose touch with it,
        while those that have long heard nothing of it stand for election."""
        world, leader = self._world, self._leader()
        if leader is None or not self._others(leader):
            return
        others = self._others(leader)
        self._rng.shuffle(others)
        voters, apart = others[: len(others) // 2], others[len(others) // 2 :]
        cuts = world.network.cuts
        world.network.cut(cuts | _between(leader, apart))
        for _ in range(self._rng.choice(APART_ROUNDS)):
            world.round(STALL_ROUND_MS)
            self._read_at(leader)
        for _ in range(LEASE_MS // 2 // ROUND_MS):
            world.round(ROUND_MS)
            self._read_at(leader)
        world.network.cut(cuts | _between(leader, others))
        for voter in voters:
            if voter.life is not None:
                world.end_life(voter, "restart", voter.crash_process)
                world.start(voter)
        for each in apart:
            if each.life is not None and not each.is_paused:
                for vbucket in each.life.node.vbuckets:
                    each.life.raft.campaign(vbucket)  # it may stand at any time, if it has not vowed
        for _ in range(LEASE_MS // ROUND_MS):
            world.round(ROUND_MS)
            self._read_at(leader)
        world.network.cut(cuts)

    def _transfer(self) -> None:
        """To one that hears of it late, or never."""
        world, leader = self._world, self._leader()
        if leader is None or not self._others(leader):
            return
        heir = self._rng.choice(self._others(leader))
        world.transfer(leader, heir)
        world.turn(leader)
        self._read_at(leader)
