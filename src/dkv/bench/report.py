"""Latencies to figures: the ones that the original's tool prints. All of calls that went well."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

PERCENTS = (10, 25, 50, 75, 90, 95, 99)
STEPS = 10
"""Of the histogram, from the fastest call to the slowest."""


class Bar(NamedTuple):
    """Calls that took as long as this or less, and longer than the bar before says."""

    until_s: float
    calls: int


class Latencies(NamedTuple):
    fastest_s: float
    slowest_s: float
    average_s: float
    bars: list[Bar]
    """The first is of the fastest call alone, and those that were as fast."""
    percentiles: list[tuple[int, float]]
    """(percent, seconds in which so many of a hundred calls ended)."""


def latencies(seen_s: Iterable[float]) -> Latencies | None:
    """None: no call went well."""
    ordered = sorted(seen_s)
    if not ordered:
        return None
    fastest_s, slowest_s = ordered[0], ordered[-1]
    return Latencies(
        fastest_s,
        slowest_s,
        sum(ordered) / len(ordered),
        _bars(ordered),
        [(percent, ordered[ceil(percent * len(ordered) / 100) - 1]) for percent in PERCENTS],
    )


def _bars(ordered: Sequence[float]) -> list[Bar]:
    fastest_s, slowest_s = ordered[0], ordered[-1]
    if fastest_s == slowest_s:
        return [Bar(slowest_s, len(ordered))]
    ends_s = [fastest_s + (slowest_s - fastest_s) * step / STEPS for step in range(STEPS)]
    reached = [bisect_right(ordered, end_s) for end_s in ends_s] + [len(ordered)]
    counts = [count - before for before, count in zip([0, *reached], reached, strict=False)]
    return [Bar(end_s, count) for end_s, count in zip([*ends_s, slowest_s], counts, strict=True)]
