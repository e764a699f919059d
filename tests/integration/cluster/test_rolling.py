"""One node after the other is stopped and started again under load, and clients that know all nodes see no error.

A node that is stopped in order has others lead first, and answers the calls that it has.
"""

import pytest
from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.workload import Workload

PATIENCE_SECONDS = 60.0
"""Longer than anything here takes: an error is not one of time."""


@pytest.fixture
def patience_seconds() -> float:
    return PATIENCE_SECONDS


@pytest.mark.timeout(240)
def test_rolling_restart_under_load_costs_a_retrying_client_no_error(cluster: Cluster, load: Workload) -> None:
    """Twice around, so that every node is stopped as leader or as follower, and right after another one came back."""
    for server in [*cluster.servers, *cluster.servers]:
        assert server.stop() == 0, server.output()
        server.start()
        load.go_on(20)
    load.go_on(100, load.workers)
    assert {worker.number: worker.errors for worker in load.roaming if worker.errors} == {}


@pytest.mark.timeout(240)
def test_leaders_stopped_one_after_the_other_cost_a_retrying_client_no_error(cluster: Cluster, load: Workload) -> None:
    """Always the one that leads; the others have a leader when it is gone."""
    for _ in range(3):
        leader, others = cluster.leader_and_followers()
        assert leader.stop() == 0, leader.output()
        assert cluster.leader(among=others) in others
        leader.start()
        load.go_on(20)
    assert {worker.number: worker.errors for worker in load.roaming if worker.errors} == {}
