"""/metrics: the text of all families, made in slices, so that a scrape never holds up a turn for long.

Prometheus' own text writer needs 10 us a sample, and there are hundreds. Callers who come while a text is being made
wait for the next one, which they share.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from dkv.services.turn import Turn

EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
SLICE_SAMPLES = 50
"""About half a millisecond; a family is not divided."""


class _Some(Collector):
    """Families at hand, as a registry would yield them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Scrapes:
    """Owns the text that is being made, and who waits for it. One thread calls it."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """`collect` yields the families one by one, each read when it is asked for."""
        self._collect = collect
        self._waiting: list[int] = []
        self._callers: list[int] = []
        self._families: Iterator[Metric] = iter(())
        self._parts: list[bytes] = []

    @property
    def has_work(self) -> bool:
        """A text is wanted: the next turn need not wait for news."""
        return bool(self._callers or self._waiting)

    def open(self, call_id: int) -> None:
        """Somebody wants the text."""
        self._waiting.append(call_id)

    def beat(self, turn: Turn, is_closing: bool) -> None:
        """Once a turn: one slice; all that is left when the server closes."""
        while self.has_work:
            if not self._callers:
                self._callers, self._waiting = self._waiting, []
                self._families, self._parts = iter(self._collect()), []
            self._slice(turn)
            if not is_closing:
                return

    def _slice(self, turn: Turn) -> None:
        families: list[Metric] = []
        samples = 0
        for family in self._families:
            families.append(family)
            samples += len(family.samples)
            if samples >= SLICE_SAMPLES:
                break
        self._parts.append(generate_latest(_Some(families)))
        if samples < SLICE_SAMPLES:
            text = b"".join(self._parts)
            turn.http += [(call_id, 200, EXPOSITION, text, False) for call_id in self._callers]
            self._callers = []
