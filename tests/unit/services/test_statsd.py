"""StatsD lines."""

from typing import Any

from dkv.services.histogram import Histogram
from dkv.services.metrics import NodeCollector
from dkv.services.statsd import DATAGRAM_BYTES_MAX, StatsdReport, packed
from dkv.wire import methods


def lines(report: StatsdReport) -> list[str]:
    return [line for datagram in report.datagrams() for line in datagram.decode().split("\n")]


def test_report_tells_what_happened_since_the_last_one() -> None:
    """Counters are differences; what did not happen has no line."""
    edge: dict[str, Any] = {
        "calls": {(methods.PUT_PATH, 8): 2},
        "latency": {methods.PUT_PATH: ([4, 0], 0.002)},
        "latency_bounds": [0.001],
    }
    node = {"storage": {"mget": Histogram([0.001], [2, 0], 0.001)}, "entries_waiting": 3, "disk_free": 5}
    sources = NodeCollector()
    sources.node, sources.edge = lambda: node, lambda: edge
    report = StatsdReport(sources, ["database:d", "node:a,b|c"])
    tags = "|#database:d,node:a_b_c"
    assert lines(report) == [
        f"dkv.put.count:4|c{tags}",
        f"dkv.put.latency.ms:0.500|ms|@0.250000000{tags}",
        f"dkv.put.latency.p99.ms:0.990|g{tags}",
        f"dkv.rocksdb.multi.get.count:2|c{tags}",
        f"dkv.rocksdb.multi.get.latency.ms:0.500|ms|@0.500000000{tags}",
        f"dkv.rocksdb.multi.get.latency.p99.ms:0.990|g{tags}",
        f"dkv.put.errors:2|c{tags}",
        f"dkv.entries.waiting:3|g{tags}",
        f"dkv.disk.free:5|g{tags}",
    ]
    edge["latency"] = {methods.PUT_PATH: ([5, 0], 0.003)}
    edge["calls"] = {(methods.PUT_PATH, 8): 3}
    assert lines(report)[:2] == [f"dkv.put.count:1|c{tags}", f"dkv.put.latency.ms:1.000|ms|@1.000000000{tags}"]
    assert lines(report) == [f"dkv.entries.waiting:3|g{tags}", f"dkv.disk.free:5|g{tags}"]


def test_lines_are_packed_into_datagrams_below_the_bound() -> None:
    """No line is divided; one that fits nowhere is left out."""
    given = [b"%d" % number + b"x" * 100 for number in range(40)]
    datagrams = packed([*given, b"y" * (DATAGRAM_BYTES_MAX + 1)])
    assert [line for datagram in datagrams for line in datagram.split(b"\n")] == given
    assert max(map(len, datagrams)) <= DATAGRAM_BYTES_MAX
    assert len(datagrams) == 3
    assert packed([]) == []
