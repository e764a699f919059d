"""dkv.v1.Status: what an operator looks at, read from the node's parts when somebody asks.

Nothing is counted here. It answers also while the node does not serve: that is when it is wanted most.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dkv.cluster.formation import Standing
from dkv.ports.consensus import Consensus
from dkv.ports.edge import Edge
from dkv.ports.store import Store
from dkv.services.calls import Accept, parse_each
from dkv.services.discovery_node import NodeIdentity
from dkv.services.metrics import Stats
from dkv.services.turn import Turn
from dkv.services.vbuckets import VBuckets, first_and_summary, page
from dkv.wire import messages as wire
from dkv.wire import methods

Parts = tuple[Edge, Consensus, Store, VBuckets]


class NodeStatusService:
    """Owns the time of the first turn, and knows the node's parts: it reads them and changes nothing."""

    def __init__(
        self,
        identity: NodeIdentity,
        is_serving: Callable[[], bool],
        turn_stats: Stats,
        raft_stats: Stats = dict,
        standing: Standing | None = None,
    ) -> None:
        """`standing`: of a node of a cluster."""
        self.identity: NodeIdentity = identity
        self._is_serving, self._turn_stats, self._raft_stats = is_serving, turn_stats, raft_stats
        self._standing = standing
        self._parts: Parts | None = None
        self._started_ms: int | None = None
        self._monotonic_ms = 0
        self.accepts: dict[int, Accept] = {
            methods.GET_NODE_STATUS: self.get_node_status,
            methods.GET_VBUCKETS: self.get_vbuckets,
        }
        """By method number."""

    def observe(self, edge: Edge, consensus: Consensus, store: Store, vbuckets: VBuckets) -> None:
        """The parts of the node that it speaks of."""
        self._parts = edge, consensus, store, vbuckets

    def beat(self, monotonic_ms: int) -> None:
        """Once a turn."""
        self._monotonic_ms = monotonic_ms
        if self._started_ms is None:
            self._started_ms = monotonic_ms

    def get_node_status(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetNodeStatus takes nothing, so what was sent is not looked at."""
        reply = self.status(turn.log_time).SerializeToString()
        turn.reply_ids += call_ids
        turn.replies += [reply] * len(call_ids)

    def get_vbuckets(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetVBucketsRequest. Of a node without parts: none."""
        ids, requests = parse_each(wire.GetVBucketsRequest.FromString, call_ids, messages, turn)
        turn.reply_ids += ids
        turn.replies += [self._page(request).SerializeToString() for request in requests]

    def _page(self, request: wire.GetVBucketsRequest) -> wire.GetVBucketsResponse:
        if self._parts is None:
            return wire.GetVBucketsResponse()
        *_, vbuckets = self._parts
        return page(self.identity, vbuckets, request)

    def status(self, now_ms: int) -> wire.GetNodeStatusResponse:
        """All of it, as of this turn."""
        known = self.identity
        reply = wire.GetNodeStatusResponse(
            version=known.version,
            nodeName=known.node_name,
            role=known.role,
            isServing=self._is_serving(),
            uptimeMs=0 if self._started_ms is None else self._monotonic_ms - self._started_ms,
            nowMs=now_ms,
            address=known.node_address,
            httpAddress=known.http_address,
            folder=known.folder,
            dcId=known.dc_id,
        )
        if self._parts is not None:
            edge, consensus, store, vbuckets = self._parts
            first, summary = first_and_summary(known, vbuckets)
            reply.vBuckets.append(first)
            reply.summary.CopyFrom(summary)
            reply.storage.CopyFrom(storage_status(known, store))
            reply.log.CopyFrom(log_status(consensus.stats()))
            reply.edge.CopyFrom(edge_status(edge.stats()))
        if numbers := self._turn_stats():
            reply.turns.CopyFrom(turn_status(numbers))
        if self._standing is not None and "peers" in (raft := self._raft_stats()):
            reply.cluster.CopyFrom(cluster_status(self._standing, raft))
        return reply


def storage_status(known: NodeIdentity, store: Store) -> wire.StorageStatus:
    numbers, pressure = store.stats(), store.pressure()

    def read(name: str) -> int:
        return int(numbers.get(f"engine_{name}", 0))

    return wire.StorageStatus(
        engine=known.engine,
        rowsEstimate=read("rows_estimate"),
        liveBytesEstimate=read("live_bytes"),
        filesBytes=read("files_bytes"),
        memtableBytes=read("memtable_bytes"),
        cacheBytes=read("cache_bytes"),
        pendingCompactionBytes=read("pending_compaction_bytes"),
        isWriteStopped=pressure.stopped,
        delayedBytesPerSecond=pressure.delayed_bytes_per_s,
        freeBytes=store.free_bytes(),
        freeBytesMin=known.free_bytes_min,
    )


def log_status(numbers: Mapping[str, Any]) -> wire.LogStatus:
    return wire.LogStatus(
        appends=int(numbers.get("appends", 0)),
        appendBytes=int(numbers.get("append_bytes", 0)),
        syncs=int(numbers.get("syncs", 0)),
        syncSecondsTotal=numbers.get("sync_seconds_total", 0.0),
        syncSecondsMax=numbers.get("sync_seconds_max", 0.0),
        queuedBytes=int(numbers.get("queued_bytes", 0)),
        diskBytes=int(numbers.get("disk_bytes", 0)),
    )


def edge_status(numbers: Mapping[str, Any]) -> wire.EdgeStatus:
    return wire.EdgeStatus(
        connections=numbers.get("connections", 0),
        streams=numbers.get("streams", 0),
        inboxCalls=numbers.get("inbox_calls", 0),
        inboxBytes=numbers.get("inbox_bytes", 0),
        overloaded=numbers.get("overloaded", 0),
        methods=method_statuses(numbers.get("calls", {}), numbers.get("latency", {})),
        latencyBoundsSeconds=numbers.get("latency_bounds", ()),
    )


def turn_status(numbers: Mapping[str, Any]) -> wire.TurnStatus:
    return wire.TurnStatus(
        turns=numbers["turns"],
        calls=int(numbers["turn_calls"].total),
        secondsTotal=numbers["turn_seconds"].total,
        openIterates=numbers["iterates_open"],
    )


def cluster_status(own: Standing, numbers: Mapping[str, Any]) -> wire.ClusterStatus:
    """Of a node among others. `numbers`: what /metrics tells of Raft, too."""
    peers = [
        wire.PeerStatus(
            node=each["node"],
            address=address,
            isUp=bool(each["up"]),
            refusal=each["refusal"],
            queuedBytes=each["queued_bytes"],
            lagEntries=each["lag"],
        )
        for address, each in sorted(numbers["peers"].items())
    ]
    return wire.ClusterStatus(
        name=own.name,
        node=own.node,
        leader=numbers["leader"],
        groups=numbers["groups"],
        led=numbers["led"],
        leaderless=numbers["leaderless"],
        asleep=numbers["groups"] - numbers["awake"],
        unappliedEntries=numbers["unapplied"],
        appliedEntries=numbers["applied"],
        changes=numbers["changes"],
        elections=numbers["elections"],
        snapshotsOutgoing=numbers["snapshots_outgoing"],
        snapshotsIncoming=numbers["snapshots_incoming"],
        snapshotBytesSent=numbers["snapshot_bytes_sent"],
        snapshotBytesReceived=numbers["snapshot_bytes_received"],
        peers=peers,
    )


def method_statuses(
    calls: Mapping[tuple[str, int], int], latency: Mapping[str, tuple[Sequence[int], float]]
) -> list[wire.MethodStatus]:
    """By path, those that were called at all."""
    by_path: dict[str, wire.MethodStatus] = {}
    for (path, code), count in sorted(calls.items()):
        if count:
            each = by_path.setdefault(path, wire.MethodStatus(path=path))
            each.calls += count
            each.errors += count if code else 0
    for path, each in by_path.items():
        counts, each.latencySecondsTotal = latency.get(path, ((), 0.0))
        each.latencyCounts.extend(counts)
    return list(by_path.values())
