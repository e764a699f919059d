"""The services of a cluster, over a node that is a few values."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from dkv.cluster.charter import Charter
from dkv.cluster.display import display_id
from dkv.cluster.formation import Standing
from dkv.cluster.group import CAUGHT_UP_ENTRIES, Group
from dkv.cluster.lobby import PATIENCE_MS
from dkv.cluster.plans import LEARNER, REMOVED, VOTER, Change, Moved
from dkv.model.errors import BadReply, Code
from dkv.model.limits import Limits
from dkv.model.members import Member
from dkv.ports.peers import Link
from dkv.services.cluster_changes import AGAIN_MS, GROUPS_AT_ONCE, LOOK_MS, TIMEOUT_MS
from dkv.services.registry import Services
from dkv.services.standing import standing_of_response
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

MEMBERS = tuple(Member(10 * n, n, f"n{n}:1", f"http://n{n}:9") for n in (1, 2, 3))
NEW = Member(0, 4, "n4:1", "http://n4:9")
CHARTER = Charter(b"c" * 16, "prod", 1, 0, b"h" * 16, MEMBERS)
OWN = Standing(1, "n1:1", "http://n1:9", "prod", ("n1:1", "n2:1", "n3:1"), 1, CHARTER)


class House:
    """A node that does what it is asked when `settle` is called, and the calls that are made of its services."""

    def __init__(self, vbuckets: int = 1) -> None:
        self.groups = {
            number: Group(number, ([10, 20, 30], [], [], [], False), MEMBERS, 10, 5, {20: 0, 30: 7})
            for number in range(1, vbuckets + 1)
        }
        self.asked: list[tuple[int, Change | int]] = []
        self.peers: dict[int, Link] = {2: Link(True, 0, "", 0), 3: Link(False, 0, "no such cluster", 0)}
        self.under_way: dict[tuple[int, int], int] = {}
        self.drawn = 100
        self.elsewhere: list[tuple[int, Moved]] = []
        self.services = Services(Limits(), standing=OWN)
        assert self.services.cluster is not None
        self.services.cluster.observe(self)
        self.turn = Turn(0)
        self.now_ms = 0
        self.beat()

    # The node

    node_id = 1

    def nodes(self) -> Mapping[int, Member]:
        return {member.node: member for group in self.groups.values() for member in group.members}

    def vbuckets(self) -> Sequence[int]:
        return sorted(self.groups)

    def group(self, vbucket: int) -> Group:
        return self.groups[vbucket]

    def unsettled(self) -> Sequence[int]:
        return [number for number, group in self.groups.items() if group.conf[1]]

    def moved(self) -> Sequence[tuple[int, Moved]]:
        return self.elsewhere

    def links(self) -> Mapping[int, Link]:
        return self.peers

    def snapshots(self) -> Mapping[tuple[int, int], int]:
        return self.under_way

    def is_restoring(self) -> bool:
        return False

    def new_replica_id(self) -> int:
        self.drawn += 1
        return self.drawn

    def propose_change(self, vbucket: int, change: Change) -> None:
        self.asked.append((vbucket, change))

    def transfer(self, vbucket: int, replica: int) -> None:
        self.asked.append((vbucket, replica))

    # The test

    def settle(self) -> None:
        """Everything that was asked for comes to be."""
        for vbucket, step in self.asked:
            group = self.groups[vbucket]
            if isinstance(step, int):
                self.groups[vbucket] = group._replace(leader=step)
                continue
            voters, learners = set(group.conf[0]), set(group.conf[1])
            for kind, replica in step.changes:
                voters.discard(replica)
                learners.discard(replica)
                {VOTER: voters, LEARNER: learners, REMOVED: set[int]()}[kind].add(replica)
            members = [each for each in (*group.members, *step.added) if each.replica in voters | learners]
            self.groups[vbucket] = group._replace(
                conf=(sorted(voters), sorted(learners), [], [], False), members=members
            )
        self.asked.clear()

    def beat(self, ms: int = 1) -> None:
        self.now_ms += ms
        self.services.beat(self.turn, self.now_ms, True)

    def call(self, method: int, message: bytes | Any = b"", call_id: int = 7) -> None:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        self.services.accept(self.services.methods.index(methods.METHODS[method]), [call_id], [data], self.turn)

    def reply(self) -> bytes:
        """Of the one call that has ended well."""
        assert self.turn.finished == []
        (reply,) = self.turn.replies
        self.turn.clear_answers()
        return reply

    def refusal(self) -> tuple[int, str]:
        assert self.turn.replies == []
        ((_, code, text, _, _),) = self.turn.finished
        self.turn.finished = []
        return code, text

    def hello(self, member: Member = NEW) -> Standing:
        self.call(methods.HELLO, wire.HelloRequest(node=member.node, address=member.address, url=member.url))
        return standing_of_response(self.reply())


@pytest.fixture
def house() -> House:
    return House()


def add(url: str = NEW.url) -> wire.AddNodeRequest:
    return wire.AddNodeRequest(nodeUrl=url)


def join(member: Member = NEW) -> wire.JoinRequest:
    return wire.JoinRequest(node=member.node, address=member.address, url=member.url)


def test_standalone_server_has_no_cluster_services() -> None:
    """UNIMPLEMENTED, as the original."""
    paths = {path for path, _ in Services(Limits()).methods}
    assert methods.HELLO_PATH not in paths
    assert methods.LIST_NODES_PATH not in paths


def test_hello_tells_charter_and_whether_the_asker_is_a_member(house: House) -> None:
    """That, and under which ids, is all a newcomer needs."""
    answer = OWN._replace(members=tuple(MEMBERS))
    assert house.hello() == answer
    assert house.hello(MEMBERS[1]) == answer._replace(replicas={1: 20})


def test_hello_tells_the_members_of_today(house: House) -> None:
    """Of those that the cluster began with none may be left."""
    house.groups[1] = house.groups[1]._replace(members=[NEW])
    assert house.hello(NEW).members == (NEW,)


def test_node_has_its_new_address_written_down(house: House) -> None:
    """Asked for again until its directory has it."""
    house.elsewhere = [(1, Moved(1, "new:1", "http://new:1"))]
    house.beat(LOOK_MS)
    moved = Member(10, 1, "new:1", "http://new:1")
    assert house.asked == [(1, Change(((VOTER, 10),), (moved,)))]
    house.beat(LOOK_MS)
    assert len(house.asked) == 1
    house.beat(AGAIN_MS)
    assert len(house.asked) == 2
    house.asked.clear()
    house.groups[1] = house.groups[1]._replace(members=[moved, *MEMBERS[1:]])
    house.beat(AGAIN_MS)
    assert house.asked == []


@pytest.mark.parametrize(
    "message",
    [b"\xff", wire.HelloResponse(charter=wire.Charter(clusterId=b"short")).SerializeToString()],
)
def test_answer_to_hello_that_is_none_is_a_bad_reply(message: bytes) -> None:
    """Whoever listens there is not one of ours."""
    with pytest.raises(BadReply, match="answer to Hello"):
        standing_of_response(message)


def test_add_node_makes_a_learner_and_answers(house: House) -> None:
    """Then, unasked, a voter once it has caught up."""
    house.hello()
    house.call(methods.ADD_NODE, add())
    house.beat()
    learner = NEW._replace(replica=101)
    assert house.asked == [(1, Change(((LEARNER, 101),), (learner,)))]
    assert house.turn.replies == []
    house.settle()
    house.groups[1] = house.groups[1]._replace(lags={101: CAUGHT_UP_ENTRIES + 1})
    house.beat(LOOK_MS)
    assert house.reply() == wire.Status().SerializeToString()
    assert house.asked == []
    house.groups[1] = house.groups[1]._replace(lags={101: 3})
    house.beat(LOOK_MS)
    assert house.asked == [(1, Change(((VOTER, 101),)))]
    house.settle()
    house.beat(LOOK_MS)
    assert house.asked == []
    assert house.groups[1].conf[0] == [10, 20, 30, 101]


def test_step_that_was_lost_is_asked_for_again(house: House) -> None:
    """Not before it had time to come to be."""
    house.hello()
    house.call(methods.ADD_NODE, add())
    for ms in (1, AGAIN_MS - 1, 1):
        house.beat(ms)
    assert len(house.asked) == 2
    assert house.asked[0] == house.asked[1]


def test_add_node_of_a_member_answers_at_once(house: House) -> None:
    """Asked again after a lost reply, it goes on where it stopped."""
    house.call(methods.ADD_NODE, add("http://n2:9"))
    house.beat()
    assert house.reply() == wire.Status().SerializeToString()


@pytest.mark.parametrize(
    ("url", "code", "text"),
    [
        ("n4:9", Code.INVALID_ARGUMENT, "given listen address, n4:9 must have HTTP scheme"),
        ("http://n4", Code.INVALID_ARGUMENT, "given listen address, http://n4 must include port number"),
        ("http://n4:x", Code.INVALID_ARGUMENT, "given listen address, http://n4:x is not a valid URL, error: "),
        ("http://n4:9", Code.UNAVAILABLE, "unable to verify RAFT service running at http://n4:9, error: "),
    ],
)
def test_add_node_refused_has_the_originals_text(house: House, url: str, code: Code, text: str) -> None:
    """COMPATIBILITY 1.6; who has not said hello lately does not answer."""
    house.hello()
    house.beat(PATIENCE_MS + 1)
    house.call(methods.ADD_NODE, add(url))
    refused, reason = house.refusal()
    assert refused == code
    assert reason.startswith(text)


def test_node_that_lost_its_folder_is_not_added_beside_itself(house: House) -> None:
    """INVARIANTS 1: it has to be removed first, by either way to add it."""
    wiped = MEMBERS[1]._replace(node=99)
    house.hello(wiped)
    house.call(methods.ADD_NODE, add(wiped.url))
    code, text = house.refusal()
    assert code == Code.INVALID_ARGUMENT
    assert text == "http://n2:9 is a member as another node: if its folder was lost, remove it first"
    house.call(methods.JOIN, join(wiped))
    assert house.refusal()[1].startswith("n2:1 is a member as another node: if its folder was lost, remove it first")


def test_join_is_answered_once_every_vbucket_has_the_node() -> None:
    """Each with a replica id of its own; not all at once, as each wants an entry of a log."""
    house = House(GROUPS_AT_ONCE + 1)
    house.call(methods.JOIN, join())
    house.beat()
    assert len(house.asked) == GROUPS_AT_ONCE
    house.settle()
    house.beat()
    house.beat()
    house.settle()
    house.beat()
    assert house.reply() == b""
    ids = {group.at(4).replica for group in house.groups.values()}  # type: ignore[union-attr]
    assert len(ids) == GROUPS_AT_ONCE + 1


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (wire.JoinRequest(node=4, address="n4:1"), "who joins has a node id, an address and a URL"),
        (b"\xff", "malformed request"),
    ],
)
def test_join_that_is_none_is_refused(house: House, message: Any, text: str) -> None:
    """Nothing is asked of the group."""
    house.call(methods.JOIN, message)
    assert house.refusal() == (Code.INVALID_ARGUMENT, text)


def test_node_of_the_charter_that_was_removed_does_not_join_again(house: House) -> None:
    """Its id has been a member's; an empty folder draws another."""
    house.groups[1] = house.groups[1]._replace(members=MEMBERS[:2])
    house.call(methods.JOIN, join(MEMBERS[2]))
    code, text = house.refusal()
    assert code == Code.INVALID_ARGUMENT
    assert text.startswith("this node was removed from the cluster")


