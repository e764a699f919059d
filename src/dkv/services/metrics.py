"""Numbers of node, edge, engine and log as Prometheus text, under the names of COMPATIBILITY 4 where those exist.

Nothing is counted here and nothing is looked up per request: all is read when somebody scrapes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from dkv.services import metric_table
from dkv.services.histogram import Histogram
from dkv.services.raft_metrics import raft_families
from dkv.services.recent import Histograms, Recent
from dkv.wire import methods

Stats = Callable[[], Mapping[str, object]]
"""Where numbers come from: `stats` of a port, or of the node."""

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
STORAGE_OPS = ["put", "mput", "get", "mget", "del", "cas", "getSnapShot", "putSnapShot", "loadChange", "saveChange"]
"""The original's. Here the engine only ever looks up rows and writes batches: the rest stays at 0."""
QUANTILES = (0.5, 0.9, 0.99)


def _none() -> Mapping[str, object]:
    return {}


class NodeCollector(Collector):
    """Reads the stats of a node's parts. A part that is not attached has no metrics."""

    def __init__(self) -> None:
        self.node: Stats = _none
        self.turns: Stats = _none
        self.edge: Stats = _none
        self.store: Stats = _none
        self.consensus: Stats = _none
        self.raft: Stats = _none
        self._recent = Recent()

    def beat(self, monotonic_ms: int) -> None:
        """Once a turn; does something once a minute."""
        if self._recent.is_due(monotonic_ms):
            histograms = {**requests(self.edge()), **storage(self.node()), **saves(self.consensus())}
            self._recent.keep(histograms, monotonic_ms)

    def recent(self, histograms: Histograms) -> Histograms:
        """What they saw lately."""
        return {name: self._recent.of(name, each) for name, each in histograms.items()}

    def collect(self) -> Iterable[Metric]:
        """All families, read now."""
        node, edge = self.node(), self.edge()
        latency, engine = requests(edge), storage(node)
        if edge:
            yield from request_counters(calls(edge))
            yield durations(latency)
            asked, lately = operations(latency), operations(self.recent(latency))
            for name in ("dkv_standalone_latency", "dkv_latency"):
                yield summary(name, "Ops", "Seconds an operation took.", asked, lately)
        if engine:
            text = "Seconds of one look-up or batch of the engine."
            yield summary("dkv_storage_latency_rocksdb", "ops", text, engine, self.recent(engine))
            yield failures("dkv_storage_error_rocksdb", "ops", dict.fromkeys(engine, 0))
        yield from metric_table.families(metric_table.NODE, node)
        yield from metric_table.families(metric_table.EDGE, edge)
        log = self.consensus()
        yield from metric_table.families(metric_table.LOG, {**log, **saves(log)})
        yield from raft_families(self.raft())
        yield from metric_table.families(metric_table.STORE, self.store())


def calls(edge: Mapping[str, object]) -> Mapping[tuple[str, int], int]:
    """{(method path, gRPC code): calls}"""
    return cast("Mapping[tuple[str, int], int]", edge.get("calls", {}))


def requests(edge: Mapping[str, object]) -> dict[str, Histogram]:
    """Seconds from arrival to reply, by method path."""
    bounds = cast("Sequence[float]", edge.get("latency_bounds", ()))
    latency = cast("Mapping[str, tuple[Sequence[int], float]]", edge.get("latency", {}))
    return {path: Histogram(bounds, counts, total) for path, (counts, total) in sorted(latency.items())}


def operations(by_path: Histograms) -> dict[str, Histogram]:
    """Those of the original's operations, by its names."""
    return {OPS[path]: each for path, each in by_path.items() if path in OPS}


def storage(node: Mapping[str, object]) -> dict[str, Histogram]:
    """Seconds of the engine, by the original's names of its operations."""
    seen = cast("Histograms", node.get("storage", {}))
    unused = Histogram(next(iter(seen.values())).bounds) if seen else None
    return {operation: seen.get(operation, unused) for operation in STORAGE_OPS} if unused else {}


def saves(log: Mapping[str, object]) -> dict[str, Histogram]:
    """Seconds of the syncs of the log, under the original's name of what Raft waits for."""
    if "sync_buckets" not in log:
        return {}
    bounds, counts = cast("Sequence[float]", log["sync_bounds"]), cast("Sequence[int]", log["sync_buckets"])
    return {"save": Histogram(bounds, counts, cast("float", log["sync_seconds_total"]))}


def errors(answered: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """Operations that failed, by the original's names."""
    failed = dict.fromkeys(OPS.values(), 0)
    for (path, code), count in answered.items():
        if code and path in OPS:
            failed[OPS[path]] += count
    return failed


def request_counters(answered: Mapping[tuple[str, int], int]) -> Iterator[Metric]:
    """Calls by method and code, and the original's counters of errors by operation."""
    answers = CounterMetricFamily("dkv_requests", "Calls answered.", labels=("method", "code"))
    for (path, code), count in sorted(answered.items()):
        answers.add_metric((path, str(code)), count)
    yield answers
    yield failures("dkv_standalone_error", "Ops", errors(answered))


def failures(name: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, "Operations that failed.", labels=(label,))
    for operation, count in counts.items():
        family.add_metric((operation,), count)
    return family


def durations(latency: Histograms) -> Metric:
    """Of the methods that were called at all: there are many, and twenty samples each."""
    family = HistogramMetricFamily("dkv_request_duration_seconds", "From arrival to reply.", labels=("method",))
    for path, seen in latency.items():
        if not seen.count:
            continue
        family.add_metric((path,), list(seen.cumulative()), sum_value=seen.total)
    return family


def summary(name: str, label: str, text: str, since_start: Histograms, lately: Histograms) -> Metric:
    """Count and sum since the start; quantiles of the last one to two minutes, from the histogram."""
    family = SummaryMetricFamily(name, text, labels=(label,))
    for operation, seen in since_start.items():
        for quantile in QUANTILES:
            labels = {label: operation, "quantile": str(quantile)}
            family.add_sample(name, labels, lately[operation].quantile(quantile))
        family.add_metric((operation,), count_value=seen.count, sum_value=seen.total)
    return family


class Metrics:
    """Owns a registry of its own: nothing of the process-wide one leaks in."""

    def __init__(self) -> None:
        self.sources: NodeCollector = NodeCollector()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self.sources)
        ProcessCollector(registry=self._registry)

    def families(self) -> Iterable[Metric]:
        """All that a scraper gets, each family read when it is asked for."""
        return self._registry.collect()
