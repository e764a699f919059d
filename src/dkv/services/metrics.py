"""Counters of edge, engine and log as Prometheus text, under the names of COMPATIBILITY 4 where those exist.

Nothing is counted here and nothing is looked up per request: all is read when somebody scrapes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from dkv.wire import methods

Stats = Callable[[], Mapping[str, object]]
"""Where numbers come from: `stats` of a port."""
Latencies = Mapping[str, tuple[Sequence[int], float]]
"""{method path: (bucket counts, sum in seconds)}"""

OPS = {
    methods.PUT_PATH: "put",
    methods.MULTI_PUT_PATH: "mput",
    methods.DELETE_PATH: "del",
    methods.COMPARE_AND_SET_PATH: "cas",
    methods.ITERATE_PATH: "iter",
    methods.GET_PATH: "getSeq",
    methods.MULTI_GET_PATH: "mgetSeq",
}
"""The original's names of the operations. A node alone serves both consistencies alike and counts them together."""
QUANTILES = (0.5, 0.9, 0.99)
UPSTREAM_ENGINE = {
    "engine_memtable_bytes": "dkv_rocksdb_memory_usage_memtable_total",
    "engine_table_reader_bytes": "dkv_rocksdb_memory_usage_memtable_readers_total",
    "engine_cache_bytes": "dkv_rocksdb_memory_usage_cache_total",
}
EDGE_GAUGES = ("connections", "inbox_calls", "inbox_bytes", "streams")


def _none() -> Mapping[str, object]:
    return {}


class NodeCollector(Collector):
    """Reads the stats of a node's parts. A part that is not attached has no metrics."""

    def __init__(self) -> None:
        self.edge: Stats = _none
        self.store: Stats = _none
        self.consensus: Stats = _none

    def collect(self) -> Iterable[Metric]:
        """All families, read now."""
        edge = self.edge()
        yield from request_metrics(cast("Mapping[tuple[str, int], int]", edge.get("calls", {})))
        bounds = cast("Sequence[float]", edge.get("latency_bounds", ()))
        yield from latency_metrics(cast("Latencies", edge.get("latency", {})), bounds)
        for name in EDGE_GAUGES:
            if name in edge:
                yield gauge(f"dkv_edge_{name}", f"Now: {name.replace('_', ' ')} of the network edge.", edge[name])
        if "overloaded" in edge:
            yield CounterMetricFamily(
                "dkv_edge_overloaded", "Calls refused for want of room.", value=cast("float", edge["overloaded"])
            )
        for name, value in self.store().items():
            yield gauge(f"dkv_storage_{name}", f"{name.replace('_', ' ')} of the storage engine.", value)
            if name in UPSTREAM_ENGINE:
                yield gauge(UPSTREAM_ENGINE[name], "Bytes, under the original's name.", value)
        for name, value in self.consensus().items():
            yield gauge(f"dkv_log_{name}", f"{name.replace('_', ' ')} of the log.", value)


def gauge(name: str, text: str, value: object) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=cast("float", value))


def request_metrics(calls: Mapping[tuple[str, int], int]) -> Iterator[Metric]:
    """Calls by method and code, and the original's counters of errors by operation."""
    requests = CounterMetricFamily("dkv_requests", "Calls answered.", labels=("method", "code"))
    errors = CounterMetricFamily("dkv_standalone_error", "Operations that failed.", labels=("Ops",))
    failed = dict.fromkeys(OPS.values(), 0)
    for (path, code), count in sorted(calls.items()):
        requests.add_metric((path, str(code)), count)
        if code and path in OPS:
            failed[OPS[path]] += count
    for operation, count in failed.items():
        errors.add_metric((operation,), count)
    yield requests
    yield errors


def latency_metrics(latency: Latencies, bounds: Sequence[float]) -> Iterator[Metric]:
    """A histogram by method, and the original's summaries by operation (quantiles from the histogram)."""
    durations = HistogramMetricFamily("dkv_request_duration_seconds", "From arrival to reply.", labels=("method",))
    summaries = [
        SummaryMetricFamily(name, "Seconds an operation took, by operation.", labels=("Ops",))
        for name in ("dkv_standalone_latency", "dkv_latency")
    ]
    for path, (counts, total_seconds) in sorted(latency.items()):
        durations.add_metric((path,), list(cumulative(counts, bounds)), sum_value=total_seconds)
        for summary in summaries if path in OPS else ():
            add_summary(summary, OPS[path], counts, bounds, total_seconds)
    yield durations
    yield from summaries


def cumulative(counts: Sequence[int], bounds: Sequence[float]) -> Iterator[tuple[str, float]]:
    """(upper bound, calls at or below it), closed by +Inf."""
    running = 0
    for bound, count in zip((*bounds, math.inf), counts, strict=False):
        running += count
        yield ("+Inf" if bound == math.inf else repr(bound)), running
    if len(counts) <= len(bounds):
        yield "+Inf", running


def add_summary(
    summary: SummaryMetricFamily, operation: str, counts: Sequence[int], bounds: Sequence[float], total_seconds: float
) -> None:
    labels = {"Ops": operation}
    for quantile in QUANTILES:
        value = quantile_of(quantile, counts, bounds)
        summary.add_sample(summary.name, {**labels, "quantile": str(quantile)}, value)
    summary.add_metric((operation,), count_value=sum(counts), sum_value=total_seconds)


def quantile_of(quantile: float, counts: Sequence[int], bounds: Sequence[float]) -> float:
    """Seconds, interpolated within the bucket; 0 without calls, the last bound beyond it. Never NaN."""
    wanted, running, lower = quantile * sum(counts), 0.0, 0.0
    if not wanted or not bounds:
        return 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and running + count >= wanted:
            return lower + (bound - lower) * (wanted - running) / count
        running, lower = running + count, bound
    return bounds[-1]


class Metrics:
    """Owns a registry of its own: nothing of the process-wide one leaks in."""

    def __init__(self) -> None:
        self.sources = NodeCollector()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self.sources)

    def exposition(self) -> bytes:
        """The text a scraper gets."""
        return bytes(generate_latest(self._registry))