def test_remove_node_that_leads_hands_over_first(house: House) -> None:
    """To the one that lacks least."""
    house.call(methods.REMOVE_NODE, wire.RemoveNodeRequest(nodeUrl="http://n1:9"))
    house.beat()
    assert house.asked == [(1, 20)]
    house.settle()
    house.beat()
    assert house.asked == [(1, Change(((REMOVED, 10),)))]
    house.settle()
    house.beat()
    assert house.reply() == wire.Status().SerializeToString()


def test_remove_node_that_is_unknown_answers_well(house: House) -> None:
    """As the original."""
    house.call(methods.REMOVE_NODE, wire.RemoveNodeRequest(nodeUrl="http://other:9"))
    house.beat()
    assert house.reply() == wire.Status().SerializeToString()
    assert house.asked == []


def test_last_member_is_not_removed(house: House) -> None:
    """The goal cannot be reached, and the caller hears it."""
    house.groups[1] = Group(1, ([10], [], [], [], False), MEMBERS[:1], 10)
    house.call(methods.REMOVE_NODE, wire.RemoveNodeRequest(nodeUrl="http://n1:9"))
    house.beat()
    assert house.refusal() == (Code.INVALID_ARGUMENT, "the last member cannot be removed")


def test_change_without_a_leader_ends_in_time(house: House) -> None:
    """And says what it waited for."""
    house.groups[1] = house.groups[1]._replace(leader=0)
    house.call(methods.REMOVE_NODE, wire.RemoveNodeRequest(nodeUrl="http://n2:9"))
    house.beat()
    assert house.turn.finished == []
    house.beat(TIMEOUT_MS)
    assert house.refusal() == (Code.UNAVAILABLE, "not done in time, ask again: no leader is known")


