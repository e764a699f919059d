"""The nodes of a cluster as a table, and what is wrong with it as sentences. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dkv.cli.ctl.fleet import Look, NodeLook
from dkv.cli.ctl.rates import MethodRate, Rates, method_name
from dkv.cli.ctl.units import bytes_text, count_text, latency_text, span_text
from dkv.cli.ctl.vbucket_text import condition_lines, vbuckets_text
from dkv.cluster.group import FAR_BEHIND_ENTRIES, UNHEARD
from dkv.services.histogram import Histogram
from dkv.wire import messages as pb
from dkv.wire.methods import METHODS, UNARY

_TOLD_OTHERWISE = frozenset(("NO_LEADER", "CATCHING_UP", "REMOVED", "RECEIVES_SNAPSHOT", "REPLICA_LAGS"))
"""Of the conditions of a node's vBuckets: what the groups, the lags and who serves say better."""
_UNARY = frozenset(method_name(path) for path, mode in METHODS if mode == UNARY)
_ADDRESS_WIDTH_MIN = 16


class Row(NamedTuple):
    """One node that answered."""

    status: pb.GetNodeStatusResponse
    lag: int | None
    """Entries behind its leaders; None: no leader of another node's has told."""
    rates: Rates | None
    """None: there is nothing to compare with."""


class Column(NamedTuple):
    head: str
    width: int
    cell: Callable[[Row], str]


COLUMNS = (
    Column("ROLE", 10, lambda row: role_text(row.status.cluster)),
    Column("CALLS/S", 9, lambda row: count_text(row.rates.calls) if row.rates else ""),
    Column("P99", 8, lambda row: _short(_latency(row.rates).quantile(0.99)) if row.rates else ""),
    Column("BUSY", 5, lambda row: f"{row.rates.busy_share:.0%}" if row.rates else ""),
    Column("LAG", 8, lambda row: lag_text(row)),
    Column("UNAPPL", 7, lambda row: count_text(row.status.cluster.unappliedEntries)),
    Column("SNAPS", 8, lambda row: snapshots_text(row.status.cluster)),
    Column("LINKS", 6, lambda row: links_text(row.status.cluster)),
    Column("ASLEEP", 8, lambda row: count_text(row.status.cluster.asleep)),
    Column("ERR/S", 8, lambda row: count_text(row.rates.errors) if row.rates else ""),
    Column("UP", 12, lambda row: span_text(row.status.uptimeMs / 1000)),
    Column("FREE", 9, lambda row: bytes_text(row.status.storage.freeBytes).replace(" ", "")),
)
"""The first ones are what an 80 columns wide terminal has room for."""


def rows_of(look: Look, rates: Mapping[int, Rates]) -> dict[int, Row]:
    """By node, those that answered. `rates`: of those that answered before, too."""
    lags: dict[int, int] = {}
    for each in look.nodes:
        if each.status is not None and each.status.cluster.led:
            for peer in each.status.cluster.peers:
                lags[peer.node] = max(lags.get(peer.node, 0), peer.lagEntries)
    return {
        each.node: Row(each.status, _lag(each.status.cluster, lags.get(each.node)), rates.get(each.node))
        for each in look.nodes
        if each.status is not None
    }


def _lag(cluster: pb.ClusterStatus, told: int | None) -> int | None:
    """Who leads everything is nobody's follower."""
    return None if cluster.led == cluster.groups else told


def table(look: Look, rows: Mapping[int, Row], columns: Sequence[Column], width: int) -> Iterator[str]:
    """A head and a line a node; of `columns` those that fit."""
    first = max([_ADDRESS_WIDTH_MIN, *(len(each.address) for each in look.nodes)])
    fitting: list[Column] = []
    for column in columns:
        if first + sum(each.width for each in fitting) + column.width <= width:
            fitting.append(column)
    yield f"{'NODE':<{first}}" + "".join(f"{each.head:>{each.width}}" for each in fitting)
    for each in look.nodes:
        row = rows.get(each.node)
        if row is None:
            yield f"{each.address:<{first}}  no answer: {each.why}"[:width]
        else:
            yield f"{each.address:<{first}}" + "".join(f"{column.cell(row):>{column.width}}" for column in fitting)


def role_text(cluster: pb.ClusterStatus) -> str:
    if cluster.leaderless:
        return "no leader"
    if cluster.led and cluster.groups > 1:
        return f"leads {cluster.led}"
    return "leader" if cluster.led else "follower"


def lag_text(row: Row) -> str:
    if row.lag is None:
        return "-"
    return count_text(row.lag) if row.lag < UNHEARD else "unheard"


def snapshots_text(cluster: pb.ClusterStatus) -> str:
    """On their way: out to others, in from others."""
    parts = [(cluster.snapshotsOutgoing, "out"), (cluster.snapshotsIncoming, "in")]
    return " ".join(f"{count}{way}" for count, way in parts if count) or "-"


