"""status, top and members of a cluster: every node is asked, and what they say is put together."""

import io
import json
from typing import Any

import pytest
from tests.unit.cli.conftest import FakeServer

from dkv.cli import dkvctl
from dkv.cli.ctl import cluster_top
from dkv.cli.ctl.fleet import Fleet, merged
from dkv.cli.ctl.fleet_table import FAR_BEHIND_ENTRIES, UNHEARD, problems, rows_of
from dkv.cli.ctl.invocation import Options, Session
from dkv.client.sync import CallResult, Client
from dkv.model.errors import Unavailable
from dkv.wire import messages as pb
from dkv.wire import methods

ADDRESSES = {1: "a:1", 2: "b:1", 3: "c:1"}


class FakeNode(FakeServer):
    """One of three; the first leads, unless a test says otherwise."""

    def __init__(self, node: int, term: int = 5, leader: int = 1) -> None:
        super().__init__()
        self.node = node
        self.is_there = True
        self.closed = 0
        others = [each for each in ADDRESSES if each != node]
        is_leader = node == leader
        status = pb.GetNodeStatusResponse(version="1", isServing=True, uptimeMs=60_000, address=ADDRESSES[node])
        status.cluster.CopyFrom(
            pb.ClusterStatus(name="prod", node=node, leader=ADDRESSES[leader], groups=1, led=int(is_leader))
        )
        for each in others:
            lag = 7 * each if is_leader else 0
            status.cluster.peers.add(node=each, address=ADDRESSES[each], isUp=True, lagEntries=lag)
        self.status = self.replies[methods.GET_NODE_STATUS_PATH] = status
        members = pb.GetMembersResponse(name="prod", clusterId=b"\xab" * 16, node=node)
        for each, address in ADDRESSES.items():
            leads = int(each == leader)
            members.nodes.add(node=each, address=address, url=f"http://{address}", isUp=True, leads=leads, replicas=1)
        replicas = [
            pb.ReplicaStatus(replica=10 * each, node=each, lagEntries=7 * each if is_leader else None)
            for each in ADDRESSES
        ]
        members.groups.append(pb.GroupStatus(vBucket=1, leader=leader, term=term, replicas=replicas))
        self.members = self.replies[methods.GET_MEMBERS_PATH] = members

    def call(self, path: str, request: bytes, timeout_ms: int) -> CallResult:
        if not self.is_there:
            return 14, "no route", b"", b"", 1
        return super().call(path, request, timeout_ms)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def nodes() -> dict[str, FakeNode]:
    return {address: FakeNode(node) for node, address in ADDRESSES.items()}


def reach(nodes: dict[str, FakeNode], options: Options) -> Client:
    return nodes[options.address].client()


def run(nodes: dict[str, FakeNode], *words: str) -> int:
    return dkvctl.main(["-a", "b:1", *words], lambda options: reach(nodes, options))


def fleet_of(nodes: dict[str, FakeNode], asked: str = "b:1") -> Fleet:
    session = Session(nodes[asked].client(), io.BytesIO(), float, Options(asked), lambda each: nodes[each].client())
    fleet = Fleet(session)
    fleet.find()
    return fleet


def test_members_of_a_follower_tell_what_the_leader_knows(
    nodes: dict[str, FakeNode], capfd: pytest.CaptureFixture[str]
) -> None:
    """Lags are nobody else's to know; the whole command is one document or a few lines."""
    assert run(nodes, "members") == 0
    assert capfd.readouterr().out.splitlines() == [
        "cluster prod, vBuckets: 1",
        "  a:1  leads 1 of 1  up",
        "  b:1  leads 0 of 1  up",
        "  c:1  leads 0 of 1  up",
        "  vBucket 1: leader a:1, term 5; b:1 14 entries behind, c:1 21 entries behind",
    ]
    assert run(nodes, "members", "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert [each.get("lagEntries") for each in document["groups"][0]["replicas"]] == [7, 14, 21]


def test_leader_of_an_earlier_term_is_not_believed(nodes: dict[str, FakeNode]) -> None:
    """It was cut off from the others and does not know yet."""
    nodes["b:1"], nodes["c:1"] = FakeNode(2, 6, 3), FakeNode(3, 6, 3)
    look = fleet_of(nodes, "a:1").look()
    assert (look.cluster.groups[0].leader, look.cluster.groups[0].term) == (3, 6)
    views = {node: nodes[address].members for node, address in ADDRESSES.items()}
    assert merged(views).groups[0].replicas[0].lagEntries == 7


def test_status_tells_who_lags_and_that_all_is_well(
    nodes: dict[str, FakeNode], capfd: pytest.CaptureFixture[str]
) -> None:
    """A line a node; nothing else is to be said."""
    assert run(nodes, "status") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "cluster prod: 3 of 3 nodes answer, leader a:1"
    assert lines[1] == ""
    assert [line.split()[:3] for line in lines[2:]] == [
        ["NODE", "ROLE", "LAG"],
        ["a:1", "leader", "-"],
        ["b:1", "follower", "14"],
        ["c:1", "follower", "21"],
    ]


def test_status_of_a_cluster_with_a_node_down_says_what_that_means(
    nodes: dict[str, FakeNode], capfd: pytest.CaptureFixture[str]
) -> None:
    """Writes go on, and no other may fail."""
    nodes["c:1"].is_there = False
    assert run(nodes, "status") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:3] == [
        "cluster prod: 2 of 3 nodes answer, leader a:1",
        "! c:1 does not answer: no route",
        "! no other node may fail: vBucket 1 would have no majority",
    ]
    assert lines[-1].split(maxsplit=1) == ["c:1", "no answer: no route"]


