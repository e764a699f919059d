"""Counts by bucket: what is observed costs one search and two additions, whatever the number of observations.

Buckets are by upper bound, each bound inside its bucket, with one more bucket for what lies beyond the last bound.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

SECONDS = (0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""From a turn that does nothing to a disk that does not answer."""
COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


class Histogram:
    """Owned by the one thread that observes."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float], counts: Sequence[int] = (), total: float = 0.0) -> None:
        self.bounds: Sequence[float] = bounds
        self.counts: list[int] = list(counts) if counts else [0] * (len(bounds) + 1)
        """One more than the bounds."""
        self.total: float = total
        """Sum of all that was observed."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        return sum(self.counts)

    def copy(self) -> "Histogram":
        return Histogram(self.bounds, self.counts, self.total)

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was observed after `earlier`, an older copy of this one."""
        counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds, counts, self.total - earlier.total)

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """(upper bound, observations at or below it), closed by +Inf."""
        running = 0
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            running += count
            yield ("+Inf" if bound == math.inf else repr(float(bound))), running

    def quantile(self, share: float) -> float:
        """Interpolated within the bucket; 0 without observations, the last bound beyond it. Never NaN."""
        wanted, running, lower = share * self.count, 0.0, 0.0
        if not wanted:
            return 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and running + count >= wanted:
                return lower + (bound - lower) * (wanted - running) / count
            running, lower = running + count, bound
        return self.bounds[-1]
