"""What /metrics tells of Raft and of the other nodes, on three nodes over a network in memory."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from tests.unit.node.test_cluster_turns import NODES, Member, Trio

from dkv.node.raft_stats import raft_stats
from dkv.services.registry import Services


def stats_of(member: Member) -> dict[str, Any]:
    return raft_stats(member.node)


def peer(node: int) -> dict[str, object]:
    """One in touch, that has everything."""
    return {"node": node, "up": 1, "refusal": "", "queued_bytes": 0, "dropped": 0, "lag": 0}


def test_stats_of_a_cluster_at_rest_name_one_leader_and_no_lag() -> None:
    """Each group is led once, everybody is in touch, nothing waits."""
    trio = Trio(vbuckets=3)
    trio.run(10)
    leaders = [stats_of(member)["led"] for member in trio.members]
    assert sum(leaders) == 3
    for member in trio.members:
        stats = stats_of(member)
        assert (stats["groups"], stats["leaderless"], stats["reads_waiting"]) == (3, 0, 0)
        others = [node for node in NODES if node != member.node_id]
        assert stats["peers"] == {f"h{node}:1": peer(node) for node in others}
        assert stats["leader"] == f"h{trio.leader.node_id}:1"
        assert (stats["unapplied"], stats["changes"]) == (0, 0)
        assert stats["applied"] in range(6, 10)  # a tick each, once the clocks have confirmed each other


def test_lag_counts_the_entries_that_a_node_out_of_touch_lacks() -> None:
    """As its leader knows them; whoever does not lead knows of none."""
    trio = Trio()
    leader, (lost, other) = trio.leader, trio.followers
    trio.run(10)
    trio.isolate(lost)
    for value in (b"1", b"2", b"3"):
        trio.put(leader, value)
    peers = stats_of(leader)["peers"]
    assert peers[f"h{lost.node_id}:1"] == peer(lost.node_id) | {"up": 0, "lag": 3}
    assert peers[f"h{other.node_id}:1"] == peer(other.node_id)
    assert {each["lag"] for each in stats_of(other)["peers"].values()} == {0}


def test_node_out_of_touch_tells_that_it_knows_no_leader() -> None:
    """What the alert of groups without a leader looks at."""
    trio = Trio()
    lost = trio.followers[0]
    trio.isolate(lost)
    trio.run(100)
    assert stats_of(lost)["leaderless"] == 1
    assert stats_of(lost)["elections"] > 0


def test_calls_handed_over_are_counted_on_both_sides_until_they_are_answered() -> None:
    """A put on a follower crosses once."""
    trio = Trio()
    follower = trio.followers[0]
    trio.put(follower, b"v")
    here, there = stats_of(follower), stats_of(trio.leader)
    assert (here["handed_over"], here["handed_over_now"]) == (1, 0)
    assert (there["taken"], there["taken_now"]) == (1, 0)
    assert (here["taken"], there["handed_over"]) == (0, 0)
    assert trio.leader.node.meter.entry_seconds.count > 0


def test_metrics_of_a_node_in_a_cluster_have_labels_and_no_nan() -> None:
    """Messages by kind, links by address."""
    trio = Trio()
    trio.run(10)
    text = exposed(trio.leader.services, trio.leader)
    assert text.count('dkv_peer_link_up{node="h') == 2
    assert 'dkv_raft_messages_sent_total{kind="heartbeat"}' in text
    assert "NaN" not in text


def exposed(services: Services, member: Member) -> str:
    services.measure(raft=lambda: stats_of(member))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(services.metrics.sources)
    return generate_latest(registry).decode()
