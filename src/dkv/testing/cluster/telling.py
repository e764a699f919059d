"""What stories are made of: somebody who leads, somebody who does not, calls at the right node at the right moment."""

from collections.abc import Iterable
from random import Random

from dkv.testing.clients import Client
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.world import ClusterWorld
from dkv.testing.history import Level
from dkv.testing.partitions import Cuts, between
from dkv.testing.protocol import Method

ELECTION_ROUNDS_MAX, ELECTION_ROUND_MS = 30, 40
"""Longer than any election."""
WRITES = (Method.PUT, Method.DELETE, Method.CAS)


class Telling:
    """Of one run."""

    def __init__(self, world: ClusterWorld, rng: Random) -> None:
        self.world: ClusterWorld = world
        self.rng: Random = rng

    def leader(self) -> Member | None:
        """Somebody who leads some vBucket, as it sees itself."""
        leaders = [member for member in self.world.members if member.leads]
        return self.rng.choice(leaders) if leaders else None

    def others(self, member: Member | None) -> list[Member]:
        """All that run but this one."""
        return [each for each in self.world.members if each is not member and each.life is not None]

    def any_other(self, member: Member | None) -> Member | None:
        """One of them that is not paused."""
        others = [each for each in self.others(member) if not each.is_paused]
        return self.rng.choice(others) if others else None

    def rounds(self, count: int, ms: int) -> None:
        """So many, of so long."""
        for _ in range(count):
            self.world.round(ms)

    def take(self, member: Member) -> None:
        """Turns, until it has every call that was on its way."""
        for _ in range(10):
            self.world.turn(member)
            if member.life is None or member.is_paused or not member.life.edge.waiting():
                return

    def ask(self, member: Member, method: Method) -> Client | None:
        """Somebody who waits for nothing asks this node for this; None: all wait."""
        if member.life is None or member.is_paused:
            return None
        idle = [client for client in self.world.callers.clients if client.call_id is None]
        if not idle:
            return None
        client = self.rng.choice(idle)
        client.give_up()
        client.asks = method
        self.world.callers.act(client, [member])
        client.asks = None
        return client

    def write(self, member: Member) -> Client | None:
        """As `ask`."""
        return self.ask(member, self.rng.choice(WRITES))

    def read(self, member: Member, level: Level) -> Client | None:
        """As `ask`, who may have to stop waiting for another node."""
        if all(client.call_id is not None for client in self.world.callers.clients):
            self.world.callers.time_out(self.rng.choice(self.world.callers.clients))
        for client in self.world.callers.clients:
            client.wants = level
        client_asked = self.ask(member, Method.GET)
        for client in self.world.callers.clients:
            client.wants = None
        return client_asked


def apart(one: Member, others: Iterable[Member]) -> Cuts:
    """No way between it and any of the others."""
    return between([one.node_id], [each.node_id for each in others])
