"""One simulated cluster: machines, the network between them, clients that talk to any of them, and what they saw.

The steps say how; which of them comes when is the business of `cluster.schedule`, and what must be true at the end of
`cluster.ending`. Time is the network's; each machine has a clock of its own.
"""

from collections.abc import Callable
from random import Random

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Way
from dkv.model import members as model
from dkv.model.errors import ClusterRefused, Corrupt, StorageFailed
from dkv.model.limits import Limits
from dkv.testing.clock import START_WALL_MS
from dkv.testing.cluster.all_checks import AllChecks
from dkv.testing.cluster.callers import Callers
from dkv.testing.cluster.clock_checks import ClockChecks
from dkv.testing.cluster.lease_checks import LeaseChecks
from dkv.testing.cluster.lines import Lines, Request
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.members import Members
from dkv.testing.cluster.newcomer import METHOD_OF, NAME, Wish, address_of
from dkv.testing.cluster.operator import Operator
from dkv.testing.cluster.raft_checks import RaftChecks
from dkv.testing.edge import Reply
from dkv.testing.history import History, Status
from dkv.testing.log_disk import LogDisk
from dkv.testing.network import Network
from dkv.testing.random import stream
from dkv.testing.trace import Trace
from dkv.testing.world import Broken

VBUCKETS = (1, 1, 2, 3, 4)
SPARES = (0, 1, 2)
FORMED = 0.7
"""How many clusters are there when a run begins; the others have to form."""
WAITING = 0.5
"""How often a node only waits where it could take a turn."""
PROMPT = 0.8
"""How often a node that has waited takes its turn as soon as there is a reason to."""
SLOW = 0.05
"""How much of its steps a slow disk makes."""


