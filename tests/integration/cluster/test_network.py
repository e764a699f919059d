"""Links that are cut under load, in network namespaces: whoever has a majority goes on, nobody reads what is past.

Clients reach every node all the time, also one that is cut off: those who stay with it are refused, or told that nobody
knows, and both is checked.
"""

from collections.abc import Iterator

import pytest
from tests.integration.cluster.network import Network, NetworkServer, network_or_skip
from tests.integration.cluster.nodes import Cluster
from tests.integration.cluster.workload import Workload
from tests.integration.conftest import Wire

STEPS = 100


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    made = network_or_skip()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, wire: Wire, network: Network) -> Iterator[Cluster]:
    """Takes the place of the cluster on loopback."""
    made = Cluster(tmp_path_factory.mktemp("network"), wire)
    try:
        yield made.form(make=lambda folder: NetworkServer(folder, network))
        codes = [server.stop() for server in made.servers]
        assert codes == [0] * len(codes), [server.output() for server in made.servers]
    finally:
        made.close()


def test_leader_without_its_cable_is_replaced(cluster: Cluster, network: Network, load: Workload) -> None:
    """It knows in time that it does not lead any more: its clients are refused, and never read what is past."""
    leader, others = cluster.leader_and_followers()
    with network.unplugged(leader):
        load.go_on(STEPS, load.staying(*(server.address for server in others)))
        cluster.leader(among=others)
    load.go_on(STEPS, load.workers)


def test_follower_without_its_cable_is_not_missed(cluster: Cluster, network: Network, load: Workload) -> None:
    """When it is back it deposes nobody."""
    leader, (follower, other) = cluster.leader_and_followers()
    term = cluster.members(leader).groups[0].term
    with network.unplugged(follower):
        load.go_on(2 * STEPS, load.staying(leader.address, other.address))
    load.go_on(STEPS, load.workers)
    assert cluster.members(leader).groups[0].term == term


@pytest.mark.parametrize("is_leader_mute", [False, True])
def test_leader_cut_off_in_one_direction_is_replaced(
    cluster: Cluster, network: Network, load: Workload, is_leader_mute: bool
) -> None:
    """Whether nobody hears it or it hears nobody: the others agree on another one, and it finds out."""
    leader, others = cluster.leader_and_followers()
    pairs = [(leader, other) if is_leader_mute else (other, leader) for other in others]
    with network.deaf(*pairs):
        cluster.leader(among=others)
        load.go_on(STEPS, load.staying(*(server.address for server in others)))
    load.go_on(STEPS, load.workers)


@pytest.mark.parametrize("is_follower_mute", [False, True])
def test_follower_cut_off_in_one_direction_is_not_missed(
    cluster: Cluster, network: Network, load: Workload, is_follower_mute: bool
) -> None:
    """It may well ask for votes: nobody who hears the leader gives one."""
    leader, (follower, other) = cluster.leader_and_followers()
    pairs = [(follower, each) if is_follower_mute else (each, follower) for each in (leader, other)]
    with network.deaf(*pairs):
        load.go_on(2 * STEPS, load.staying(leader.address, other.address))
    load.go_on(STEPS, load.workers)
    assert cluster.leader() is leader


def test_link_between_leader_and_one_follower_is_cut(cluster: Cluster, network: Network, load: Workload) -> None:
    """Both reach the third. Who leads may change, but not again and again: the third always has a majority."""
    leader, (follower, third) = cluster.leader_and_followers()
    with network.deaf((leader, follower), (follower, leader)):
        load.go_on(2 * STEPS, load.staying(third.address))
    load.go_on(STEPS, load.workers)


def test_nobody_reaches_anybody_and_then_all_do(cluster: Cluster, network: Network, load: Workload) -> None:
    """Nothing is acknowledged meanwhile, and everything goes on by itself."""
    first, second, third = cluster.servers
    with network.unplugged(first), network.unplugged(second), network.unplugged(third):
        load.fail(1)
    load.go_on(STEPS, load.workers)
