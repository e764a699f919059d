"""Nodes that are killed under load: nothing acknowledged is lost, nothing happens twice, nobody reads what is past."""

from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.workload import Workload


def test_leader_killed_under_load_is_replaced_and_comes_back(cluster: Cluster, load: Workload) -> None:
    """Clients go on with the others, and with it once it has started again."""
    leader, others = cluster.leader_and_followers()
    leader.kill()
    load.go_on(200)
    cluster.leader(among=others)
    leader.start()
    load.go_on(200, load.workers)


def test_follower_killed_under_load_is_not_missed_and_catches_up(cluster: Cluster, load: Workload) -> None:
    """The leader stays."""
    leader, (follower, _) = cluster.leader_and_followers()
    follower.kill()
    load.go_on(200)
    assert cluster.leader_as_seen_by(leader) is leader
    follower.start()
    load.go_on(200, load.workers)


def test_all_killed_under_load_come_back_with_what_they_acknowledged(cluster: Cluster, load: Workload) -> None:
    """No process has anything but what it had written."""
    for server in cluster.servers:
        server.kill()
    for server in cluster.servers:
        server.launch()
    for server in cluster.servers:
        server.wait_for("serves gRPC on")
    load.go_on(200, load.workers)
