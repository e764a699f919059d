"""One picture of `dkvctl top`: a status and the rates since the one before, in so many columns and lines. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dkv.cli.ctl.rates import MethodRate, Rates
from dkv.cli.ctl.stats_text import pressure_text
from dkv.cli.ctl.units import bytes_text, count_text, latency_text, span_text
from dkv.wire import messages as pb

_METHODS = "{:<26}{:>11}{:>9}{:>8}{:>8}{:>8}{:>8}"
METHODS_HEAD = _METHODS.format("METHOD", "CALLS/S", "ERR/S", "MEAN", "P50", "P90", "P99")


def frame(status: pb.GetNodeStatusResponse, rates: Rates, columns: int, lines: int) -> list[str]:
    """At most `lines` lines of at most `columns` characters; the idlest methods are what does not fit."""
    found = [*_summary(status, rates), "", METHODS_HEAD, *map(method_line, rates.methods)]
    return [line[:columns].rstrip() for line in found[:lines]]


def _summary(status: pb.GetNodeStatusResponse, r: Rates) -> Iterator[str]:
    storage, edge, log = status.storage, status.edge, status.log
    serving = "SERVING" if status.isServing else "NOT_SERVING"
    up = span_text(status.uptimeMs / 1000)
    yield f"dkvsrv {status.version} {status.address}, role {status.role}, {serving}, up {up}"
    yield ""
    yield _row("calls", f"{count_text(r.calls)}/s", f"errors {count_text(r.errors)}/s",
               f"refused {count_text(r.refused)}/s", f"waiting {count_text(edge.inboxCalls)}")  # fmt: skip
    yield _row("turns", f"{count_text(r.turns)}/s", f"busy {r.busy_share:.0%}",
               f"mean {latency_text(r.turn_seconds_mean)}", f"{r.calls_per_turn:.1f} calls each")  # fmt: skip
    yield _row("syncs", f"{count_text(r.syncs)}/s", f"mean {latency_text(r.sync_seconds_mean)}",
               f"longest {latency_text(log.syncSecondsMax)}", f"queued {bytes_text(log.queuedBytes)}")  # fmt: skip
    if status.summary.count > 1:
        whole = status.summary
        ill = max((each.count for each in whole.conditions), default=0)
        yield _row("changes", f"{count_text(r.changes)}/s", f"all {count_text(whole.changes)}",
                   f"kept {count_text(whole.changesKept)}",
                   f"leads {whole.led} of {whole.count} vBuckets" + f", {ill} want a look" * bool(ill))  # fmt: skip
    else:
        for vbucket in status.vBuckets:
            role = vbucket.RaftRole.Name(vbucket.raftRole).lower()
            yield _row("changes", f"{count_text(r.changes)}/s", f"latest {count_text(vbucket.changeNumber)}",
                       f"oldest {count_text(vbucket.oldestChangeNumber)}", f"{role}, term {vbucket.term}")  # fmt: skip
    yield _row("network", f"{count_text(edge.connections)} conns", f"streams {count_text(edge.streams)}",
               f"iterates {count_text(status.turns.openIterates)}", f"pressure {pressure_text(storage)}")  # fmt: skip
    yield _row("disk", f"{bytes_text(storage.freeBytes)} free", f"files {bytes_text(storage.filesBytes)}",
               f"log {bytes_text(log.diskBytes)}", f"memtables {bytes_text(storage.memtableBytes)}")  # fmt: skip


def _row(label: str, first: str, second: str, third: str, fourth: str) -> str:
    return f"{label:<8}{first:>14}   {second:<18} {third:<18} {fourth}"


def method_line(method: MethodRate) -> str:
    """Under `METHODS_HEAD`."""
    seen = method.latency
    quantiles = [_short(seen.quantile(share)) for share in (0.5, 0.9, 0.99)]
    counts = count_text(method.calls_per_s), count_text(method.errors_per_s)
    mean = seen.total / seen.count if seen.count else 0.0
    return _METHODS.format(method.name[:26], *counts, _short(mean), *quantiles)


def _short(seconds: float) -> str:
    return latency_text(seconds).replace(" ", "")


def rates_fields(seen: Rates) -> dict[str, object]:
    """For --json."""
    methods = [
        {
            "path": each.name,
            "calls": each.calls_per_s,
            "errors": each.errors_per_s,
            "p99Seconds": each.latency.quantile(0.99),
        }
        for each in seen.methods
    ]
    return {
        "calls": seen.calls,
        "errors": seen.errors,
        "refused": seen.refused,
        "changes": seen.changes,
        "turns": seen.turns,
        "busyShare": seen.busy_share,
        "syncs": seen.syncs,
        "syncSecondsMean": seen.sync_seconds_mean,
        "methods": methods,
    }