def test_replace_node_is_one_joint_change(house: House) -> None:
    """Of a node that waits to be added."""
    request = wire.ReplaceNodeRequest(nodeUrl="http://n2:9", newNodeUrl=NEW.url)
    house.call(methods.REPLACE_NODE, request)
    assert house.refusal()[1].startswith("unable to verify RAFT service running at http://n4:9")
    house.hello()
    house.call(methods.REPLACE_NODE, request)
    house.beat()
    house.settle()
    house.beat()
    assert house.asked == [(1, Change(((VOTER, 101), (REMOVED, 20))))]
    house.settle()
    house.beat()
    assert house.reply() == b""


def test_list_nodes_shows_what_each_does(house: House) -> None:
    """Under the displayed ids, by URL."""
    house.call(methods.LIST_NODES)
    reply = wire.ListNodesResponse.FromString(house.reply())
    assert reply.HasField("status")
    assert reply.leader == display_id("http://n1:9")
    statuses = {node.nodeUrl: node.status for node in reply.nodes.values()}
    info = wire.NodeInfo
    assert statuses == {"http://n1:9": info.LEADER, "http://n2:9": info.FOLLOWER, "http://n3:9": info.OFFLINE}
    assert {shown: node.nodeId for shown, node in reply.nodes.items()} == {shown: shown for shown in reply.nodes}


