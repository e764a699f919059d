"""One simulated cluster: machines, the network between them, clients that talk to any of them, and what they saw.

The steps say how; which of them comes when is the business of `cluster.schedule`, and what must be true at the end of
`cluster.ending`. Time is the network's; each machine has a clock of its own.
"""

from collections.abc import Callable, Sequence
from random import Random

from dkv.model.errors import Code, Corrupt, StorageFailed
from dkv.model.limits import Limits
from dkv.ports.consensus import Conf
from dkv.testing.clients import Client
from dkv.testing.clock import START_WALL_MS
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.raft_checks import RaftChecks
from dkv.testing.cluster_restores import ClusterOperator
from dkv.testing.edge import Reply
from dkv.testing.follower import RESUMED_AFTER, Follower
from dkv.testing.history import History, Level, Status
from dkv.testing.machine import VBUCKET, Life
from dkv.testing.network import Network
from dkv.testing.random import stream
from dkv.testing.trace import Trace
from dkv.testing.world import LEAVES, Broken

CLIENTS = 5
FAITHFUL = 0.8
"""How often a client asks the node again that it asked before."""
SLOW = 0.05
"""How much of its steps a slow disk makes."""
NOT_APPLIED_YET = (*RESUMED_AFTER, Code.FAILED_PRECONDITION)
"""A follower that has changed nodes may be ahead of the new one."""


