"""The status of a node as a table to read: a label and what is to say, then a line a method."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from dkv.cli.ctl.rates import MethodRate, method_rates
from dkv.cli.ctl.units import bytes_text, count_text, latency_text, span_text
from dkv.cli.ctl.vbucket_text import states, summary_rows
from dkv.wire import messages as pb

_LABEL_WIDTH = 12


def stats_lines(status: pb.GetNodeStatusResponse) -> list[str]:
    """A part that the node does not have is left out."""
    lines = [f"{label:<{_LABEL_WIDTH}}{text}".rstrip() for label, text in _rows(status)]
    if methods := method_rates(pb.EdgeStatus(), status.edge, 1):
        lines += ["", _METHODS.format("METHOD", "CALLS", "ERRORS", "MEAN", "P50", "P90", "P99")]
        lines += map(_method_line, methods)
    return lines


_METHODS = "{:<28}{:>12}{:>8}{:>8}{:>8}{:>8}{:>8}"
"""80 columns."""


def _method_line(method: MethodRate) -> str:
    seen = method.latency
    quantiles = [latency_text(seen.quantile(share)) for share in (0.5, 0.9, 0.99)]
    counts = count_text(method.calls_per_s), count_text(method.errors_per_s)
    return _METHODS.format(method.name, *counts, latency_text(seen.total / method.calls_per_s), *quantiles)


def _rows(status: pb.GetNodeStatusResponse) -> Iterator[tuple[str, str]]:
    serving = "serving" if status.isServing else "NOT SERVING"
    name = f" {status.nodeName}" if status.nodeName else ""
    yield (
        "node",
        f"dkvsrv {status.version}{name}, role {status.role}, {serving}, up {span_text(status.uptimeMs / 1000)}",
    )
    yield "address", f"gRPC {status.address}, HTTP {status.httpAddress}"
    if status.HasField("storage"):
        yield from _storage_rows(status.storage, status.folder)
    if status.summary.count > 1:
        yield from summary_rows(status.summary)
    else:
        for vbucket in status.vBuckets:
            yield from _vbucket_rows(vbucket)
    if status.HasField("log"):
        yield "log", _log_text(status.log)
    if status.HasField("turns"):
        yield "turns", _turns_text(status.turns)
    if status.HasField("edge"):
        yield "network", _edge_text(status.edge)


def _storage_rows(storage: pb.StorageStatus, folder: str) -> Iterator[tuple[str, str]]:
    rows, live = count_text(storage.rowsEstimate), bytes_text(storage.liveBytesEstimate)
    yield (
        "data",
        f"{storage.engine} in {folder}: about {rows} rows, {live} live in {bytes_text(storage.filesBytes)} of files",
    )
    yield "memory", f"memtables {bytes_text(storage.memtableBytes)}, cache {bytes_text(storage.cacheBytes)}"
    yield "disk", f"{bytes_text(storage.freeBytes)} free, writes are refused below {bytes_text(storage.freeBytesMin)}"
    yield "pressure", f"{pressure_text(storage)}, {bytes_text(storage.pendingCompactionBytes)} to compact"


def pressure_text(storage: pb.StorageStatus) -> str:
    """Whether the engine keeps up with writes."""
    if storage.isWriteStopped:
        return "writes stopped"
    delayed = storage.delayedBytesPerSecond
    return f"writes slowed to {bytes_text(delayed)}/s" if delayed else "none"


def _vbucket_rows(vbucket: pb.VBucketStatus) -> Iterator[tuple[str, str]]:
    role = vbucket.RaftRole.Name(vbucket.raftRole).lower()
    yield "vBucket", f"{vbucket.database}/{vbucket.vBucket}, {role} in term {vbucket.term}"
    yield "  applied", f"entry {count_text(vbucket.appliedIndex)} of {count_text(vbucket.commitIndex)} committed"
    oldest = vbucket.oldestChangeNumber
    kept = f"kept from {count_text(oldest)} on" if oldest <= vbucket.changeNumber else "none kept"
    yield "  changes", f"{count_text(vbucket.changeNumber)}, {kept}, history {vbucket.historyId.hex()}"
    yield "  log time", time_text(vbucket.logTime)
    if vbucket.conditions:
        yield "  !", states(vbucket.conditions)
    if vbucket.earliestExpiry:
        yield "  expiry", f"the next key not before {time_text(vbucket.earliestExpiry)}"


def time_text(wall_ms: int) -> str:
    """ISO 8601, whole seconds."""
    return datetime.fromtimestamp(wall_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _log_text(log: pb.LogStatus) -> str:
    mean = log.syncSecondsTotal / log.syncs if log.syncs else 0.0
    return (
        f"{count_text(log.syncs)} syncs, mean {latency_text(mean)}, longest {latency_text(log.syncSecondsMax)}; "
        f"{bytes_text(log.diskBytes)} on disk, {bytes_text(log.queuedBytes)} queued"
    )


def _turns_text(turns: pb.TurnStatus) -> str:
    mean = turns.secondsTotal / turns.turns if turns.turns else 0.0
    return (
        f"{count_text(turns.turns)} with {count_text(turns.calls)} calls, mean {latency_text(mean)}; "
        f"{turns.openIterates} iterates open"
    )


def _edge_text(edge: pb.EdgeStatus) -> str:
    return (
        f"connections {edge.connections}, streams {edge.streams}, calls waiting {edge.inboxCalls}, "
        f"refused {count_text(edge.overloaded)}"
    )