def test_status_of_a_cluster_that_takes_no_writes_ends_with_1(
    nodes: dict[str, FakeNode], capfd: pytest.CaptureFixture[str]
) -> None:
    """For scripts: too few answer, or nobody leads."""
    nodes["c:1"].is_there = nodes["a:1"].is_there = False
    nodes["b:1"].members.groups[0].leader = 0
    assert run(nodes, "status", "--json") == 1
    document = json.loads(capfd.readouterr().out)
    assert document["problems"][:2] == [
        "no leader: vBucket 1",
        "too few nodes answer for a majority: vBucket 1",
    ]
    assert [(each["address"], each["answers"]) for each in document["nodes"]] == [
        ("a:1", False),
        ("b:1", True),
        ("c:1", False),
    ]
    nodes["b:1"].is_there = False
    assert run(nodes, "status") == 1
    assert "Unable to get the status. Error: rpc error: code = Unavailable" in capfd.readouterr().out


def test_problems_are_said_in_sentences(nodes: dict[str, FakeNode]) -> None:
    """Links that are down though both ends answer, replicas that lag far, nodes that do not serve."""
    nodes["a:1"].status.cluster.peers[0].lagEntries = UNHEARD
    nodes["a:1"].status.cluster.peers[1].lagEntries = FAR_BEHIND_ENTRIES + 1
    nodes["b:1"].status.cluster.peers[1].isUp = False
    nodes["b:1"].status.cluster.peers[1].refusal = "removed"
    nodes["c:1"].status.isServing = False
    look = fleet_of(nodes).look(0)
    assert list(problems(look, rows_of(look, {}))) == [
        "c:1 does not serve",
        "b:1 is not in touch with c:1: removed",
        "b:1 has not answered its leader",
        "c:1 is 10,001 entries behind",
    ]


def test_node_that_moved_is_found_at_its_new_address(nodes: dict[str, FakeNode]) -> None:
    """And one that listens where another is wanted is not taken for it."""
    fleet = fleet_of(nodes)
    assert all(each.status for each in fleet.look().nodes)
    nodes["d:1"] = nodes["c:1"]
    nodes["c:1"] = FakeNode(1)
    for each in nodes.values():
        each.members.nodes[2].address = "d:1"
    first = fleet_of({**nodes, "d:1": nodes["d:1"]}).look()
    assert [(each.address, each.status is not None) for each in first.nodes][2] == ("d:1", True)
    fleet._clients.clear()
    second = fleet.look()
    assert "another node is there" in second.nodes[2].why
    assert fleet.look().nodes[2].status is not None


def test_fleet_without_an_answer_says_why_and_lets_go_of_its_connections(nodes: dict[str, FakeNode]) -> None:
    """Each once."""
    fleet = fleet_of(nodes)
    fleet.look()
    for each in nodes.values():
        each.is_there = False
    with pytest.raises(Unavailable, match=r"a:1: no route; b:1: no route"):
        fleet.look()
    fleet.close()
    assert [each.closed for each in nodes.values()] == [1, 1, 1]


def with_calls(status: pb.GetNodeStatusResponse, calls: int) -> None:
    """So many puts, and twice as many changes, since the start."""
    status.uptimeMs += 1_000
    status.cluster.changes = 2 * calls
    del status.edge.methods[:]
    status.edge.latencyBoundsSeconds[:] = [0.001, 0.01]
    for path, each in ((methods.PUT_PATH, calls), (methods.STREAM_CHANGES_PATH, 1)):
        status.edge.methods.add(path=path, calls=each, latencySecondsTotal=each / 1e3, latencyCounts=[each, 0, 0])


