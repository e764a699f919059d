"""What a node has to do because it has peers: snapshots, sleep, members, clocks, leadership that is better elsewhere.

All vBuckets together; what a single one says to its peers is `Hosted`'s. One order is kept here: groups are put to
sleep before Raft's clock ticks, as a leader with a heartbeat to send is not idle.
"""

from collections.abc import Mapping

from dkv.cluster.formation import Standing
from dkv.node.clocks import Clocks
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted
from dkv.node.lacking import Lacking
from dkv.node.membership import Membership
from dkv.node.peering import MEMBERSHIP_KINDS, SNAPSHOT_KINDS, Peering
from dkv.node.resigning import Resigning
from dkv.node.sleep import Sleep
from dkv.node.snapshots import Snapshots
from dkv.ports.clock import Now, Random
from dkv.ports.consensus import Consensus
from dkv.ports.store import Store
from dkv.wire.peer import Kind


class PeerDuties:
    """Owned by the node; one that stands alone has none."""

    def __init__(
        self,
        node_id: int,
        vbuckets: Mapping[int, Hosted],
        *,
        store: Store,
        consensus: Consensus,
        engine_sync: EngineSync,
        disk: Disk,
        peering: Peering,
        random: Random,
        standing: Standing | None,
    ) -> None:
        """Listens at `peering` from now on. `standing`: how the cluster was formed, None where nobody says."""
        self.snapshots: Snapshots = Snapshots(store, engine_sync, peering, random, vbuckets.get)
        self.sleep: Sleep = Sleep(consensus, peering, vbuckets)
        sent = self.snapshots.bytes_sent
        self.membership: Membership = Membership(node_id, vbuckets, consensus, peering, random, sent, standing)
        self._resigning = Resigning(disk, self.membership, consensus)
        self._lacking = Lacking(consensus, peering, vbuckets)
        self.clocks: Clocks = Clocks(peering, vbuckets, random)
        peering.listen(SNAPSHOT_KINDS, self.snapshots.hear)
        peering.listen(MEMBERSHIP_KINDS, self._hear_of_members)
        peering.listen({Kind.SLEEP}, self._hear_of_sleep)

    def _hear_of_members(self, node: int, kind: int, vbucket: int, body: bytes, _now: Now) -> None:
        self.membership.hear(node, kind, vbucket, body)

    def _hear_of_sleep(self, _node: int, _kind: int, _vbucket: int, body: bytes, _now: Now) -> None:
        self.sleep.hear(body)

    @property
    def patience_ms(self) -> int:
        """How long the next turn may wait for news."""
        return self.snapshots.patience_ms

    def before_tick(self, now: Now) -> None:
        self.sleep.after_turn(now)

    def after_turn(self, now: Now) -> None:
        """What is due unasked."""
        self.snapshots.take_turn(now)
        self.membership.after_turn(now)
        self._resigning.after_turn(now)
        self._lacking.after_turn(now)
        self.clocks.after_turn(now)

    def close(self) -> None:
        self.snapshots.close()
