"""All services of a node behind two functions: calls by method number, and HTTP requests."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from dkv.cluster.formation import Standing
from dkv.model.limits import Limits
from dkv.ports.edge import HttpRequest
from dkv.services.backups import BackupService
from dkv.services.calls import Accept
from dkv.services.cluster import ClusterService
from dkv.services.discovery_node import DiscoveryNodeService, NodeIdentity
from dkv.services.feed import ChangesOfPuts, FeedService, by_commands
from dkv.services.health import HealthService
from dkv.services.kv import KvService
from dkv.services.metrics import Metrics, Stats
from dkv.services.node_status import NodeStatusService
from dkv.services.ops import OpsService
from dkv.services.reflection import ReflectionService
from dkv.services.replication import ReplicationService
from dkv.services.turn import Turn
from dkv.wire import methods
from dkv.wire.methods import METHODS, services_of

WRITES = frozenset(
    (
        methods.PUT,
        methods.DELETE,
        methods.MULTI_PUT,
        methods.COMPARE_AND_SET,
        methods.DELETE_RANGE,
        methods.ADD_REPLICA,
        methods.REMOVE_REPLICA,
    )
)


class Services:
    """What a node serves. One thread calls it."""

    def __init__(
        self,
        limits: Limits,
        identity: NodeIdentity | None = None,
        standing: Standing | None = None,
        *,
        has_fast_writes: bool = False,
        changes_of_puts: ChangesOfPuts = by_commands,
    ) -> None:
        """`standing`: what a node of a cluster is there, its charter included. `changes_of_puts`: a quicker way, if the
        edge has one."""
        self.kv: KvService = KvService(limits, has_fast_writes=has_fast_writes)
        self.health: HealthService = HealthService()
        identity = identity or NodeIdentity()
        self.discovery_node: DiscoveryNodeService = DiscoveryNodeService(identity)
        self.metrics: Metrics = Metrics()
        self.node_status: NodeStatusService = NodeStatusService(
            identity,
            lambda: self.health.is_serving,
            lambda: self.metrics.sources.turns(),
            lambda: self.metrics.sources.raft(),
            standing,
        )
        self.ops: OpsService = OpsService(self.health, self.metrics)
        accepts: dict[int, Accept] = {
            **self.kv.accepts,
            **self.health.accepts,
            **self.discovery_node.accepts,
            **self.node_status.accepts,
            **FeedService(limits, changes_of_puts).accepts,
            **BackupService().accepts,
        }
        if identity.role == "master":
            accepts |= ReplicationService().accepts
        self.cluster: ClusterService | None = None if standing is None else ClusterService(standing)
        """Of a cluster only; it is shown the node before the first turn."""
        if self.cluster is not None:
            accepts |= self.cluster.accepts
        accepts |= ReflectionService(services_of(METHODS[number][0] for number in accepts)).accepts
        self._accepts = [accepts[number] for number in sorted(accepts)]
        self.methods: list[tuple[str, int]] = [METHODS[number] for number in sorted(accepts)]
        """(path, mode) of what this role serves: what an edge server is made with; its numbers are places here."""
        self.writes: frozenset[int] = frozenset(
            place for place, number in enumerate(sorted(accepts)) if number in WRITES
        )
        """The places of what only a leader answers."""
        self.discovery_node.beat(self.health.is_serving)

    def accept(self, method: int, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Fills the turn's columns with what the calls of one of `methods` ask for. Never raises for what was sent."""
        self._accepts[method](call_ids, messages, turn)

    def accept_http(self, requests: Sequence[HttpRequest], turn: Turn) -> None:
        """Answers HTTP requests in the same turn."""
        self.ops.accept_http(requests, turn)

    def forget(self, closed: Collection[int]) -> None:
        """Callers of open streams have gone."""
        self.health.forget(closed)
        self.ops.forget(closed)

    @property
    def has_work(self) -> bool:
        """Something goes on in the next turn, whether or not there is news."""
        return self.ops.has_work

    def beat(self, turn: Turn, monotonic_ms: int, is_serving: bool, is_leader: bool = True) -> None:
        """Once a turn, before its effects leave: what services do unasked. `is_serving`: calls can be answered.
        `is_leader`: of the first vBucket, which speaks for the node where one has to."""
        self.health.beat(turn, monotonic_ms, is_serving)
        self.discovery_node.beat(self.health.is_serving, is_leader)
        self.node_status.beat(monotonic_ms)
        self.metrics.sources.beat(monotonic_ms)
        if self.cluster is not None:
            self.cluster.beat(turn, monotonic_ms)
        self.ops.beat(turn, monotonic_ms, self.health.is_shutting_down)

    def reached_at(self, node_address: str, http_address: str) -> None:
        """The addresses that others are told, known once the listeners are bound."""
        identity = replace(self.discovery_node.identity, node_address=node_address, http_address=http_address)
        self.discovery_node.identity = self.node_status.identity = identity

    def shutting_down(self) -> None:
        """From now on the node says that it does not serve; watches end with the next beat."""
        self.health.shutting_down()

    def measure(
        self,
        *,
        node: Stats | None = None,
        turns: Stats | None = None,
        edge: Stats | None = None,
        store: Stats | None = None,
        consensus: Stats | None = None,
        raft: Stats | None = None,
    ) -> None:
        """Where /metrics reads; each is a `stats` function of a port, or of the node; `turns` are those of its
        thread alone."""
        sources = self.metrics.sources
        sources.node = node or sources.node
        sources.turns = turns or sources.turns
        sources.edge = edge or sources.edge
        sources.store = store or sources.store
        sources.consensus = consensus or sources.consensus
        sources.raft = raft or sources.raft
