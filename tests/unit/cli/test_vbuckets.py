"""dkvctl vbuckets: every vBucket of a cluster as its leader has it, and what is wrong on which node."""

import json
from typing import Any

import pytest
from tests.unit.cli.conftest import FakeServer
from tests.unit.cli.test_fleet import ADDRESSES, FakeNode, reach

from dkv.cli import dkvctl
from dkv.cli.ctl.stats_text import stats_lines
from dkv.cli.ctl.vbucket_text import condition_text
from dkv.services.vbuckets import Condition
from dkv.wire import messages as pb
from dkv.wire import methods

COUNT = 30


def vbucket(number: int, node: int, **fields: Any) -> pb.VBucketStatus:
    """Led by node 1."""
    is_leader = node == 1
    known = {
        "number": number, "raftRole": 2 if is_leader else 0, "term": 4, "leader": 1, "appliedIndex": 9,
        "commitIndex": 9, "changeNumber": 5, "oldestChangeNumber": 1, "historyBytes": 2_048, "historyId": b"\xab" * 16,
        "lagEntries": 0 if is_leader else None,
    }  # fmt: skip
    return pb.VBucketStatus(**(known | fields))


class Paged(FakeNode):
    """Answers ten at a time."""

    def __init__(self, node: int) -> None:
        super().__init__(node)
        self.vbuckets = {number: vbucket(number, node) for number in range(1, COUNT + 1)}

    def call(self, path: str, request: bytes, timeout_ms: int) -> Any:
        if path != methods.GET_VBUCKETS_PATH:
            return super().call(path, request, timeout_ms)
        first = pb.GetVBucketsRequest.FromString(request).first
        page = [self.vbuckets[number] for number in range(first, min(first + 10, COUNT + 1))]
        reply = pb.GetVBucketsResponse(vBuckets=page, next=first + 10 if first + 10 <= COUNT else 0)
        return 0, "", b"", reply.SerializeToString(), 0


@pytest.fixture
def nodes() -> dict[str, Paged]:
    return {address: Paged(node) for node, address in ADDRESSES.items()}


def run(nodes: dict[str, Paged], *words: str) -> int:
    return dkvctl.main(["-a", "b:1", "vbuckets", *words], lambda options: reach(dict(nodes), options))


def test_vbuckets_that_want_a_look_come_first(nodes: dict[str, Paged], capfd: pytest.CaptureFixture[str]) -> None:
    """Then the first of the others, and how many more there are."""
    nodes["c:1"].vbuckets[27] = vbucket(27, 3, conditions=[Condition.NEEDS_SNAPSHOT])
    nodes["a:1"].vbuckets[28] = vbucket(28, 1, conditions=[Condition.REPLICA_LAGS], lagEntries=20_000)
    for node, address in ADDRESSES.items():
        nodes[address].vbuckets[29] = vbucket(29, node, leader=0, raftRole=0, conditions=[Condition.NO_LEADER])
    nodes["a:1"].vbuckets[30] = vbucket(30, 1, changeNumber=9_000, oldestChangeNumber=8_000)
    assert run(nodes) == 0
    head, *lines, more, history = capfd.readouterr().out.splitlines()
    assert head.split() == ["VBUCKET", "LEADER", "TERM", "CHANGES", "KEPT", "HISTORY", "LAG", "STATE"]
    assert [line.split(maxsplit=7) for line in lines[:4]] == [
        ["27", "a:1", "4", "5", "5", "2.0KiB", "0", "needs a snapshot (c:1)"],
        ["28", "a:1", "4", "5", "5", "2.0KiB", "20,000", "a replica lags"],
        ["29", "unknown", "4", "5", "5", "2.0KiB", "0", "no leader"],
        ["1", "a:1", "4", "5", "5", "2.0KiB", "0", "ok"],
    ]
    assert [line.split()[0] for line in lines[3:]] == list(map(str, range(1, 21)))
    assert more == "  and 7 vBuckets in which all is well (--limit N shows more, --json has all)"
    assert history == "history: the least in vBucket 30: 1,001 changes, from 8,000 on"
    assert run(nodes, "--limit", "3") == 0
    assert len(capfd.readouterr().out.splitlines()) == 1 + 3 + 3 + 2


