"""GetStatus."""

from dkv.model.limits import Limits
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.wire import methods
from dkv.wire.messages import RegionInfo, RegionStatus


def test_status_of_a_node_alone_is_leader_while_it_serves(turn: Turn) -> None:
    """Absent optionals stay absent, and a node that does not serve is inactive."""
    services = Services(Limits(), NodeIdentity("dc1", "h:8080", "db", "v1", "h:8081"))
    services.accept(methods.GET_STATUS, [1], [b""], turn)
    services.beat(turn, 0, False)
    services.accept(methods.GET_STATUS, [2], [b"\xff"], turn)
    first, second = (RegionInfo.FromString(each) for each in turn.replies)
    assert (first.dcID, first.nodeAddress, first.database, first.vBucket) == ("dc1", "h:8080", "db", "v1")
    assert (first.status, second.status) == (RegionStatus.LEADER, RegionStatus.INACTIVE)
    assert first.httpAddress == "h:8081"
    assert not first.HasField("masterHost")
    assert not first.HasField("nexusClusterUrl")


def test_status_of_a_slave_names_its_master() -> None:
    """masterHost is present when there is one."""
    services = Services(Limits(), NodeIdentity(cluster_url="http://a:1"))
    services.discovery_node.master_address = "m:8080"
    region = services.discovery_node.region()
    assert (region.masterHost, region.nexusClusterUrl) == ("m:8080", "http://a:1")


def test_status_of_a_follower_is_not_that_of_a_leader(turn: Turn) -> None:
    """Clients of the original write to whoever says that it leads."""
    services = Services(Limits())
    services.beat(turn, 0, True, is_leader=False)
    assert services.discovery_node.region().status == RegionStatus.PRIMARY_FOLLOWER
    services.beat(turn, 1, True, is_leader=True)
    assert services.discovery_node.region().status == RegionStatus.LEADER
    services.beat(turn, 2, False, is_leader=False)
    assert services.discovery_node.region().status == RegionStatus.INACTIVE
