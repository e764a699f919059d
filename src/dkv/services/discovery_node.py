"""dkv.serverpb.DKVDiscoveryNode: every node says what it is for its vBucket."""

from collections.abc import Sequence
from dataclasses import dataclass

from dkv.services.calls import Accept
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

LEADER, FOLLOWER, INACTIVE = (
    wire.RegionStatus.LEADER,
    wire.RegionStatus.PRIMARY_FOLLOWER,
    wire.RegionStatus.INACTIVE,
)


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What does not change while a node runs."""

    dc_id: str = "default"
    node_address: str = ""
    """host:port at which clients reach its gRPC."""
    database: str = "default"
    vbucket: str = "default"
    http_address: str = ""
    """host:port at which its HTTP is reached."""
    cluster_url: str = ""
    """Raft URLs of its cluster, comma-separated; empty without Raft."""
    version: str = ""
    node_name: str = ""
    role: str = "none"
    folder: str = ""
    engine: str = ""
    free_bytes_min: int = 0
    """Below this much free on the disk, writes are refused."""


class DiscoveryNodeService:
    """Owns the node's RegionInfo: while it serves the leader of its vBucket, as a node alone is, or a follower of one
    that it knows; else inactive."""

    def __init__(self, identity: NodeIdentity) -> None:
        self.identity = identity
        self.accepts: dict[int, Accept] = {methods.GET_STATUS: self.get_status}
        """By method number."""
        self.status: int = INACTIVE
        self.master_address = ""
        """The master a slave follows, host:port."""

    def beat(self, is_serving: bool, is_leader: bool = True) -> None:
        """Once a turn. One that serves and leads nothing has a leader."""
        self.status = (LEADER if is_leader else FOLLOWER) if is_serving else INACTIVE

    def region(self) -> wire.RegionInfo:
        """What GetStatus answers and a heartbeat carries."""
        known = self.identity
        return wire.RegionInfo(
            dcID=known.dc_id,
            nodeAddress=known.node_address,
            database=known.database,
            vBucket=known.vbucket,
            status=self.status,
            masterHost=self.master_address or None,
            nexusClusterUrl=known.cluster_url or None,
            httpAddress=known.http_address,
        )

    def get_status(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetStatus takes nothing, so what was sent is not looked at."""
        reply = self.region().SerializeToString()
        turn.reply_ids += call_ids
        turn.replies += [reply] * len(call_ids)