def test_vbucket_by_its_number_has_a_line_for_each_replica(
    nodes: dict[str, Paged], capfd: pytest.CaptureFixture[str]
) -> None:
    """With a node that is away said first."""
    nodes["c:1"].is_there = False
    assert run(nodes, "7") == 0
    away, head, first, second = capfd.readouterr().out.splitlines()
    assert away == "! c:1 does not answer: no route"
    assert head.split()[:4] == ["NODE", "ROLE", "TERM", "APPLIED"]
    assert first.split() == ["a:1", "leader", "4", "9", "9", "5", "5", "1970-01-01T00:00:00Z", "ok"]
    assert second.split()[:2] == ["b:1", "follower"]


def test_vbuckets_as_documents_are_all_there(nodes: dict[str, Paged], capfd: pytest.CaptureFixture[str]) -> None:
    """By number, each with its replicas."""
    assert run(nodes, "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert [each["number"] for each in document["vBuckets"]] == list(range(1, COUNT + 1))
    replicas = document["vBuckets"][0]["replicas"]
    assert [(each["address"], each["raftRole"]) for each in replicas] == [
        ("a:1", "LEADER"), ("b:1", "FOLLOWER"), ("c:1", "FOLLOWER")
    ]  # fmt: skip
    assert replicas[0]["historyId"] == "ab" * 16
    assert document["problems"] == []


def test_replica_in_the_latest_term_is_believed(nodes: dict[str, Paged], capfd: pytest.CaptureFixture[str]) -> None:
    """A leader that was cut off does not know yet."""
    nodes["c:1"].vbuckets[1] = vbucket(1, 3, term=5, raftRole=2, leader=3, changeNumber=8)
    nodes["b:1"].vbuckets[1] = vbucket(1, 2, term=5, leader=3, changeNumber=9)
    assert run(nodes) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:4] == ["1", "c:1", "5", "8"]


@pytest.mark.parametrize(("word", "code"), [("99", 1), ("0", 2), ("seven", 2)])
def test_vbucket_that_is_not_there_is_an_error(nodes: dict[str, Paged], word: str, code: int) -> None:
    """A number that is none is a wrong line."""
    assert run(nodes, word) == code


def test_vbuckets_of_a_server_that_stands_alone_are_its_own(
    server: FakeServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """It names no leader but itself."""
    server.replies[methods.GET_VBUCKETS_PATH] = pb.GetVBucketsResponse(vBuckets=[vbucket(1, 1)])
    assert dkvctl.main(["-a", "h:1", "vbuckets"], lambda options: server.client()) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:3] == ["1", "h:1", "4"]


def test_server_that_cannot_tell_of_its_vbuckets_says_so(server: FakeServer, capfd: pytest.CaptureFixture[str]) -> None:
    """One of an earlier release."""
    server.failures[methods.GET_VBUCKETS_PATH] = (12, "unknown method")
    assert dkvctl.main(["vbuckets"], lambda options: server.client()) == 1
    assert "Unable to get the vBuckets" in capfd.readouterr().out


def test_stats_of_several_vbuckets_are_sums_and_what_is_wrong() -> None:
    """A thousand take no more lines than two."""
    summary = pb.VBucketsSummary(
        count=1_000, led=300, changes=50_000, changesKept=40_000, historyBytes=1 << 20, sessions=12,
        leastHistory=vbucket(7, 1, changeNumber=200, oldestChangeNumber=101),
        conditions=[pb.ConditionCount(condition=Condition.NO_LEADER, count=8)],
        notable=[vbucket(number, 1, conditions=[Condition.NO_LEADER]) for number in range(1, 7)],
    )  # fmt: skip
    lines = stats_lines(pb.GetNodeStatusResponse(version="1", vBuckets=[vbucket(1, 1)], summary=summary))
    assert lines[2:] == [
        "vBuckets    1,000 here, 300 of them led",
        "  changes   50,000, 40,000 kept in 1.0 MiB of log; 12 sessions",
        "  history   the least in vBucket 7: 100 changes, from 101 on",
        "  !         no leader: vBuckets 1, 2, 3, 4, 5 and 3 more",
    ]


def test_every_condition_has_a_text_and_one_of_tomorrow_has_its_number() -> None:
    """A server may be newer than this dkvctl."""
    assert not [each for each in Condition if condition_text(each) in ("", each.name)]
    assert condition_text(99) == "condition 99"
