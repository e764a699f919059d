"""Quantiles of the last one to two minutes: those since the start of a server would soon not move any more.

Twice a copy of every histogram is kept, a minute apart; what is recent is what came after the older one.
"""

from collections.abc import Mapping

from dkv.services.histogram import Histogram

INTERVAL_MS = 60_000

Histograms = Mapping[str, Histogram]


class Recent:
    """Owned by whoever exposes the histograms; one thread."""

    def __init__(self) -> None:
        self._older: Histograms = {}
        self._newer: Histograms = {}
        self._kept_ms: int | None = None

    def is_due(self, monotonic_ms: int) -> bool:
        """Whether a minute has passed since the last `keep`."""
        return self._kept_ms is None or monotonic_ms - self._kept_ms >= INTERVAL_MS

    def keep(self, histograms: Histograms, monotonic_ms: int) -> None:
        """The state at this minute, by name."""
        self._older, self._newer = self._newer, {name: each.copy() for name, each in histograms.items()}
        self._kept_ms = monotonic_ms

    def of(self, name: str, histogram: Histogram) -> Histogram:
        """What the histogram of this name saw lately; all of it while the server is younger than that."""
        earlier = self._older.get(name)
        return histogram if earlier is None else histogram.since(earlier)