class ClusterWorld:
    """Owned by one run."""

    def __init__(self, seed: int, count: int) -> None:
        self.rng: Random = stream(seed, "schedule")
        self.trace: Trace = Trace()
        self.history: History = History()
        self.raft_checks: RaftChecks = RaftChecks()
        self.network: Network = Network(stream(seed, "network"))
        limits = Limits(entry_bytes_max=self.rng.choice([150, 1 << 20]))
        self.members: list[Member] = [Member(number, seed, limits, self.network) for number in range(1, count + 1)]
        self.history_id: bytes = stream(seed, "history").randbytes(16)
        self._form()
        self.clients: list[Client] = [
            Client(number, stream(seed, f"client {number}"), self.history, number % 2 == 0, levels=tuple(Level))
            for number in range(CLIENTS)
        ]
        self.prober: Client = Client(CLIENTS, stream(seed, "prober"), self.history, False, levels=(Level.LINEARIZABLE,))
        """Asks alone, at the end; it has no session that a crash could have lost."""
        self.everyone: list[Client] = [*self.clients, self.prober]
        self.followers: list[Follower] = [
            Follower(number, stream(seed, f"follower {number}"), prefix, NOT_APPLIED_YET)
            for number, prefix in enumerate((b"", b"g"))
        ]
        self.operator: ClusterOperator = ClusterOperator(
            CLIENTS + 1, stream(seed, "operator"), self.history, self.members
        )
        self.snapshots: int = 0
        """Installed in lives that are over."""
        self._clocks_were_seen()

    def _form(self) -> None:
        """Every member has the same first rows."""
        conf: Conf = ([member.node_id for member in self.members], [], [], [], False)
        for member in self.members:
            member.form(conf, self.history_id, START_WALL_MS)
            member.others = {each.node_id: str(each.number) for each in self.members if each is not member}

    @property
    def in_use(self) -> list[Member]:
        """The machines that nobody has given up."""
        return [member for member in self.members if not member.is_out]

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self.clients)

    @property
    def lives(self) -> int:
        return sum(member.lives for member in self.members)

    @property
    def unknown(self) -> int:
        return sum(call.is_write and call.status is Status.UNKNOWN for call in self.history.calls)

    # The nodes

    def start(self, member: Member) -> None:
        """A process on this machine, unless there is one; a fault that hits the opening ends it like any other."""
        if member.life is not None or member.is_out:
            return
        try:
            member.start()
            self._add(member, f"life {member.lives} begins")
        except Corrupt as failure:
            self._take_out(member, failure)
        except (StorageFailed, OSError) as failure:
            self.end_life_somehow(member, f"opening failed: {failure}")

    def turn(self, member: Member) -> None:
        """One turn of this node, if it runs; its answers reach the clients."""
        if (life := member.life) is None or member.is_paused:
            return
        life.edge.now_ms = self.network.now_ms
        try:
            life.node.turn(0)
        except Corrupt as failure:
            self._take_out(member, failure)
            return
        except StorageFailed as failure:
            self.end_life_somehow(member, f"the node ends: {failure}")
            return
        self._add(member, f"turn, applied {life.replica.applied_index}, log time {life.replica.log_time}")
        self.operator.diary.note(life.replica, member.store)
        self._deliver(member)
        if member.goes_on_after_failure():
            raise Broken(f"node {member.number} went on after a write or sync of its log had failed")
        self._check_raft(member)

    def step_disk(self, member: Member) -> None:
        """One step of one of the disks of this machine."""
        if not member.is_paused and (not member.has_slow_disk or self.rng.random() < SLOW):
            self._add(member, member.step_disks())

    def round(self, ms: int = 10) -> None:
        """A turn and a step of a disk of every node, in any order, and a moment."""
        for member in self.rng.sample(self.members, len(self.members)):
            self.turn(member)
            self.step_disk(member)
        self.pass_time(ms)

    def end_life_somehow(self, member: Member, why: str) -> None:
        self.end_life(member, why, self.rng.choice([member.crash_process, member.power_loss]))

    def end_life(self, member: Member, why: str, ending: Callable[[], None]) -> None:
        """The process is gone, and with it every call it had. Then an operator repairs what had failed."""
        self._add(member, f"life {member.lives} is over: {why}, {ending.__name__}")
        self.snapshots += member.snapshots
        ending()
        member.be_as_new()
        callers: list[Client | Follower] = [*self.everyone, *self.followers]
        for each in callers:
            if each.call_id is not None and each.at == member.number:
                each.lost()
        if self.operator.call_id is not None and self.operator.at == member.number:
            self.operator.lost()

    def damage(self, member: Member) -> None:
        """A row of this machine is not any more what was written. Only while the others are a quorum without it."""
        harmed = [each for each in self.members if each.is_out or each.store.damaged]
        if member in harmed or 2 * len(harmed) + 2 > len(self.members):
            return
        if (key := member.any_row(self.rng)) is not None:
            member.store.damaged.add(key)
            self._add(member, f"the row of {key.hex()} is damaged")

    def _take_out(self, member: Member, failure: Corrupt) -> None:
        """A node that has found damage ends, and its machine is not used any more."""
        if not member.store.damaged:
            raise Broken(f"node {member.number} found damage where nothing was damaged: {failure}") from failure
        self.give_up(member, f"the node ends: {failure}")

    def give_up(self, member: Member, why: str) -> None:
        """This machine is not used any more."""
        self.end_life(member, why, member.crash_process)
        member.is_out = True

    def pause(self, member: Member, is_paused: bool) -> None:
        """The process is stopped in its tracks, or goes on."""
        if member.life is not None and member.is_paused is not is_paused:
            member.is_paused = is_paused
            self.network.pause(member.node_id, is_paused)
            self._add(member, "is paused" if is_paused else "goes on")

    def transfer(self, leader: Member, to: Member) -> None:
        """An operator asks `leader`, if it leads, to hand over."""
        if leader.life is not None and leader.life.raft.transfer_leader(VBUCKET, to.node_id):
            self._add(leader, f"hands over to {to.number}")

    def _deliver(self, member: Member) -> None:
        life = member.life
        assert life is not None
        for reply in life.edge.take_replies():
            for client in self.everyone:
                if client.call_id == reply.call_id and client.at == member.number:
                    self._reply(client, member, reply)
            if self.operator.call_id == reply.call_id and self.operator.at == member.number:
                self.trace.add(f"reply to the operator: {self.operator.replied(reply)}")
            for follower in self.followers:
                if follower.call_id == reply.call_id and follower.at == member.number:
                    line = follower.replied(reply, life.replica.history_id)
                    self.trace.add(f"end of follower {follower.number}: {line}")
        if life.edge.violations:
            raise Broken("; ".join(life.edge.violations))

    def _reply(self, client: Client, member: Member, reply: Reply) -> None:
        assert client.call is not None
        client.call.node = member.node_id
        self.trace.add(f"reply to {client.number}: {client.replied(reply)}")
        if reply.code != Code.OK:
            client.at = 0

    def _check_raft(self, member: Member) -> None:
        assert member.life is not None
        disks = {each.node_id: each.log_disk for each in self.members}
        complaints = [
            *self.raft_checks.appended(member.node_id, member.appended),
            *self.raft_checks.look(member.node_id, member.life, disks),
        ]
        member.appended.clear()
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _add(self, member: Member, line: str) -> None:
        self.trace.add(f"node {member.number}: {line}")

    # Clients and their part of the network

    def act(self, client: Client, members: Sequence[Member] = ()) -> None:
        """`client`, which waits for nothing, sends an attempt to the node it knows, or to one of `members`."""
        member = self._choose(client, client.rng, members)
        if member.life is not None:
            line = client.act(member.life.call, member.clock.now().wall_ms)
            self.trace.add(f"client {client.number} to {member.number}: {line}")

    def _choose(self, who: Client | Follower, rng: Random, members: Sequence[Member]) -> Member:
        known = next((each for each in self.members if each.number == who.at and each.life is not None), None)
        if known is None or members or rng.random() > FAITHFUL:
            known = rng.choice(members or self.members)
            who.at = known.number
        return known

    def operate(self, member: Member) -> None:
        """The operator, if it waits for nothing, asks this node for a backup or a restore."""
        if self.operator.call_id is None and member.life is not None:
            self._add(member, f"the operator asks: {self.operator.ask(member, member.life.call)}")

    def follow(self, follower: Follower, *, leaves: float = LEAVES) -> None:
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
        self.trace.add(f"follower {follower.number} at {follower.at}: {line}")

    def stop_following(self) -> None:
        """Every follower leaves."""
        for follower in self.followers:
            if follower.call_id is not None:
                self._life_at(follower).edge.leave(follower.call_id)
                follower.lost()

    def time_out(self, client: Client) -> None:
        """`client` stops waiting; its attempt may still arrive."""
        if client.call_id is not None:
            self._life_at(client).edge.leave(client.call_id)
            client.lost()
            self.trace.add(f"client {client.number} times out")
            client.at = 0

    def lose_request(self, client: Client) -> None:
        """The attempt of `client` never arrives, unless it has."""
        if client.call_id is not None and self._life_at(client).edge.drop(client.call_id):
            client.lost()
            self.trace.add(f"request of client {client.number} is lost")

    def _life_at(self, who: Client | Follower) -> Life:
        """The process that `who` waits for."""
        life = self.members[who.at - 1].life
        assert life is not None
        return life

    # Time

    def pass_time(self, ms: int) -> None:
        self.network.now_ms += ms
        self.history.now_ms = self.network.now_ms
        for member in self.members:
            member.clock.advance(ms)
        self._clocks_were_seen()
        self.trace.add(f"{ms} ms pass")

    def jump(self, member: Member, ms: int) -> None:
        member.clock.jump_wall(ms)
        self._clocks_were_seen()
        self._add(member, f"the wall clock jumps by {ms} ms")

    def _clocks_were_seen(self) -> None:
        self.history.saw_wall_time(max(member.clock.wall_ms_max for member in self.members))
