"""What is said of vBuckets, in words: their conditions, and how much of their history is kept. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dkv.cli.ctl.units import bytes_text, count_text
from dkv.wire import messages as pb

WORDS: Mapping[str, str] = {
    "NO_LEADER": "no leader",
    "CATCHING_UP": "not read yet since the start",
    "REMOVED": "removed",
    "NEEDS_SNAPSHOT": "needs a snapshot",
    "RECEIVES_SNAPSHOT": "receives a snapshot",
    "RESTORING": "restoring",
    "CLOCK_DISBELIEVED": "no key expires: the clock is not believed",
    "REPLICA_LAGS": "a replica lags",
}
"""By the name of the condition."""
OF_LEADERS = frozenset(("CLOCK_DISBELIEVED", "REPLICA_LAGS"))
"""Those that only a leader tells of."""
NUMBERS_SHOWN = 5


def condition_name(condition: int) -> str:
    """Also of one that only a newer server knows."""
    try:
        return pb.VBucketStatus.Condition.Name(condition)
    except ValueError:
        return f"condition {condition}"


def condition_text(condition: int) -> str:
    name = condition_name(condition)
    return WORDS.get(name, name)


def kept(status: pb.VBucketStatus) -> int:
    """Changes."""
    return status.changeNumber - status.oldestChangeNumber + 1


def condition_lines(summary: pb.VBucketsSummary, besides: Collection[str] = ()) -> Iterator[str]:
    """A line for each condition that holds somewhere, naming the first vBuckets; those named `besides` left out."""
    for each in summary.conditions:
        if condition_name(each.condition) in besides:
            continue
        named = [status.number for status in summary.notable if each.condition in status.conditions]
        yield f"{condition_text(each.condition)}: {vbuckets_text(named, each.count)}"


def vbuckets_text(numbers: Sequence[int], count: int = 0) -> str:
    """A few of many; `count`: how many there are, if some are not among the numbers."""
    shown = list(numbers[:NUMBERS_SHOWN])
    more = max(count, len(numbers)) - len(shown)
    named = ", ".join(map(str, shown))
    if not shown:
        return f"{more} vBuckets"
    return f"vBucket{'s' * (len(shown) + more > 1)} {named}" + (f" and {count_text(more)} more" if more else "")


def summary_rows(summary: pb.VBucketsSummary) -> Iterator[tuple[str, str]]:
    """(label, text) for `stats`."""
    yield "vBuckets", f"{count_text(summary.count)} here, {count_text(summary.led)} of them led"
    changes, changes_kept = count_text(summary.changes), count_text(summary.changesKept)
    sessions = count_text(summary.sessions)
    yield (
        "  changes",
        f"{changes}, {changes_kept} kept in {bytes_text(summary.historyBytes)} of log; {sessions} sessions",
    )
    if summary.HasField("leastHistory"):
        yield "  history", least_text(summary.leastHistory)
    for line in condition_lines(summary):
        yield "  !", line


def least_text(least: pb.VBucketStatus) -> str:
    oldest = count_text(least.oldestChangeNumber)
    return f"the least in vBucket {least.number}: {count_text(kept(least))} changes, from {oldest} on"


def states(conditions: Iterable[int]) -> str:
    return ", ".join(map(condition_text, conditions))
