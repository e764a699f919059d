"""Makes a node: its parts, joined. Constructors only; whoever makes one has chosen the ports and opened the groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dkv.model.limits import Limits
from dkv.node.applying import Applying
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.forwarding import Forwarding
from dkv.node.hosted import Hosted
from dkv.node.jobs import Jobs
from dkv.node.lease import LeaseTerms
from dkv.node.merged_scan import merged_rows
from dkv.node.meter import Meter
from dkv.node.node import Node
from dkv.node.parts import Parts
from dkv.node.peer_duties import PeerDuties
from dkv.node.peering import STAGE_KINDS, Peering
from dkv.node.readers import Readers
from dkv.node.readiness import Readiness
from dkv.node.restoring import Surroundings
from dkv.node.scattering import Scattering
from dkv.node.stagings import Stagings
from dkv.node.throttle import Throttle
from dkv.node.upkeep import Upkeep
from dkv.node.vbucket_looks import VBucketLooks
from dkv.ports.backups import Backups
from dkv.ports.clock import Clock, Now, Random
from dkv.ports.consensus import Consensus
from dkv.ports.edge import Edge
from dkv.ports.peers import Peers
from dkv.ports.store import Store
from dkv.services.registry import Services
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

WRITE_TIMEOUT_MS = 5_000
"""What a write may wait for its quorum: `nexus-repl-timeout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a node is made from: ports, its replicas, and its settings."""

    edge: Edge
    consensus: Consensus
    """The groups of all replicas are open."""
    store: Store
    clock: Clock
    random: Random
    backups: Backups
    peers: Peers | None = None
    """The other nodes; None for a server that stands alone."""
    services: Services
    replicas: Sequence[Replica]
    """One of each vBucket of the database, the first one first."""
    limits: Limits
    retention: Retention = field(default_factory=Retention)
    meter: Meter = field(default_factory=Meter)
    free_bytes_min: int = 0
    node_id: int = 0
    """Of this one among its peers."""
    write_timeout_ms: int = WRITE_TIMEOUT_MS
    lease_terms: LeaseTerms | None = None
    """None for a leader that asks its quorum for every read."""

    def draw(self) -> int:
        """A number that no other life of this node has begun to count from, or will."""
        return int.from_bytes(self.random.bytes(8), "big")


def make_node(given: Given) -> Node:
    """One that is ready for its first turn."""
    store, consensus, services = given.store, given.consensus, given.services
    disk, engine_sync = Disk(store, given.free_bytes_min), EngineSync(store)
    peering = _peering(given)
    duties: PeerDuties | None = None

    def want_snapshot(vbucket: int, replica: int, now: Now) -> None:
        assert duties is not None, "who stands alone has no followers"
        duties.snapshots.want(vbucket, replica, now)

    throttle = Throttle(store)
    vbuckets = {
        replica.vbucket: Hosted(
            replica,
            store=store,
            consensus=consensus,
            limits=given.limits,
            meter=given.meter,
            throttle=throttle,
            disk=disk,
            upkeep=Upkeep(store, consensus, replica, given.meter, given.retention),
            peering=peering,
            want_snapshot=want_snapshot,
            first_request_id=given.draw(),
            write_timeout_ms=given.write_timeout_ms,
            lease_terms=given.lease_terms,
        )
        for replica in given.replicas
    }
    stagings = Stagings(store, engine_sync, disk, peering, vbuckets)
    if peering is not None:
        duties = _duties(given, vbuckets, engine_sync, disk, peering, stagings)
    membership = duties.membership if duties is not None else None
    around = Surroundings(vbuckets, consensus, store, stagings, peering, membership)
    incoming = duties.snapshots.arrivals.vbuckets if duties is not None else ()
    services.node_status.observe(given.edge, consensus, store, VBucketLooks(vbuckets, consensus, stagings, incoming))
    sole = vbuckets[given.replicas[0].vbucket]
    return Node(
        Parts(
            edge=given.edge,
            consensus=consensus,
            store=store,
            clock=given.clock,
            services=services,
            meter=given.meter,
            throttle=throttle,
            disk=disk,
            engine_sync=engine_sync,
            peering=peering,
            vbuckets=vbuckets,
            sole=sole,
            scattering=_scattering(given, vbuckets, sole),
            stagings=stagings,
            duties=duties,
            readers=Readers(vbuckets, given.limits),
            readiness=Readiness(vbuckets),
            applying=Applying(store, consensus, given.meter),
            jobs=Jobs(around, disk, given.backups, given.random),
        )
    )


def _peering(given: Given) -> Peering | None:
    if given.peers is None:
        return None
    numbers = {path: number for number, (path, _) in enumerate(given.services.methods)}
    return Peering(given.peers, Forwarding(given.draw(), given.write_timeout_ms), numbers)


def _scattering(given: Given, vbuckets: Mapping[int, Hosted], sole: Hosted) -> Scattering | None:
    """What concerns several is asked of each; rows of all of them come in one walk."""
    if len(vbuckets) == 1:
        return None
    sole.scans.open_rows = lambda request: merged_rows(given.store, vbuckets.values(), request)
    return Scattering([path for path, _ in given.services.methods], sorted(vbuckets), given.limits)


def _duties(
    given: Given,
    vbuckets: Mapping[int, Hosted],
    engine_sync: EngineSync,
    disk: Disk,
    peering: Peering,
    stagings: Stagings,
) -> PeerDuties:
    """What a node does besides that has peers."""
    cluster = given.services.cluster
    duties = PeerDuties(
        given.node_id,
        vbuckets,
        store=given.store,
        consensus=given.consensus,
        engine_sync=engine_sync,
        disk=disk,
        peering=peering,
        random=given.random,
        standing=cluster.standing if cluster is not None else None,
    )
    peering.listen(STAGE_KINDS, stagings.hear)
    duties.membership.is_restoring = lambda: stagings.is_restoring_here
    if cluster is not None:
        cluster.observe(duties.membership)
    return duties