def test_list_nodes_without_a_leader_or_a_link_says_so(house: House) -> None:
    """Leader 0; the node itself stands for election; who is not known yet is unknown."""
    house.groups[1] = house.groups[1]._replace(leader=0)
    house.peers.clear()
    house.call(methods.LIST_NODES)
    reply = wire.ListNodesResponse.FromString(house.reply())
    info = wire.NodeInfo
    assert reply.leader == 0
    assert [reply.nodes[display_id(f"http://n{n}:9")].status for n in (1, 2)] == [info.CANDIDATE, info.UNKNOWN]


def test_list_nodes_of_a_node_without_replicas_is_empty() -> None:
    """One that has joined and waits for its first snapshot."""
    house = House(0)
    house.call(methods.LIST_NODES)
    assert wire.ListNodesResponse.FromString(house.reply()).nodes == {}


def test_get_members_tells_nodes_groups_and_snapshots() -> None:
    """Lags where the leader is here, roles of all, and what is on its way."""
    house = House(2)
    house.groups[2] = Group(2, ([10, 20], [40], [10, 20, 30], [], True), MEMBERS, 20, 9)
    house.groups[2] = house.groups[2]._replace(members=(*MEMBERS, NEW._replace(replica=40)))
    house.under_way[2, 40] = 5
    house.call(methods.GET_MEMBERS, wire.GetMembersRequest())
    reply = wire.GetMembersResponse.FromString(house.reply())
    assert (reply.name, reply.clusterId, reply.node) == ("prod", b"c" * 16, 1)
    nodes = [(each.address, each.isUp, each.refusal, each.leads, each.replicas) for each in reply.nodes]
    assert nodes == [
        ("n1:1", True, "", 1, 2),
        ("n2:1", True, "", 1, 2),
        ("n3:1", False, "no such cluster", 0, 2),
        ("n4:1", False, "", 0, 1),
    ]
    first, second = reply.groups
    assert (first.leader, first.term) == (1, 5)
    assert [each.lagEntries if each.HasField("lagEntries") else None for each in first.replicas] == [None, 0, 7]
    role = wire.ReplicaRole
    assert [each.role for each in second.replicas] == [role.VOTER, role.VOTER, role.LEAVING, role.LEARNER]
    sent = [each.snapshotBytesSent if each.HasField("snapshotBytesSent") else None for each in second.replicas]
    assert sent == [None, None, None, 5]


def test_get_members_of_one_vbucket_has_that_group_alone() -> None:
    """The nodes are all there."""
    house = House(2)
    house.call(methods.GET_MEMBERS, wire.GetMembersRequest(vBucket=2))
    reply = wire.GetMembersResponse.FromString(house.reply())
    assert [each.vBucket for each in reply.groups] == [2]
    assert len(reply.nodes) == 3


@pytest.mark.parametrize("name", ["n2:1", "n2:9", "http://n2:9"])
def test_transfer_is_answered_once_the_node_leads(name: str) -> None:
    """All vBuckets, or one."""
    house = House(2)
    house.call(methods.TRANSFER_LEADERSHIP, wire.TransferLeadershipRequest(node=name))
    house.beat()
    assert house.asked == [(1, 20), (2, 20)]
    house.settle()
    house.beat()
    assert house.reply() == b""
    house.call(methods.TRANSFER_LEADERSHIP, wire.TransferLeadershipRequest(node="n3:1", vBucket=2))
    house.beat()
    assert house.asked == [(2, 30)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (wire.TransferLeadershipRequest(node="x:1"), "no member is called 'x:1'"),
        (wire.TransferLeadershipRequest(node="n2:1", vBucket=9), "there is no vBucket 9 here"),
    ],
)
def test_transfer_to_nobody_is_refused(house: House, request_: Any, text: str) -> None:
    """With the name that was given."""
    house.call(methods.TRANSFER_LEADERSHIP, request_)
    assert house.refusal() == (Code.INVALID_ARGUMENT, text)
