"""StatsD lines with Datadog tags: what happened since the last report, under the original's names (COMPATIBILITY 4).

The original sends a line a call. Here a second is one report: every counter is a difference, and every timer carries
how often it was seen, as its sample rate. Lines are packed into datagrams that fit the smallest usual network frame.
"""

from collections.abc import Iterable, Iterator

from dkv.services.histogram import Histogram
from dkv.services.metrics import NodeCollector, calls, errors, requests, saves, storage
from dkv.services.metrics import operations as by_operation
from dkv.services.recent import Histograms

DATAGRAM_BYTES_MAX = 1_432
"""1,500 of Ethernet, less the headers of IPv6 and UDP and what tunnels add."""
ENGINE_NAMES = {
    "put": "rocksdb.put.single",
    "mput": "rocksdb.put.multi",
    "get": "rocksdb.single.get",
    "mget": "rocksdb.multi.get",
    "del": "rocksdb.delete",
    "cas": "rocksdb.cas",
}


class StatsdReport:
    """Owns the numbers of the last report."""

    def __init__(self, sources: NodeCollector, tags: Iterable[str]) -> None:
        """`tags`: `name:value`, the same on every line."""
        self._sources = sources
        self._tags = "|#" + ",".join(map(clean, tags))
        self._seen: Histograms = {}
        self._errors: dict[str, int] = {}

    def datagrams(self) -> list[bytes]:
        """What to send now."""
        return packed(line.encode() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        edge, node, log = self._sources.edge(), self._sources.node(), self._sources.consensus()
        asked = {f"dkv.{name}": each for name, each in by_operation(requests(edge)).items()}
        engine = {f"dkv.{ENGINE_NAMES[name]}": each for name, each in storage(node).items() if name in ENGINE_NAMES}
        nexus = {f"nexus.{name}": each for name, each in saves(log).items()}
        now = {**asked, **engine, **nexus}
        for name, histogram in now.items():
            earlier = self._seen.get(name)
            yield from self._timer(name, histogram if earlier is None else histogram.since(earlier))
        self._seen = {name: each.copy() for name, each in now.items()}
        yield from self._failures(errors(calls(edge)))
        for name in ("entries_waiting", "entries_unapplied", "disk_free"):
            if name in node:
                yield f"dkv.{name.replace('_', '.')}:{node[name]}|g{self._tags}"

    def _timer(self, name: str, lately: Histogram) -> Iterator[str]:
        """Count, mean and 99th percentile of the time since the last report."""
        if not lately.count:
            return
        mean_ms, p99_ms = 1000 * lately.total / lately.count, 1000 * lately.quantile(0.99)
        yield f"{name}.count:{lately.count}|c{self._tags}"
        yield f"{name}.latency.ms:{mean_ms:.3f}|ms|@{1 / lately.count:.9f}{self._tags}"
        yield f"{name}.latency.p99.ms:{p99_ms:.3f}|g{self._tags}"

    def _failures(self, failed: dict[str, int]) -> Iterator[str]:
        for operation, count in failed.items():
            if more := count - self._errors.get(operation, 0):
                yield f"dkv.{operation}.errors:{more}|c{self._tags}"
        self._errors = failed


def clean(tag: str) -> str:
    """A tag without what divides tags, lines and fields."""
    return "".join("_" if character in ",|#@\n\r" else character for character in tag)


def packed(lines: Iterable[bytes]) -> list[bytes]:
    """Lines joined into datagrams below the bound; a line that exceeds it alone is left out."""
    datagrams: list[bytes] = []
    waiting = b""
    for line in lines:
        if len(line) > DATAGRAM_BYTES_MAX:
            continue
        joined = waiting + b"\n" + line if waiting else line
        if len(joined) > DATAGRAM_BYTES_MAX:
            datagrams.append(waiting)
            joined = line
        waiting = joined
    return [*datagrams, waiting] if waiting else datagrams
