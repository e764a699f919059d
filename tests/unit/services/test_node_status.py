"""GetNodeStatus: what the parts of a node say, and a node without parts."""

import random
from collections.abc import Mapping, Sequence

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Standing
from dkv.edge import Raft
from dkv.edge.consensus import NativeConsensus
from dkv.model.limits import Limits
from dkv.model.members import Member
from dkv.ports.store import Pressure
from dkv.services.discovery_node import NodeIdentity
from dkv.services.histogram import COUNTS, SECONDS, Histogram
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.services.vbuckets import NOTABLE_MAX, PAGE_MAX, Condition, Totals, VBucketLook
from dkv.storage.memory import MemoryStore
from dkv.testing.edge import SimulatedEdge
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.wire import methods
from dkv.wire.messages import GetNodeStatusResponse, GetVBucketsRequest, GetVBucketsResponse, VBucketStatus

IDENTITY = NodeIdentity(
    "dc1", "h:8080", "db", "v1", "h:8081", "", "1.2.3", "n1", "none", "/data", "rocksdb", free_bytes_min=7
)
CALLS = {
    (methods.PUT_PATH, 0): 8,
    (methods.PUT_PATH, 3): 2,
    (methods.GET_PATH, 0): 0,
}
STATS: dict[str, object] = {
    "calls": CALLS,
    "latency": {methods.PUT_PATH: ([4, 4, 2], 0.5), methods.GET_PATH: ([0, 0, 0], 0.0)},
    "latency_bounds": [0.001, 0.01],
    "connections": 3,
    "inbox_calls": 1,
    "inbox_bytes": 100,
    "overloaded": 5,
    "streams": 2,
}


class FakeVBuckets:
    """So many, of which the ninth keeps the fewest changes."""

    def __init__(self, count: int, ill: Mapping[int, Sequence[Condition]] | None = None) -> None:
        self.count, self.ill, self.least_history = count, ill or {}, 9

    def numbers(self) -> Sequence[int]:
        return range(1, self.count + 1)

    def look(self, number: int) -> VBucketLook:
        return VBucketLook(number, b"h" * 16, 2, 2, 77, 31, 32, 100, 41, 900, 1_700_000_000_000, 0, 3, 5)

    def totals(self) -> Totals:
        return Totals(7, 5_000, 4_000, 900, 30, self.least_history)

    def conditions(self) -> Mapping[int, Sequence[Condition]]:
        return self.ill


class CountingEdge(SimulatedEdge):
    def stats(self) -> dict[str, object]:
        return STATS


def ask(services: Services) -> GetNodeStatusResponse:
    turn = Turn(1_700_000_000_123)
    services.accept(methods.GET_NODE_STATUS, [4, 5], [b"", b"\xff"], turn)
    assert turn.reply_ids == [4, 5]
    assert turn.replies[0] == turn.replies[1]
    return GetNodeStatusResponse.FromString(turn.replies[0])


def test_status_of_a_node_tells_who_it_is_and_how_long_it_runs() -> None:
    """Before the node has parts it says that much, and leaves them out."""
    services = Services(Limits(), IDENTITY)
    assert ask(services).uptimeMs == 0
    services.beat(Turn(0), 5_000, True)
    services.beat(Turn(0), 6_500, False)
    status = ask(services)
    assert (status.version, status.nodeName, status.role, status.isServing) == ("1.2.3", "n1", "none", False)
    assert (status.address, status.httpAddress, status.folder, status.dcId) == ("h:8080", "h:8081", "/data", "dc1")
    assert (status.uptimeMs, status.nowMs) == (1_500, 1_700_000_000_123)
    assert not status.vBuckets
    assert not any(status.HasField(part) for part in ("storage", "log", "edge", "turns"))


