"""Members that come and go under load: nothing acknowledged is lost, and whoever is gone says so and serves no more.

Clients that stay with a node that is removed are told "nothing happened" or "nobody knows", and their word is checked.
"""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.integration.cluster.nodes import (
    LINEARIZABLE,
    NOT_SERVING,
    UPSTREAM,
    Cluster,
    eventually,
)
from tests.integration.cluster.workload import Workload
from tests.integration.conftest import Server, Wire

STEPS = 100


@pytest.fixture
def cluster(tmp_path: Path, wire: Wire) -> Iterator[Cluster]:
    """Three nodes of this test alone."""
    made = Cluster(tmp_path, wire)
    try:
        yield made.form()
    finally:
        made.close()


def check_gone(cluster: Cluster, server: Server, load: Workload) -> None:
    """It says that it was removed, is not well, and answers neither reads nor writes."""
    server.wait_for("this node was removed from the cluster")
    eventually(lambda: cluster.health(server), lambda status: status == NOT_SERVING)
    client = cluster.client(server)
    for asked in ({}, {"readConsistency": LINEARIZABLE}):
        assert client.refused("Get", key=b"settled", **asked)[0] == grpc.StatusCode.UNAVAILABLE
    assert client.refused("Put", key=b"settled", value=b"")[0] == grpc.StatusCode.UNAVAILABLE
    load.go_on(STEPS)


def test_node_added_under_load_gets_its_vote_and_everything(cluster: Cluster, load: Workload) -> None:
    """It answers like the others, and one of the old ones may go for good then."""
    newcomer = cluster.join(by=cluster.servers[0])
    load.go_on(STEPS, load.workers)
    client = cluster.client(newcomer)
    assert eventually(lambda: client("Put", key=b"by the fourth", value=b"v"))
    assert client("Get", key=b"by the fourth", readConsistency=LINEARIZABLE).value == b"v"
    leader = cluster.leader()
    leader.kill()
    load.go_on(STEPS)
    leader.start()
    load.go_on(STEPS, load.workers)


def test_follower_removed_under_load_says_so_and_serves_no_more(cluster: Cluster, load: Workload) -> None:
    """The others are enough for each other."""
    leader, (follower, _) = cluster.leader_and_followers()
    cluster.remove(follower, by=leader)
    check_gone(cluster, follower, load)
    assert follower.stop() == 0, follower.output()


def test_leader_removed_under_load_hands_over_first(cluster: Cluster, load: Workload) -> None:
    """Whether it is asked itself, or another node."""
    leader, others = cluster.leader_and_followers()
    cluster.remove(leader, by=leader)
    check_gone(cluster, leader, load)
    assert cluster.leader(among=others) in others
    second, (last,) = cluster.leader_and_followers()
    cluster.remove(second, by=last)
    check_gone(cluster, second, load)
    code, text = cluster.client(last).refused("RemoveNode", on=UPSTREAM, nodeUrl=f"http://{last.member_address}")
    assert (code, "the last member cannot be removed" in text) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_node_replaced_under_load(cluster: Cluster, load: Workload) -> None:
    """One joint change: the one votes and the other is gone at the same point of the log. Also if it leads."""
    leader, (asked, _) = cluster.leader_and_followers()
    newcomer = cluster.waiting(by=asked)
    eventually(lambda: cluster.replace(leader, newcomer, by=asked) or True)
    newcomer.wait_for("serves gRPC on")
    check_gone(cluster, leader, load)
    assert cluster.voters(asked) == {server.member_address for server in cluster.servers}


def test_lost_folder_is_refused_until_it_was_removed_and_added_again(cluster: Cluster, load: Workload) -> None:
    """Under load: as what it was the node could elect itself into a past without what it had acknowledged."""
    leader, (lost, other) = cluster.leader_and_followers()
    lost.kill()
    cluster.wipe(lost)
    lost.launch()
    assert lost.process is not None
    assert lost.process.wait(30) == 1, lost.output()
    assert "which does not know it: remove it from the cluster, then add it again" in lost.output()
    load.go_on(STEPS)
    cluster.remove(lost, by=other)
    again = cluster.join_again(lost, by=leader)
    load.go_on(STEPS, load.workers)
    assert cluster.voters(leader) == {server.member_address for server in (leader, other, again)}


def test_removed_node_comes_back_with_an_empty_folder_only(cluster: Cluster, load: Workload) -> None:
    """Its old folder does not know of the removal if it was away then, but all others do; wiped, it is a newcomer."""
    leader, (follower, _) = cluster.leader_and_followers()
    follower.kill()
    cluster.remove(follower, by=leader)
    follower.start().wait_for("was removed")
    assert cluster.health(follower) == NOT_SERVING
    assert cluster.client(follower).refused("Put", key=b"settled", value=b"")[0] == grpc.StatusCode.UNAVAILABLE
    load.go_on(STEPS)
    assert follower.stop() == 0
    cluster.wipe(follower)
    cluster.join_again(follower, by=leader)
    load.go_on(STEPS, load.workers)
