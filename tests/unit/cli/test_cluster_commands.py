"""members, leader and replaceNode: what they ask and what they print."""

import json
from typing import Any

import pytest

from dkv.cli import dkvctl
from dkv.cli.ctl.members import GROUPS_SHOWN, members_lines
from dkv.wire import messages as pb
from dkv.wire import methods


def cluster(groups: int = 1) -> pb.GetMembersResponse:
    nodes = [
        pb.NodeStatus(node=1, address="a:1", url="http://a:1", isUp=True, leads=groups, replicas=groups),
        pb.NodeStatus(node=2, address="bb:1", url="http://bb:1", refusal="of another cluster", replicas=groups),
    ]
    replicas = [pb.ReplicaStatus(replica=10, node=1), pb.ReplicaStatus(replica=20, node=2, lagEntries=7)]
    found = [pb.GroupStatus(vBucket=at, leader=1, term=3, replicas=replicas) for at in range(1, groups + 1)]
    return pb.GetMembersResponse(name="prod", clusterId=b"\xab" * 16, node=1, nodes=nodes, groups=found)


def run(server: Any, *words: str) -> int:
    return dkvctl.main(list(words), lambda options: server.client())


def test_members_are_nodes_then_groups(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Who leads, who is down and why, who lags."""
    server.replies[methods.GET_MEMBERS_PATH] = cluster()
    assert run(server, "members") == 0
    assert capfdbinary.readouterr().out.decode().splitlines() == [
        "cluster prod, vBuckets: 1",
        "  a:1   leads 1 of 1  up",
        "  bb:1  leads 0 of 1  down: of another cluster",
        "  vBucket 1: leader a:1, term 3; bb:1 7 entries behind",
    ]


def test_members_as_json_has_everything(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Ids of bytes in hexadecimal; one vBucket, if asked for one."""
    server.replies[methods.GET_MEMBERS_PATH] = cluster()
    assert run(server, "--json", "members", "1") == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert (document["name"], document["clusterId"], len(document["nodes"])) == ("prod", "ab" * 16, 2)
    assert document["groups"][0]["replicas"][1] == {"replica": 20, "node": 2, "role": "VOTER", "lagEntries": 7}
    assert pb.GetMembersRequest.FromString(server.requests[-1][1]).vBucket == 1


def test_groups_with_something_under_way_come_first_and_the_rest_is_counted() -> None:
    """A thousand vBuckets fit on a screen."""
    found = cluster(GROUPS_SHOWN + 4)
    joining, leaderless, leaving = found.groups[-1], found.groups[-2], found.groups[-3]
    joining.replicas.add(replica=30, node=3, role=pb.ReplicaRole.LEARNER, snapshotBytesSent=5 << 20)
    leaderless.leader = 0
    leaving.replicas[1].role, leaving.replicas[1].lagEntries = pb.ReplicaRole.LEAVING, 1 << 62
    lines = list(members_lines(found))
    assert lines[3:6] == [
        "  vBucket 22: leader a:1, term 3; bb:1 leaving not heard of yet",
        "  vBucket 23: leader unknown, term 3; a:1, bb:1 7 entries behind",
        "  vBucket 24: leader a:1, term 3; 3 learner is sent a snapshot, 5 MiB so far, bb:1 7 entries behind",
    ]
    assert lines[-1] == "  and 1 vBuckets in which nothing is under way (--json has all)"


@pytest.mark.parametrize(
    ("words", "path", "request_"),
    [
        (["leader", "transfer", "b:1"], methods.TRANSFER_LEADERSHIP_PATH, pb.TransferLeadershipRequest(node="b:1")),
        (
            ["leader", "transfer", "b:1", "7"],
            methods.TRANSFER_LEADERSHIP_PATH,
            pb.TransferLeadershipRequest(node="b:1", vBucket=7),
        ),
        (
            ["replaceNode", "http://a:1", "http://b:1"],
            methods.REPLACE_NODE_PATH,
            pb.ReplaceNodeRequest(nodeUrl="http://a:1", newNodeUrl="http://b:1"),
        ),
    ],
)
def test_command_asks_and_says_ok(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], words: list[str], path: str, request_: Any
) -> None:
    """With what was written."""
    server.replies[path] = pb.JoinResponse()
    assert run(server, *words) == 0
    assert capfdbinary.readouterr().out == b"OK\n"
    assert server.requests[-1] == (path, request_.SerializeToString())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["leader", "elect", "b:1"], "leader: expected transfer, not 'elect'"),
        (["leader", "transfer", "b:1", "x"], "a vBucket is a number from 1 on, not 'x'"),
        (["members", "0"], "a vBucket is a number from 1 on, not '0'"),
    ],
)
def test_words_that_are_none_are_a_usage_error(
    server: Any, capfd: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    """Exit code 2, and nothing is sent."""
    assert run(server, *words) == 2
    assert text in capfd.readouterr().err
    assert server.requests == []


def test_failure_is_told_in_the_words_of_dkvctl(server: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """As of every other command."""
    server.failures[methods.GET_MEMBERS_PATH] = (12, "unknown method")
    assert run(server, "members") == 1
    text = "Unable to get the members. Error: rpc error: code = Unimplemented desc = unknown method\n"
    assert capfd.readouterr().out == text