def test_status_of_a_node_with_parts_has_the_numbers_of_each() -> None:
    """Read when asked, from the parts themselves."""
    services, store = Services(Limits(), IDENTITY), MemoryStore()
    consensus = NativeConsensus(Raft(seed=1), SimulatedLog(LogDisk()))
    services.node_status.observe(CountingEdge(random.Random(1)), consensus, store, FakeVBuckets(1))
    store.pressure_now, store.free_bytes_now = Pressure(True, 9), 11
    status = ask(services)
    (vbucket,) = status.vBuckets
    assert (vbucket.database, vbucket.vBucket, vbucket.historyId) == ("db", "v1", b"h" * 16)
    assert (vbucket.raftRole, vbucket.term, vbucket.appliedIndex) == (VBucketStatus.LEADER, 2, 31)
    assert (vbucket.changeNumber, vbucket.oldestChangeNumber, vbucket.earliestExpiry) == (100, 41, 0)
    assert (vbucket.logTime, vbucket.number, vbucket.leader) == (1_700_000_000_000, 1, 77)
    assert (vbucket.historyBytes, vbucket.sessions, vbucket.lagEntries) == (900, 3, 5)
    storage = status.storage
    assert (storage.engine, storage.rowsEstimate, storage.isWriteStopped) == ("rocksdb", 0, True)
    assert (storage.delayedBytesPerSecond, storage.freeBytes, storage.freeBytesMin) == (9, 11, 7)
    edge = status.edge
    assert (edge.connections, edge.streams, edge.inboxCalls, edge.inboxBytes, edge.overloaded) == (3, 2, 1, 100, 5)
    (put,) = edge.methods
    assert (put.path, put.calls, put.errors, put.latencySecondsTotal) == (methods.PUT_PATH, 10, 2, 0.5)
    assert (list(put.latencyCounts), list(edge.latencyBoundsSeconds)) == ([4, 4, 2], [0.001, 0.01])
    assert status.HasField("log")
    assert not status.HasField("turns")


def status_of(vbuckets: FakeVBuckets) -> GetNodeStatusResponse:
    services, store = Services(Limits(), IDENTITY), MemoryStore()
    consensus = NativeConsensus(Raft(seed=1), SimulatedLog(LogDisk()))
    services.node_status.observe(CountingEdge(random.Random(1)), consensus, store, vbuckets)
    return ask(services)


def test_status_of_a_node_with_a_thousand_ill_vbuckets_stays_small() -> None:
    """Sums, the worst, and the first twenty; the first vBucket stands where it always stood."""
    status = status_of(FakeVBuckets(1_000, {number: [Condition.NO_LEADER] for number in range(1, 1_001)}))
    (first,), summary = status.vBuckets, status.summary
    assert (first.number, list(first.conditions)) == (1, [VBucketStatus.NO_LEADER])
    assert (summary.count, summary.led, summary.changes, summary.changesKept) == (1_000, 7, 5_000, 4_000)
    assert (summary.historyBytes, summary.sessions, summary.leastHistory.number) == (900, 30, 9)
    ((condition, count),) = [(each.condition, each.count) for each in summary.conditions]
    assert (condition, count) == (VBucketStatus.NO_LEADER, 1_000)
    assert [each.number for each in summary.notable] == list(range(1, NOTABLE_MAX + 1))
    assert status.ByteSize() < 4_096


def test_status_of_a_node_in_which_all_is_well_names_no_vbucket() -> None:
    """Nor one with the least history, while none has let any go."""
    vbuckets = FakeVBuckets(3)
    vbuckets.least_history = 0
    summary = status_of(vbuckets).summary
    assert (list(summary.conditions), list(summary.notable), summary.HasField("leastHistory")) == ([], [], False)


def pages(vbuckets: FakeVBuckets, request: GetVBucketsRequest) -> list[list[int]]:
    """All of them, in the order in which they come."""
    services = Services(Limits(), IDENTITY)
    consensus = NativeConsensus(Raft(seed=1), SimulatedLog(LogDisk()))
    services.node_status.observe(CountingEdge(random.Random(1)), consensus, MemoryStore(), vbuckets)
    found = []
    while request.first or not found:
        turn = Turn(0)
        services.accept(methods.GET_VBUCKETS, [1], [request.SerializeToString()], turn)
        page = GetVBucketsResponse.FromString(turn.replies[0])
        found.append([each.number for each in page.vBuckets])
        request.first = page.next
    return found