@pytest.mark.parametrize(("width", "last"), [(80, "LINKS"), (120, "FREE")])
def test_frame_of_a_cluster_fits_its_terminal(
    nodes: dict[str, FakeNode], monkeypatch: pytest.MonkeyPatch, width: int, last: str
) -> None:
    """What does not fit is left out, the least important first; methods are those of all nodes together."""
    clock = iter(range(1_000))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock) // 3))
    for each in nodes.values():
        with_calls(each.status, 0)
    fleet = fleet_of(nodes)
    before = fleet.look()
    for each in nodes.values():
        copy = pb.GetNodeStatusResponse.FromString(each.status.SerializeToString())
        with_calls(copy, 100)
        each.replies[methods.GET_NODE_STATUS_PATH] = copy
    after = fleet.look()
    lines = cluster_top.frame(before, after, width, 24)
    assert max(map(len, lines)) <= width
    assert lines[1] == "calls 300/s, errors 0/s, refused 0/s, changes 200/s"
    assert lines[3].split()[-1] == last
    assert lines[4].split()[:5] == ["a:1", "leader", "100", "0.99ms", "0%"]
    assert lines[-1].split()[:2] == ["DKV/Put", "300"]
    assert len(cluster_top.frame(before, after, width, 3)) == 3


def test_top_of_a_cluster_as_json_has_all_nodes(
    nodes: dict[str, FakeNode], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One document a picture."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    nodes["a:1"].is_there = False
    assert run(nodes, "top", "--json", "--limit", "2") == 0
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["cluster"] == second["cluster"] == "prod"
    assert [(each["address"], each["answers"], "rates" in each) for each in second["nodes"]] == [
        ("a:1", False, False),
        ("b:1", True, True),
        ("c:1", True, True),
    ]


def test_top_of_one_node_of_a_cluster_is_that_of_a_server(
    nodes: dict[str, FakeNode], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With turns, syncs and disk, which there is no room for among several."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert run(nodes, "top", "node") == 0
    assert "turns" in capfd.readouterr().out
    assert run(nodes, "top", "nodes") == 2


@pytest.mark.parametrize("words", [["status"], ["top"]])
def test_server_that_stands_alone_is_shown_as_ever(
    words: list[str], server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has no cluster to show."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.failures[methods.GET_MEMBERS_PATH] = (12, "unknown method")
    server.replies[methods.GET_NODE_STATUS_PATH] = pb.GetNodeStatusResponse(version="1.2.3", isServing=True)
    assert dkvctl.main(words, lambda options: server.client()) == 0
    assert "dkvsrv 1.2.3" in capfd.readouterr().out
    server.failures[methods.GET_MEMBERS_PATH] = (14, "not yet")
    assert dkvctl.main(words, lambda options: server.client()) == 1


class FakeScreen:
    """Keys by picture: what is pressed after each; what was drawn stays."""

    def __init__(self, nodes: dict[str, FakeNode], keys: list[str]) -> None:
        self.nodes, self.keys = nodes, keys
        self.drawn: list[list[str]] = []

    def draw(self, lines: list[str]) -> None:
        self.drawn.append(lines)

    def size(self) -> tuple[int, int]:
        return 80, 24

    def wait(self, seconds: float) -> str:
        for each in self.nodes.values():
            each.is_there = len(self.drawn) != 2
        return self.keys.pop(0)


def test_top_waits_for_a_cluster_that_goes_away(nodes: dict[str, FakeNode]) -> None:
    """Its absence is what there is to see; then it is there again."""
    screen, fleet = FakeScreen(nodes, ["", "", "", "q"]), fleet_of(nodes)
    session = Session(nodes["b:1"].client(), io.BytesIO(), float, Options("b:1"))
    cluster_top.watch(session, fleet, screen)  # type: ignore[arg-type]
    assert screen.drawn[1][0].startswith("cluster prod: 3 of 3")
    assert screen.drawn[2][0].startswith("no node of the cluster answers (")
    assert screen.drawn[3][0].startswith("cluster prod: 3 of 3")
    screen.keys = ["", "q"]
    limited = Session(nodes["b:1"].client(), io.BytesIO(), float, Options("b:1", limit=1))
    cluster_top.watch(limited, fleet, screen)  # type: ignore[arg-type]
    assert screen.keys == ["q"]
