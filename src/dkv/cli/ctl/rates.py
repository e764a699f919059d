"""What a node did between two statuses: counters become rates. Pure; the caller knows how much time lay between.

A server that was started anew counts from zero again: then everything it has counted happened in between. Change
numbers and log indexes go on where they were, and how far they went in between is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dkv.services.histogram import Histogram
from dkv.wire import messages as pb


class MethodRate(NamedTuple):
    """One method that was called in between."""

    name: str
    """Package.Service/Method, without what all names share."""
    calls_per_s: float
    errors_per_s: float
    latency: Histogram
    """Of the calls in between."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Per second, unless the name says otherwise."""

    calls: float
    errors: float
    refused: float
    changes: float
    entries: float
    turns: float
    calls_per_turn: float
    turn_seconds_mean: float
    busy_share: float
    """Of its time that the node's thread was at work; 1: all."""
    syncs: float
    sync_seconds_mean: float
    methods: list[MethodRate]
    """The busiest first."""


def rates(before: pb.GetNodeStatusResponse, after: pb.GetNodeStatusResponse, seconds: float) -> Rates:
    if is_restart(before, after):
        before = pb.GetNodeStatusResponse(
            vBuckets=after.vBuckets, cluster=after.cluster if after.HasField("cluster") else None
        )
    methods = method_rates(before.edge, after.edge, seconds)
    turns = after.turns.turns - before.turns.turns
    busy_seconds = after.turns.secondsTotal - before.turns.secondsTotal
    syncs = after.log.syncs - before.log.syncs
    return Rates(
        calls=sum(each.calls_per_s for each in methods),
        errors=sum(each.errors_per_s for each in methods),
        refused=(after.edge.overloaded - before.edge.overloaded) / seconds,
        changes=(_changes(after) - _changes(before)) / seconds,
        entries=(_applied(after) - _applied(before)) / seconds,
        turns=turns / seconds,
        calls_per_turn=_mean(after.turns.calls - before.turns.calls, turns),
        turn_seconds_mean=_mean(busy_seconds, turns),
        busy_share=min(1.0, busy_seconds / seconds),
        syncs=syncs / seconds,
        sync_seconds_mean=_mean(after.log.syncSecondsTotal - before.log.syncSecondsTotal, syncs),
        methods=methods,
    )


def is_restart(before: pb.GetNodeStatusResponse, after: pb.GetNodeStatusResponse) -> bool:
    """Whether another process answers than before."""
    return after.uptimeMs < before.uptimeMs


def method_rates(before: pb.EdgeStatus, after: pb.EdgeStatus, seconds: float) -> list[MethodRate]:
    earlier = {each.path: each for each in before.methods}
    found = [
        _method_rate(earlier.get(each.path, pb.MethodStatus()), each, after.latencyBoundsSeconds, seconds)
        for each in after.methods
    ]
    return sorted((each for each in found if each.calls_per_s), key=lambda each: (-each.calls_per_s, each.name))


def _method_rate(
    before: pb.MethodStatus, after: pb.MethodStatus, bounds: Sequence[float], seconds: float
) -> MethodRate:
    earlier = Histogram(bounds, before.latencyCounts, before.latencySecondsTotal)
    return MethodRate(
        method_name(after.path),
        (after.calls - before.calls) / seconds,
        (after.errors - before.errors) / seconds,
        Histogram(bounds, after.latencyCounts, after.latencySecondsTotal).since(earlier),
    )


def method_name(path: str) -> str:
    """Short, and still one method: DKV/Get, v1.KV/Limits, grpc.health.v1.Health/Check."""
    return path.removeprefix("/").removeprefix("dkv.serverpb.").removeprefix("dkv.")


def _mean(total: float, count: float) -> float:
    return total / count if count else 0.0


def _changes(status: pb.GetNodeStatusResponse) -> int:
    if status.HasField("cluster"):
        return status.cluster.changes
    return sum(each.changeNumber for each in status.vBuckets)


def _applied(status: pb.GetNodeStatusResponse) -> int:
    if status.HasField("cluster"):
        return status.cluster.appliedEntries
    return sum(each.appliedIndex for each in status.vBuckets)