class ClusterWorld:
    """Owned by one run."""

    def __init__(self, seed: int, count: int) -> None:
        self.rng: Random = stream(seed, "schedule")
        self.trace: Trace = Trace()
        self.history: History = History()
        self.seed: int = seed
        self.network: Network = Network(stream(seed, "network"))
        self.vbuckets: range = range(1, 1 + stream(seed, "vbuckets").choice(VBUCKETS))
        self.raft_checks: dict[int, RaftChecks] = {vbucket: RaftChecks(vbucket) for vbucket in self.vbuckets}
        self.lease_checks: dict[int, LeaseChecks] = {
            vbucket: LeaseChecks(checks) for vbucket, checks in self.raft_checks.items()
        }
        self.clock_checks: ClockChecks = ClockChecks()
        limits = Limits(entry_bytes_max=self.rng.choice([150, 1 << 20]))
        spares = stream(seed, "spares").choice(SPARES)
        self.members: list[Member] = [
            Member(number, seed, limits, self.network) for number in range(1, 1 + count + spares)
        ]
        """Every machine; those behind the first `count` are empty at the beginning and not started."""
        self.lines: Lines = Lines(self.network, self._reaches, lambda number: self.members[number - 1].is_running)
        self.known: Members = Members(self.vbuckets)
        self.operator: Operator = Operator(stream(seed, "operator"), self.members, self.known)
        self._asked: dict[tuple[int, int], Request] = {}
        """What other machines have asked the process on one, by its number and the call there."""
        self._disks: dict[int, dict[int, LogDisk]] = {vbucket: {} for vbucket in self.vbuckets}
        """By vBucket and replica, of every replica that ever was."""
        self.all_checks: AllChecks = AllChecks(self.raft_checks, self._disks, self.members)
        self._begin(seed, count)
        self.callers: Callers = Callers(seed, self.members, self.history, self.trace, self.vbuckets)
        self.snapshots: int = 0
        """Installed in lives that are over."""
        self.refused: int = 0
        """Starts of empty nodes that met a cluster which knew them as something else."""
        self.wiped: int = 0
        self.came_in: int = 0
        """Machines that began anew, and may ask by themselves to be added."""
        self._clocks_were_seen()

    def _begin(self, seed: int, count: int) -> None:
        """The first machines are told of each other. In some runs they have to form the cluster, in others they are
        there."""
        rng, first = stream(seed, "forming"), self.members[:count]
        for member in first:
            others = tuple(each.number for each in first if each is not member)
            member.wish = Wish(Way.FORM, others, len(self.vbuckets))
        if rng.random() < FORMED:
            members = [
                model.Member(each.node_id, each.node_id, address_of(each.number), each.url)
                for each in sorted(first, key=lambda each: address_of(each.number))
            ]
            ids = rng.randbytes(16), rng.randbytes(16)
            charter = Charter(ids[0], NAME, len(self.vbuckets), START_WALL_MS, ids[1], tuple(members))
            for member in first:
                member.found(charter)

    def _reaches(self, sender: int, receiver: int) -> bool:
        return self.network.reaches(self.members[sender - 1].node_id, self.members[receiver - 1].node_id)

    @property
    def in_use(self) -> list[Member]:
        """The machines with a part in the cluster that nobody has given up."""
        here = self.known.anywhere()
        return [member for member in self.members if member.node_id in here and not member.is_out]

    @property
    def terms(self) -> int:
        return sum(checks.terms for checks in self.raft_checks.values())

    @property
    def acknowledged(self) -> int:
        return sum(client.acknowledged for client in self.callers.clients)

    @property
    def lives(self) -> int:
        return sum(member.lives for member in self.members)

    @property
    def unknown(self) -> int:
        return sum(call.is_write and call.status is Status.UNKNOWN for call in self.history.calls)

    # The nodes

    def start(self, member: Member) -> None:
        """A process on this machine, unless there is one; a fault that hits the opening ends it like any other."""
        if member.is_running or member.is_out or member.is_refused or member.wish is None:
            return
        try:
            member.begin(self.lines)
            self._began(member)
        except Corrupt as failure:
            self._take_out(member, failure)
        except (StorageFailed, OSError) as failure:
            self.end_life_somehow(member, f"opening failed: {failure}")

    def _began(self, member: Member) -> None:
        self._add(member, f"life {member.lives} begins")
        if (life := member.life) is not None:
            for hosted in life.node.vbuckets.values():
                self._disks[hosted.vbucket][hosted.replica.replica] = member.log_disk

    def turn(self, member: Member) -> None:
        """One turn of this node, if it runs; its answers reach the clients."""
        if member.newcomer is not None and not member.is_paused:
            self._turn_newcomer(member)
            return
        if (life := member.life) is None or member.is_paused:
            return
        life.edge.now_ms = self.network.now_ms
        for request in self.lines.arrived(member.number):
            if request.path in life.methods:
                call_id = life.call(request.path, request.message)
                self._asked[member.number, call_id] = request
        try:
            life.node.turn(0)
        except Corrupt as failure:
            self._take_out(member, failure)
            return
        except StorageFailed as failure:
            self.end_life_somehow(member, f"the node ends: {failure}")
            return
        self._add(member, f"turn, applied {life.replica.applied_index}, log time {life.replica.log_time}")
        self.callers.restorer.note(member, life.node.vbuckets)
        self._deliver(member)
        if member.goes_on_after_failure():
            raise Broken(f"node {member.number} went on after a write or sync of its log had failed")
        self.known.look(life)
        self._check_raft(member)

    def wait(self, member: Member) -> None:
        """This node waits: its relay does what asks for no decision. Then it takes a turn, if there is a reason to and
        it gets the time at once."""
        if (life := member.life) is None or member.is_paused:
            self.turn(member)
            return
        has_news = life.relay.pass_over(life.edge.open_calls() <= 1)
        self._add(member, f"waits, {'and has news' if has_news else 'and goes on waiting'}")
        self._check_raft(member)
        if has_news and self.rng.random() < PROMPT:
            self.turn(member)

    def _turn_newcomer(self, member: Member) -> None:
        """One round of hellos; at the end of them a node begins."""
        newcomer = member.newcomer
        assert newcomer is not None
        for request in self.lines.arrived(member.number):
            call_id = newcomer.edge.call(METHOD_OF[request.path], request.message)
            self._asked[member.number, call_id] = request
        try:
            has_charter = newcomer.turn()
            for reply in newcomer.edge.take_replies():
                self._answer(member, reply)
            if not has_charter:
                return
            self._hang_up(member)
            member.become_node()
            self._began(member)
        except ClusterRefused as refusal:
            self.end_life(member, f"refused: {refusal}", member.crash_process)
            member.is_refused = True
            self.refused += 1
        except (StorageFailed, OSError) as failure:
            self.end_life_somehow(member, f"the newcomer ends: {failure}")

    def _hang_up(self, member: Member) -> None:
        """Lines from and to this machine break."""
        self.lines.ended(member.number)
        self._asked = {asked: request for asked, request in self._asked.items() if asked[0] != member.number}

    def _answer(self, member: Member, reply: Reply) -> bool:
        """To another machine, if that has asked."""
        request = self._asked.pop((member.number, reply.call_id), None)
        if request is not None:
            self.lines.answered(request, reply.code, reply.message, reply.reason)
        return request is not None

    def step_disk(self, member: Member) -> None:
        """One step of one of the disks of this machine."""
        if not member.is_paused and (not member.has_slow_disk or self.rng.random() < SLOW):
            self._add(member, member.step_disks())

    def round(self, ms: int = 10) -> None:
        """A turn of every node, or a wait, and a step of a disk, in any order, and a moment."""
        for member in self.rng.sample(self.members, len(self.members)):
            if self.rng.random() < WAITING:
                self.wait(member)
            else:
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
        self._hang_up(member)
        self.callers.lost_at(member)
        self.operator.ended(member)
        if self.operator.call_id is not None and self.operator.at == member.number:
            self.operator.lost(self.network.now_ms)

    def flip_bit(self, member: Member) -> bool:
        """A bit of its log is not any more what was written. Only while the others are a majority without it."""
        if not self.operator.may_harm(member, self.network.now_ms) or not member.log_disk.flip_bit(self.rng):
            return False
        self._add(member, f"a bit flips in batch {member.log_disk.flipped_at} of its log")
        return True

    def damage(self, member: Member) -> None:
        """A row of this machine is not any more what was written. Only while the others are a majority without it."""
        if not self.operator.may_harm(member, self.network.now_ms):
            return
        if (key := member.any_row(self.rng)) is not None:
            member.store.damaged.add(key)
            self._add(member, f"the row of {key.hex()} is damaged")

    def lose_disk(self, member: Member) -> None:
        """This machine has an empty disk from now on, and is started as it was before, or to join. Only while the
        others are a majority without it."""
        if member.node_id not in self.known.anywhere() or not self.operator.may_harm(member, self.network.now_ms):
            return
        self.wipe(member, "its disk is lost")
        self.wiped += 1
        if self.rng.random() < 0.3:
            member.wish = self.operator.wish(member, len(self.vbuckets)) or member.wish

    def wipe(self, member: Member, why: str) -> None:
        self.end_life(member, why, member.power_loss)
        member.wipe()

    def operate(self) -> None:
        """The operator, if it waits for nothing, asks for a change of members."""
        if self.operator.call_id is None and (line := self.operator.act(self.network.now_ms)):
            self.trace.add(f"operator: {line}")

    def bring_back(self) -> None:
        """A machine without a part in the cluster begins anew, empty."""
        member = self.operator.brought_back()
        wish = None if member is None else self.operator.wish(member, len(self.vbuckets))
        if member is not None and wish is not None:
            self.wipe(member, "it begins anew")
            self.came_in += 1
            member.wish = wish
            self._add(member, f"is to come in: {wish}")
            self.start(member)

    def _take_out(self, member: Member, failure: Corrupt) -> None:
        """A node that has found damage ends, and its machine is not used any more."""
        if not member.is_damaged:
            raise Broken(f"node {member.number} found damage where nothing was damaged: {failure}") from failure
        self.give_up(member, f"the node ends: {failure}")

    def give_up(self, member: Member, why: str) -> None:
        """This machine is not used any more."""
        self.end_life(member, why, member.crash_process)
        member.is_out = True

    def pause(self, member: Member, is_paused: bool) -> None:
        """The process is stopped in its tracks, or goes on."""
        if member.is_running and member.is_paused is not is_paused:
            member.is_paused = is_paused
            self.network.pause(member.node_id, is_paused)
            self._add(member, "is paused" if is_paused else "goes on")

    def transfer(self, leader: Member, to: Member) -> None:
        """An operator asks `leader`, if it leads, to hand over."""
        if leader.life is None:
            return
        for hosted in leader.life.node.vbuckets.values():
            heir = next((each for each in hosted.replica.directory.members() if each.node == to.node_id), None)
            if heir is not None and leader.life.raft.transfer_leader(hosted.vbucket, heir.replica):
                self._add(leader, f"hands vBucket {hosted.vbucket} over to {to.number}")

    def _deliver(self, member: Member) -> None:
        life = member.life
        assert life is not None
        for reply in life.edge.take_replies():
            if self._answer(member, reply):
                continue
            self.operator.ended(member, reply.call_id)
            if self.operator.call_id == reply.call_id and self.operator.at == member.number:
                self.trace.add(f"reply to the operator: {self.operator.replied(reply, self.network.now_ms)}")
            for call in self.callers.took(member, life, reply):
                # Not where the voters may have changed meanwhile.
                have_changed = self.wiped or self.came_in or self.operator.asked
                if not have_changed and (complaint := self.all_checks.look(call)):
                    raise Broken(complaint)
        if life.edge.violations:
            raise Broken("; ".join(life.edge.violations))

    def _check_raft(self, member: Member) -> None:
        assert member.life is not None
        complaints: list[str] = []
        for vbucket, hosted in member.life.node.vbuckets.items():
            checks, replica = self.raft_checks[vbucket], hosted.replica.replica
            complaints += checks.appended(replica, [each for each in member.appended if each.group == vbucket])
            complaints += checks.look(replica, member.life, self._disks[vbucket])
            complaints += self.lease_checks[vbucket].look(member, hosted)
            complaints += self.clock_checks.look(hosted)
        member.appended.clear()
        if complaints:
            raise Broken("\n".join(complaints[:5]))

    def _add(self, member: Member, line: str) -> None:
        self.trace.add(f"node {member.number}: {line}")

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
        self.history.saw_wall_time(self.clock_checks.saw(self.members))
