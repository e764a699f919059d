"""The operator of a simulated cluster: adds, removes and replaces nodes, has others lead, and brings lost ones back.

It asks any node, as people do with dkvctl, waits, and asks again where the node it had asked has ended; or it does not,
and leaves the change as far as it came. What it must not do is what no operator may: harm a majority. A machine is
harmed whose disk is damaged or was lost; until it is removed its vote is lost, too.
"""

from collections.abc import Sequence
from enum import Enum
from random import Random
from typing import NamedTuple

from dkv.cluster.formation import Way
from dkv.model.errors import Code
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.members import Members
from dkv.testing.cluster.newcomer import Wish
from dkv.testing.edge import Reply
from dkv.testing.protocol import field

ATTEMPTS_MAX = 6
STRAY_MS = 6_000
"""What was asked for may be on its way for so long."""
MEMBERS_MIN = 2
GIVES_UP = 0.3
"""How often it does not ask again when the node it had asked has ended."""


class Kind(Enum):
    """What is wanted, and the call for it."""

    ADD = "/dkv.serverpb.DKVCluster/AddNode"
    REMOVE = "/dkv.serverpb.DKVCluster/RemoveNode"
    REPLACE = "/dkv.v1.Cluster/ReplaceNode"
    LEAD = "/dkv.v1.Cluster/TransferLeadership"


class Aim(NamedTuple):
    """A wish of the operator."""

    kind: Kind
    member: Member
    newcomer: Member | None = None
    node: int = 0
    """Of the member, when that was wished."""

    @property
    def message(self) -> bytes:
        return field(1, self.member.url.encode()) + field(2, self.newcomer.url.encode() if self.newcomer else b"")

    def __str__(self) -> str:
        newcomer = f" by {self.newcomer.number}" if self.newcomer else ""
        return f"{self.kind.name} {self.member.number}{newcomer}"