def links_text(cluster: pb.ClusterStatus) -> str:
    return f"{sum(peer.isUp for peer in cluster.peers)}/{len(cluster.peers)}"


def head_line(look: Look) -> str:
    """Name, nodes, and who leads."""
    cluster, answered = look.cluster, [each for each in look.nodes if each.status is not None]
    vbuckets = max((each.status.cluster.groups for each in answered if each.status is not None), default=0)
    return f"cluster {cluster.name}: {len(answered)} of {len(look.nodes)} nodes answer, {leader_text(look, vbuckets)}"


def leader_text(look: Look, vbuckets: int) -> str:
    leaders = [each.address for each in look.cluster.nodes if each.leads]
    if vbuckets == 1:
        return f"leader {leaders[0]}" if leaders else "no leader"
    led = sum(each.leads for each in look.cluster.nodes)
    return f"{vbuckets} vBuckets, {led} of them led, by {len(leaders)} node{'s' * (len(leaders) != 1)}"


def problems(look: Look, rows: Mapping[int, Row]) -> Iterator[str]:
    """What an operator should look at, the worst first. The look must have all groups."""
    answered, addresses = rows.keys(), {each.node: each.address for each in look.nodes}
    leaderless = [group.vBucket for group in look.cluster.groups if not group.leader]
    if leaderless:
        yield f"no leader: {_named(look, leaderless)}"
    lost, tight = _quorums(look, frozenset(answered))
    if lost:
        yield f"too few nodes answer for a majority: {_named(look, lost)}"
    for each in look.nodes:
        if each.status is None:
            yield f"{each.address} does not answer: {each.why}"
        elif not each.status.isServing:
            yield f"{each.address} does not serve"
    if tight:
        yield f"no other node may fail: {_named(look, tight)} would have no majority"
    for node, row in rows.items():
        for peer in row.status.cluster.peers:
            if not peer.isUp and peer.node in answered:
                yield f"{addresses[node]} is not in touch with {peer.address}" + (peer.refusal and f": {peer.refusal}")
        if row.lag is not None and row.lag > FAR_BEHIND_ENTRIES:
            far = "has not answered its leader" if row.lag >= UNHEARD else f"is {count_text(row.lag)} entries behind"
            yield f"{addresses[node]} {far}"

        for line in condition_lines(row.status.summary, besides=_TOLD_OTHERWISE):
            yield f"{addresses[node]}: {line}"


def is_broken(look: Look, rows: Mapping[int, Row]) -> bool:
    """Some vBucket takes no writes."""
    return any(not group.leader for group in look.cluster.groups) or bool(_quorums(look, frozenset(rows))[0])


def _quorums(look: Look, answered: frozenset[int]) -> tuple[list[int], list[int]]:
    """The vBuckets whose voters that answer are too few, and those with just enough where more are to be there."""
    lost, tight = [], []
    for group in look.cluster.groups:
        voters = [each.node for each in group.replicas if each.role == pb.ReplicaRole.VOTER]
        needed, there = len(voters) // 2 + 1, sum(node in answered for node in voters)
        if there < needed:
            lost.append(group.vBucket)
        elif there == needed < len(voters):
            tight.append(group.vBucket)
    return lost, tight


def _named(look: Look, found: Sequence[int]) -> str:
    """A few of many."""
    if len(found) == len(look.cluster.groups) > 1:
        return f"all {len(found)} vBuckets"
    return vbuckets_text(found)


def methods_together(rates: Sequence[Rates]) -> list[MethodRate]:
    """Of all nodes, the busiest first."""
    by_name: dict[str, list[MethodRate]] = {}
    for each in rates:
        for method in each.methods:
            by_name.setdefault(method.name, []).append(method)
    together = [
        MethodRate(
            name,
            sum(each.calls_per_s for each in found),
            sum(each.errors_per_s for each in found),
            _added([each.latency for each in found]),
        )
        for name, found in by_name.items()
    ]
    return sorted(together, key=lambda each: (-each.calls_per_s, each.name))


def _latency(rates: Rates) -> Histogram:
    """Of all methods that answer once."""
    return _added([each.latency for each in rates.methods if each.name in _UNARY])


def _added(found: Sequence[Histogram]) -> Histogram:
    if not found:
        return Histogram(())
    alike = [each for each in found if each.bounds == found[0].bounds]
    counts = [sum(column) for column in zip(*(each.counts for each in alike), strict=True)]
    return Histogram(found[0].bounds, counts, sum(each.total for each in alike))


def _short(seconds: float) -> str:
    return latency_text(seconds).replace(" ", "")


def node_fields(each: NodeLook, row: Row | None) -> dict[str, object]:
    """For --json: who it is, and, if it answered, how far it is behind."""
    fields: dict[str, object] = {"node": each.node, "address": each.address, "answers": row is not None}
    if row is None:
        return fields | {"reason": each.why}
    return fields | {"role": role_text(row.status.cluster), "lagEntries": row.lag}
