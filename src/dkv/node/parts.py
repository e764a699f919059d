"""What a node is made of, once each; what there is once for each vBucket is in `Hosted`."""

from collections.abc import Mapping
from dataclasses import dataclass

from dkv.node.applying import Applying
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted
from dkv.node.jobs import Jobs
from dkv.node.meter import Meter
from dkv.node.peer_duties import PeerDuties
from dkv.node.peering import Peering
from dkv.node.readers import Readers
from dkv.node.readiness import Readiness
from dkv.node.scattering import Scattering
from dkv.node.stagings import Stagings
from dkv.node.throttle import Throttle
from dkv.ports.clock import Clock
from dkv.ports.consensus import Consensus
from dkv.ports.edge import Edge
from dkv.ports.store import Store
from dkv.services.registry import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Made by `dkv.node.making`; used by the node alone."""

    edge: Edge
    consensus: Consensus
    store: Store
    clock: Clock
    services: Services
    meter: Meter
    throttle: Throttle
    disk: Disk
    engine_sync: EngineSync
    peering: Peering | None
    """None for a server that stands alone."""
    vbuckets: Mapping[int, Hosted]
    """Those with a replica here."""
    sole: Hosted
    """The first, which speaks for the node where only one can."""
    scattering: Scattering | None
    """Where there are others, too."""
    stagings: Stagings
    duties: PeerDuties | None
    """None for a server that stands alone."""
    readers: Readers
    readiness: Readiness
    applying: Applying
    jobs: Jobs