class Operator:
    """Owned by the world; one wish at a time."""

    def __init__(self, rng: Random, machines: Sequence[Member], members: Members) -> None:
        self._rng, self._machines, self._members = rng, machines, members
        self.aim: Aim | None = None
        self.at: int = 0
        """The machine that it has asked."""
        self.call_id: int | None = None
        self.asked: int = 0
        self.reached: int = 0
        self._attempts = 0
        self._quiet_from_ms = 0
        """Nothing that it has dropped can come to be any more."""
        self._others: set[tuple[int, int]] = set()
        """Machines and calls of those who want something besides it: nobody waits for their answers."""

    # What is asked for

    def act(self, now_ms: int) -> str:
        """Begin or repeat. Only while no call is open."""
        if self.aim is not None and self._is_reached(self.aim):
            self._over(now_ms, has_reached=True)
        if self.aim is None:
            self.aim = self._choose()
            self._attempts = 0
        asked = [each for each in self._machines if each.life is not None]
        if self.aim is None or not asked:
            return ""
        return self.ask(self._rng.choice(asked))

    def ask(self, member: Member) -> str:
        """Sends what it wants to this node."""
        assert self.aim is not None
        assert member.life is not None
        self._attempts += 1
        self.asked += 1
        self.at, self.call_id = member.number, member.life.call(self.aim.kind.value, self.aim.message)
        return f"asks {member.number}: {self.aim}"

    def want(self, kind: Kind, member: Member, node: int) -> None:
        """At the end of a run: this and nothing else."""
        self.aim, self._attempts = Aim(kind, member, node=node), 0

    def replied(self, reply: Reply, now_ms: int) -> str:
        """It is over, or was refused, or the node that was asked did not know better."""
        self.call_id = None
        if reply.code not in (Code.OK, Code.UNAVAILABLE, Code.ABORTED, Code.INVALID_ARGUMENT):
            raise AssertionError(f"code {reply.code} ({reply.reason}) ended {self.aim}")
        if self.aim is not None:
            has_reached = self._is_reached(self.aim)
            if has_reached or self._attempts >= ATTEMPTS_MAX or reply.code == Code.INVALID_ARGUMENT:
                self._over(now_ms, has_reached=has_reached)
        return f"{reply.code} {reply.reason}"

    def lost(self, now_ms: int) -> None:
        """The node that was asked has ended."""
        self.call_id = None
        if self.aim is not None and self._rng.random() < GIVES_UP:
            self._over(now_ms, has_reached=self._is_reached(self.aim))

    def forget(self) -> None:
        """It wants nothing any more."""
        self.aim = self.call_id = None

    # Two at once

    def pair_to_remove(self, leader: Member, now_ms: int) -> list[Member]:
        """Two nodes that may go both, and whose removals at once would leave two majorities without a common member;
        empty: there are none."""
        if self.is_busy or now_ms < self._quiet_from_ms or not self._members.is_even():
            return []
        voters = self._members.voters(self._members.vbuckets[0])
        pair = [each for each in self._machines if each.node_id in voters and each is not leader]
        if leader.node_id not in voters or len(voters) % 2 == 0 or self._members.has_pending(self._machines):
            return []
        return self._rng.sample(pair, 2) if len(pair) >= 2 and all(map(self.is_healthy, voters)) else []

    def ask_besides(self, member: Member, aims: Sequence[Aim]) -> None:
        """Others ask the same node for something each, in one turn."""
        assert member.life is not None
        for aim in aims:
            self.asked += 1
            self._others.add((member.number, member.life.call(aim.kind.value, aim.message)))

    def ended(self, member: Member, call_id: int | None = None) -> None:
        """The answer to one of them has come, or none will."""
        self._others = {other for other in self._others if other[0] != member.number or call_id not in (None, other[1])}

    @property
    def has_open_calls(self) -> bool:
        """Of its own, or of others."""
        return self.call_id is not None or bool(self._others)

    @property
    def is_busy(self) -> bool:
        """Something is under way that changes the members."""
        return bool(self._others) or (self.aim is not None and self.aim.kind is not Kind.LEAD)

    def _over(self, now_ms: int, *, has_reached: bool) -> None:
        self.reached += has_reached
        self._quiet_from_ms = now_ms + STRAY_MS
        self.aim = None

    def _is_reached(self, aim: Aim) -> bool:
        everywhere = set.intersection(*map(self._members.nodes_of, self._members.vbuckets))
        match aim.kind:
            case Kind.ADD:
                return aim.member.node_id in everywhere
            case Kind.REMOVE:
                return aim.node not in self._members.anywhere()
            case Kind.REPLACE:
                assert aim.newcomer is not None
                return aim.newcomer.node_id in everywhere and aim.node not in self._members.anywhere()
            case Kind.LEAD:
                return aim.member.leads

    # What may be done

    def machine_of(self, node: int) -> Member | None:
        """None: the machine has lost the disk with that node."""
        return next((each for each in self._machines if each.node_id == node), None)

    def is_healthy(self, node: int) -> bool:
        machine = self.machine_of(node)
        return machine is not None and not machine.is_out and not machine.is_damaged

    def may_harm(self, member: Member, now_ms: int) -> bool:
        """Whether the others are a majority without it, whatever becomes of what is under way."""
        if (
            self.is_busy
            or now_ms < self._quiet_from_ms
            or not (self._members.is_formed and self.is_healthy(member.node_id))
        ):
            return False
        if any(each.newcomer is not None for each in self._machines) or self._members.has_pending(self._machines):
            return False
        return self._has_majority(without=member.node_id)

    def _has_majority(self, *, without: int = 0, removed: int = 0) -> bool:
        """Of every vBucket, now and with its learners: those that are healthy, if one were harmed, or removed."""
        for vbucket in self._members.vbuckets:
            for with_learners in (False, True):
                voters = self._members.voters(vbucket, with_learners=with_learners) - {removed}
                healthy = [node for node in voters if node != without and self.is_healthy(node)]
                if 2 * len(healthy) <= len(voters):
                    return False
        return True

    def _choose(self) -> Aim | None:
        if not self._members.is_formed:
            return None
        if (lost := self._lost()) is not None:
            return lost
        waiting = [each for each in self._machines if each.newcomer is not None and each.newcomer.wish.way is Way.WAIT]
        in_use = [each for each in self._machines if each.node_id in self._members.anywhere()]
        if waiting:
            newcomer = self._rng.choice(waiting)
            if self._rng.random() < 0.5 and self._may_remove(old := self._rng.choice(in_use)):
                return Aim(Kind.REPLACE, old, newcomer, old.node_id)
            return Aim(Kind.ADD, newcomer)
        member = self._rng.choice(in_use)
        if self._rng.random() < 0.5 and self._may_remove(member):
            return Aim(Kind.REMOVE, member, node=member.node_id)
        return Aim(Kind.LEAD, member)

    def _lost(self) -> Aim | None:
        """Some node that is a member and will not come back."""
        for node in sorted(self._members.anywhere()):
            if not self.is_healthy(node) and (machine := self.held_by(node)) is not None:
                return Aim(Kind.REMOVE, machine, node=node)
        return None

    def held_by(self, node: int) -> Member | None:
        """The machine that has, or had, this node."""
        return next((each for each in self._machines if node in (each.node_id, *each.former_ids)), None)

    def _may_remove(self, member: Member) -> bool:
        smallest = min(len(self._members.voters(vbucket)) for vbucket in self._members.vbuckets)
        is_settled = not self._others and self._members.is_even() and not self._members.has_pending(self._machines)
        return smallest > MEMBERS_MIN and is_settled and self._has_majority(removed=member.node_id)

    def brought_back(self) -> Member | None:
        """A machine that is in no vBucket, or was never started, is started as an empty one. None: there is none, or
        enough are on their way."""
        if any(each.newcomer is not None for each in self._machines) or not self._members.is_formed:
            return None
        here = self._members.anywhere()
        idle = [
            each
            for each in self._machines
            if each.node_id not in here and not here.intersection(each.former_ids) and each is not self._aimed_at
        ]
        return self._rng.choice(idle) if idle else None

    @property
    def _aimed_at(self) -> Member | None:
        return self.aim.member if self.aim is not None else None

    def wish(self, member: Member, vbuckets: int) -> Wish | None:
        """How it is started: told of some of the others."""
        here = self._members.anywhere()
        others = [each.number for each in self._machines if each is not member and each.node_id in here]
        if not others:
            return None
        if self._rng.random() < 0.5:
            return Wish(Way.JOIN, (self._rng.choice(others),), vbuckets)
        return Wish(Way.WAIT, tuple(others), vbuckets)
