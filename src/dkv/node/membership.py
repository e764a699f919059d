"""The members of a node's groups: what is known of them, and how they change. See `dkv.services.cluster_port`.

Other nodes are known to the network while some directory here has them, or some other node says that its own has: who
lags may be led by a node that joined since, whose streams it has to take to learn of it. Only members are believed, or
two nodes that were removed without learning of it would keep each other known. A newcomer, whose directories are those
that the cluster began with, knows those that it was told of when it joined, too.

Where a member is reached it knows best itself: what it says of that is believed at once, before any directory says so,
or nobody could reach it who has to agree to the change.

What a node that does not lead is asked for goes to the leader, one hop, and the leader alone judges whether it may be.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from dkv.cluster.formation import Standing
from dkv.cluster.group import UNHEARD, Group
from dkv.cluster.plans import Change, Moved, refusal
from dkv.model.errors import Corrupt, InvalidRequest
from dkv.model.members import Member, decode_members, encode_members
from dkv.model.node_urls import checked_address
from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now, Random
from dkv.ports.consensus import Conf, Consensus
from dkv.ports.peers import Link
from dkv.wire.peer import Kind, pack_change, pack_number, parse_change, parse_number

AUTOMATIC = 0
"""A joint state when more than one member changes, left by itself."""
_MEMBERS_OF: Callable[[Hosted], Conf] = attrgetter("replica.members")
"""With a thousand vBuckets every look is a loop through all of them, so it is one that no Python is run for."""
LOOK_MS = 100
"""Between two looks for changed directories: a newcomer hears of its group so late at most."""
TELL_INTERVAL_MS = 1_000
HEARSAY_MS = 10_000
"""What another node said of a third counts for so long: who is gone is forgotten by everybody, if late."""


class Membership:
    """Owned by the node; the services of the cluster look at it, too."""

    def __init__(
        self,
        node_id: int,
        hosted: Mapping[int, Hosted],
        consensus: Consensus,
        peering: Peering,
        random: Random,
        snapshots: Callable[[], Mapping[tuple[int, int], int]],
        own: Standing | None = None,
    ) -> None:
        """`hosted`: by vBucket, as it stands at any time. `snapshots`: bytes sent. `own`: where this node is reached,
        and whom it was told of; None: as the directories say."""
        self.node_id: int = node_id
        self._hosted, self._consensus, self._peering = hosted, consensus, peering
        self._random, self._snapshots = random, snapshots
        self._nodes: dict[int, Member] = {}
        self.is_restoring: Callable[[], bool] = bool
        """A restore runs here: members stay as they are (INVARIANTS 22)."""
        self._hearsay: dict[int, tuple[Member, int]] = {}
        """Nodes that members have told of, and when."""
        self._elsewhere: dict[int, tuple[Member, int]] = {}
        """What members have said of themselves, and when."""
        self._own = own
        self._contacts = {member.node: member for member in own.members} if own is not None else {}
        self._moved: list[tuple[int, Moved]] = []
        self._known: dict[int, str] = {}
        """What the network was told: address by node."""
        self._now_ms = self._told_ms = 0
        self._seen: dict[int, Conf] = {}
        self._seen_ids: list[int] = []
        """Their identities, which none that comes later has: an entry that changes no member may have moved one."""
        self._with_learners: list[int] = []
        self._members: dict[int, Sequence[Member]] = {}
        """Of each directory, at the last look."""
        self._left: dict[tuple[int, int], tuple[Member, int]] = {}
        """By vBucket and replica: who has left, and when. They are told so for a while, as they may never see it."""
        self._looked_ms = 0
        self._look()
        self._know()

    @property
    def addresses(self) -> Mapping[int, str]:
        """Of every other node that the network knows, by node."""
        return self._known

    def nodes(self) -> Mapping[int, Member]:
        return self._nodes

    def vbuckets(self) -> Sequence[int]:
        return sorted(self._hosted)

    def group(self, vbucket: int) -> Group:
        hosted = self._hosted[vbucket]
        replica = hosted.replica
        lags: dict[int, int] = {}
        if hosted.is_leader:
            status: dict[str, Any] = self._consensus.status(vbucket)
            last = status["last_index"]
            lags = {each: last - matched if matched else UNHEARD for each, (matched, *_) in status["peers"].items()}
        members = replica.directory.members()
        if hosted.is_removed:
            members = [member for member in members if member.replica != replica.replica]
        return Group(vbucket, replica.members, members, hosted.leader, hosted.term, lags)

    def unsettled(self) -> Sequence[int]:
        return [vbucket for vbucket in self._with_learners if self._hosted[vbucket].is_leading]

    def moved(self) -> Sequence[tuple[int, Moved]]:
        return self._moved

    def links(self) -> Mapping[int, Link]:
        return self._peering.peers.links()

    def snapshots(self) -> Mapping[tuple[int, int], int]:
        return self._snapshots()

    def new_replica_id(self) -> int:
        return int.from_bytes(self._random.bytes(8), "big") >> 1 or 1

    def propose_change(self, vbucket: int, change: Change) -> None:
        hosted = self._hosted[vbucket]
        if not hosted.is_leader:
            body = pack_change(change.changes, change.context)
            self._peering.tell(hosted.leader_node, Kind.CHANGE, vbucket, body)
        elif hosted.is_leading and not self.is_restoring() and not refusal(change, self.group(vbucket)):
            self._consensus.propose_conf_change(vbucket, change.changes, AUTOMATIC, change.context)

    def to_hand_over(self) -> dict[int, int]:
        """By vBucket that is led here: the replica that should lead instead. None that nobody else can lead."""
        found: dict[int, int] = {}
        for vbucket, hosted in self._hosted.items():
            if hosted.is_leader and not hosted.is_alone:
                own, group = hosted.replica.replica, self.group(vbucket)
                in_touch = [each for each in group.conf[0] if hosted.node_of(each) in self._peering.linked_nodes]
                if (heir := group.heir(besides=own, among=in_touch)) is not None:
                    found[vbucket] = heir
        return found

    def transfer(self, vbucket: int, replica: int) -> None:
        hosted = self._hosted[vbucket]
        if hosted.is_leader and self.is_restoring():
            return  # whoever wants it asks again
        if hosted.is_leader:
            self._consensus.transfer_leader(vbucket, replica)
        else:
            self._peering.tell(hosted.leader_node, Kind.TRANSFER, vbucket, pack_number(replica))

    def hear(self, node: int, kind: int, vbucket: int, body: bytes) -> None:
        """News of members; or what another node wants of the leader, who asks again if this is another one. Raises
        InvalidRequest."""
        if kind == Kind.NODES:
            self._hear_of(node, _members(body))
            return
        hosted = self._hosted.get(vbucket)
        if hosted is None:
            return
        if kind == Kind.REMOVED:
            hosted.is_told_removed |= parse_number(body) == hosted.replica.replica
        elif not hosted.is_leader:
            return
        elif kind == Kind.TRANSFER:
            self.transfer(vbucket, parse_number(body))
        else:
            changes, context = parse_change(body)
            self.propose_change(vbucket, Change(tuple(changes), tuple(_members(context) if context else ())))

    def after_turn(self, now: Now) -> None:
        """Looks now and then whether some group's members are others, and tells the other nodes who there is."""
        self._now_ms = now.monotonic_ms
        if self._now_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = self._now_ms
            if list(map(id, map(_MEMBERS_OF, self._hosted.values()))) != self._seen_ids:
                self._look()
            self._know()
        if self._now_ms - self._told_ms >= TELL_INTERVAL_MS:
            self._told_ms = self._now_ms
            body = encode_members(self._to_tell())
            for node in self._known:
                self._peering.tell(node, Kind.NODES, 0, body)
            self._left = {place: left for place, left in self._left.items() if self._now_ms - left[1] < HEARSAY_MS}
            for place, (member, _) in self._left.items():
                self._tell_removed(place[0], member)

    def _to_tell(self) -> list[Member]:
        """This node, where it is reached now, and, unless it is new, the others."""
        others = [member for node, member in self._nodes.items() if node != self.node_id]
        own, here = self._own, self._nodes.get(self.node_id)
        if own is not None:
            return [*(others if here is not None else ()), Member(0, own.node, own.address, own.url)]
        return [*others, here] if here is not None else []

    def _hear_of(self, teller: int, members: Sequence[Member]) -> None:
        if teller in self._nodes or teller in self._contacts:
            told = {member.node: (member, self._now_ms) for member in members}
            if (itself := told.pop(teller, None)) is not None:
                self._elsewhere[teller] = itself
            self._hearsay |= told

    def _tell_removed(self, vbucket: int, member: Member) -> None:
        self._peering.tell(member.node, Kind.REMOVED, vbucket, pack_number(member.replica))

    def _note_who_left(self) -> None:
        """Replicas never come back under their ids, so whoever was in a directory and is not any more is gone."""
        for vbucket, hosted in self._hosted.items():
            if self._seen.get(vbucket) is hosted.replica.members:
                continue
            before, now = self._members.get(vbucket, []), hosted.replica.directory.members()
            self._members[vbucket] = now
            kept = {member.replica for member in now}
            for member in before:
                if member.replica not in kept and member.node != self.node_id:
                    self._left[vbucket, member.replica] = (member, self._now_ms)
                    self._tell_removed(vbucket, member)

    def _look(self) -> None:
        self._note_who_left()
        self._seen = dict(zip(self._hosted, map(_MEMBERS_OF, self._hosted.values()), strict=True))
        self._seen_ids = list(map(id, self._seen.values()))
        self._with_learners = [vbucket for vbucket, conf in self._seen.items() if conf[1]]
        directories = [hosted.replica.directory.members() for hosted in self._hosted.values()]
        self._nodes = {member.node: member for members in directories for member in members}
        if all(any(member.node == self.node_id for member in members) for members in directories):
            self._contacts = {}  # they know better, from here on
        if (own := self._own) is not None:
            goal = Moved(own.node, own.address, own.url)
            here = zip(self._hosted, directories, strict=True)
            self._moved = [(vbucket, goal) for vbucket, members in here if _differs(members, goal)]

    def _know(self) -> None:
        """Has the network know whom it should, and no others."""
        self._hearsay, self._elsewhere = self._recent(self._hearsay), self._recent(self._elsewhere)
        wanted = {node: member.address for node, (member, _) in self._hearsay.items()}
        wanted |= {member.node: member.address for member, _ in self._left.values()}
        wanted |= {node: member.address for node, member in (self._nodes | self._contacts).items()}
        wanted |= {node: said.address for node, (said, _) in self._elsewhere.items() if node in wanted}
        wanted.pop(self.node_id, None)
        for node, address in wanted.items():
            if self._known.get(node) != address:
                self._peering.peers.know(node, address)
        for node in self._known.keys() - wanted.keys():
            self._peering.peers.forget(node)
        self._known = wanted

    def _recent(self, said: Mapping[int, tuple[Member, int]]) -> dict[int, tuple[Member, int]]:
        return {node: told for node, told in said.items() if self._now_ms - told[1] < HEARSAY_MS}


def _differs(members: Sequence[Member], goal: Moved) -> bool:
    """Whether a directory has a node elsewhere."""
    return any(each.node == goal.node and (each.address, each.url) != goal[1:] for each in members)


def _members(data: bytes) -> list[Member]:
    """Raises InvalidRequest."""
    try:
        members = decode_members(data)
    except Corrupt as damage:
        raise InvalidRequest(str(damage)) from damage
    for member in members:
        checked_address(member.address)
    return members