def test_vbuckets_come_in_pages_that_have_an_end() -> None:
    """By number, each once, however many are asked for at a time."""
    every = list(range(1, 1_001))
    for limit in (0, 1, 249, 250, 10_000):
        found = pages(FakeVBuckets(1_000), GetVBucketsRequest(limit=limit))
        assert [number for page in found for number in page] == every
        assert max(map(len, found)) <= (min(limit, PAGE_MAX) or PAGE_MAX)
    assert pages(FakeVBuckets(3), GetVBucketsRequest(first=2)) == [[2, 3]]
    assert pages(FakeVBuckets(3), GetVBucketsRequest(first=4)) == [[]]


def test_vbuckets_in_some_condition_can_be_asked_for_alone() -> None:
    """Of a thousand, the two that want a look."""
    ill = {5: [Condition.RESTORING], 900: [Condition.NO_LEADER, Condition.CATCHING_UP]}
    assert pages(FakeVBuckets(1_000, ill), GetVBucketsRequest(isNotable=True)) == [[5, 900]]


def test_vbuckets_of_a_node_without_parts_are_none_and_garbage_is_refused() -> None:
    """It answers before there is anything to tell of."""
    services, turn = Services(Limits(), IDENTITY), Turn(0)
    services.accept(methods.GET_VBUCKETS, [1, 2], [b"", b"\xff"], turn)
    assert (turn.reply_ids, turn.replies) == ([1], [b""])
    assert [call_id for call_id, *_ in turn.finished] == [2]


def test_status_of_a_node_that_is_measured_tells_its_turns() -> None:
    """From the same numbers as /metrics."""
    services = Services(Limits(), IDENTITY)
    turns, calls = Histogram(SECONDS), Histogram(COUNTS)
    turns.observe(0.25)
    calls.observe(7)
    services.measure(turns=lambda: {"turns": 9, "turn_seconds": turns, "turn_calls": calls, "iterates_open": 2})
    turn_status = ask(services).turns
    assert (turn_status.turns, turn_status.calls, turn_status.secondsTotal) == (9, 7, 0.25)
    assert turn_status.openIterates == 2


def test_status_of_a_node_in_a_cluster_has_its_groups_and_its_peers() -> None:
    """The same numbers as in /metrics; a server that stands alone has none of them."""
    member = Member(10, 1, "n1:1", "http://n1:1")
    charter = Charter(b"c" * 16, "prod", 9, 0, b"h" * 16, (member,))
    standing = Standing(1, "n1:1", "http://n1:1", "prod", ("n1:1",), 9, charter)
    services = Services(Limits(), IDENTITY, standing)
    assert not ask(services).HasField("cluster")
    raft: dict[str, object] = {
        "groups": 9, "awake": 4, "led": 3, "leaderless": 2, "leader": "n2:1", "unapplied": 5, "applied": 50,
        "changes": 40, "elections": 6, "snapshots_outgoing": 1, "snapshots_incoming": 2, "snapshot_bytes_sent": 100,
        "snapshot_bytes_received": 200,
        "peers": {"n2:1": {"node": 2, "up": 0, "refusal": "removed", "queued_bytes": 7, "lag": 8}},
    }  # fmt: skip
    services.measure(raft=lambda: raft)
    found = ask(services).cluster
    assert (found.name, found.node, found.leader) == ("prod", 1, "n2:1")
    assert (found.groups, found.led, found.leaderless, found.asleep) == (9, 3, 2, 5)
    assert (found.unappliedEntries, found.appliedEntries, found.changes, found.elections) == (5, 50, 40, 6)
    assert (found.snapshotsOutgoing, found.snapshotsIncoming) == (1, 2)
    assert (found.snapshotBytesSent, found.snapshotBytesReceived) == (100, 200)
    (peer,) = found.peers
    assert (peer.node, peer.address, peer.isUp, peer.refusal) == (2, "n2:1", False, "removed")
    assert (peer.queuedBytes, peer.lagEntries) == (7, 8)
    services.measure(raft=lambda: {"groups": 1})
    assert not ask(services).HasField("cluster")
