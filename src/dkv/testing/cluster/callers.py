"""Who calls the nodes of a simulated cluster: clients, followers of the feed, and who takes backups and restores them.

Each of them waits at one node for one answer, and goes to another node when it was refused, or not answered.
"""

from collections.abc import Iterator, Sequence
from random import Random

from dkv.model.errors import Code
from dkv.testing.clients import Client
from dkv.testing.cluster.member import Member
from dkv.testing.cluster_restores import ClusterOperator
from dkv.testing.database_follower import NOT_APPLIED_YET, DatabaseFollower
from dkv.testing.edge import Reply
from dkv.testing.follower import Follower
from dkv.testing.history import Call, History, Level
from dkv.testing.machine import Life
from dkv.testing.random import stream
from dkv.testing.trace import Trace
from dkv.testing.world import LEAVES

CLIENTS = 5
BY_ALL = 0.2
"""How many writes wait for the disks of all voters."""
FAITHFUL = 0.8
"""How often a client asks the node again that it asked before."""


class Callers:
    """Owned by the world."""

    def __init__(self, seed: int, members: list[Member], history: History, trace: Trace, vbuckets: range) -> None:
        self._members, self._history, self._trace = members, history, trace
        self.clients: list[Client] = [self._client(seed, number, len(vbuckets)) for number in range(CLIENTS)]
        self.prober: Client = Client(
            CLIENTS,
            stream(seed, "prober"),
            history,
            has_session=False,
            levels=(Level.LINEARIZABLE,),
            vbuckets=len(vbuckets),
        )
        """Asks alone, at the end; it has no session that a crash could have lost."""
        self.everyone: list[Client] = [*self.clients, self.prober]
        self.followers: list[Follower] = [
            Follower(number, stream(seed, f"follower {number}"), prefix, NOT_APPLIED_YET)
            for number, prefix in enumerate((b"", b"g"))
        ]
        self.of_all: DatabaseFollower | None = None
        """Of all vBuckets, where there are several."""
        if len(vbuckets) > 1:
            self.of_all = DatabaseFollower(len(self.followers), stream(seed, "follower of all"), vbuckets)
        self.all_followers: list[Follower | DatabaseFollower] = [*self.followers]
        self.all_followers += [] if self.of_all is None else [self.of_all]
        self.restorer: ClusterOperator = ClusterOperator(
            CLIENTS + 1, stream(seed, "restorer"), history, members, vbuckets
        )

    def _client(self, seed: int, number: int, vbuckets: int) -> Client:
        rng = stream(seed, f"client {number}")
        return Client(
            number, rng, self._history, number % 2 == 0, levels=tuple(Level), vbuckets=vbuckets, by_all=BY_ALL
        )

    # Answers

    def took(self, member: Member, life: Life, reply: Reply) -> Iterator[Call]:
        """Whoever has waited for this answer of this node has it. The calls of clients that it ends."""
        for client in self.everyone:
            if client.call_id == reply.call_id and client.at == member.number:
                yield self._answered(client, member, reply)
        if self.restorer.call_id == reply.call_id and self.restorer.at == member.number:
            self._trace.add(f"reply to the restorer: {self.restorer.replied(reply)}")
        for follower in self.all_followers:
            if follower.call_id == reply.call_id and follower.at == member.number:
                line = follower.replied(reply, life.history_ids)
                self._trace.add(f"end of follower {follower.number}: {line}")

    def _answered(self, client: Client, member: Member, reply: Reply) -> Call:
        call = client.call
        assert call is not None
        call.node = member.node_id
        self._trace.add(f"reply to {client.number}: {client.replied(reply)}")
        if reply.code != Code.OK:
            client.at = 0
        return call

    def lost_at(self, member: Member) -> None:
        """Its process is gone: who waits there is not answered any more."""
        waiting: list[Client | Follower | DatabaseFollower | ClusterOperator] = [
            *self.everyone,
            *self.all_followers,
            self.restorer,
        ]
        for each in waiting:
            if each.call_id is not None and each.at == member.number:
                each.lost()

    # What they ask

    def act(self, client: Client, members: Sequence[Member] = ()) -> None:
        """`client`, which waits for nothing, sends an attempt to the node it knows, or to one of `members`."""
        member = self._choose(client, client.rng, members)
        if member.life is not None:
            line = client.act(member.life.call, member.clock.now().wall_ms)
            self._trace.add(f"client {client.number} to {member.number}: {line}")

    def _choose(self, who: Client | Follower | DatabaseFollower, rng: Random, members: Sequence[Member]) -> Member:
        known = next((each for each in self._members if each.number == who.at and each.life is not None), None)
        if known is None or members or rng.random() > FAITHFUL:
            known = rng.choice(members or [each for each in self._members if each.wish is not None])
            who.at = known.number
        return known

    def back_up_or_restore(self, member: Member) -> None:
        """Who does that, if he waits for nothing, asks this node for a backup or a restore."""
        if self.restorer.call_id is None and member.life is not None:
            line = self.restorer.ask(member, member.life.call)
            self._trace.add(f"node {member.number}: the restorer asks: {line}")

    def follow(self, follower: Follower | DatabaseFollower, *, leaves: float = LEAVES) -> None:
        """`follower` opens its stream, or takes what has come, or leaves without a word."""
        if follower.call_id is None:
            life = self._choose(follower, follower.rng, ()).life
            if life is None:
                return
            line = follower.act(life.call)
        else:
            life = self._life_at(follower)
            if follower.rng.random() < leaves:
                life.edge.leave(follower.call_id)
                follower.lost()
                line = "leaves"
            else:
                line = follower.took(life.edge.take_items(follower.call_id))
        self._trace.add(f"follower {follower.number} at {follower.at}: {line}")

    def stop_following(self) -> None:
        """Every follower leaves."""
        for follower in self.all_followers:
            if follower.call_id is not None:
                self._life_at(follower).edge.leave(follower.call_id)
                follower.lost()

    def time_out(self, client: Client) -> None:
        """`client` stops waiting; its attempt may still arrive."""
        if client.call_id is not None:
            self._life_at(client).edge.leave(client.call_id)
            client.lost()
            self._trace.add(f"client {client.number} times out")
            client.at = 0

    def lose_request(self, client: Client) -> None:
        """The attempt of `client` never arrives, unless it has."""
        if client.call_id is not None and self._life_at(client).edge.drop(client.call_id):
            client.lost()
            self._trace.add(f"request of client {client.number} is lost")

    def _life_at(self, who: Client | Follower | DatabaseFollower) -> Life:
        """The process that `who` waits for."""
        life = self._members[who.at - 1].life
        assert life is not None
        return life
