"""/metrics/stream: the JSON of /metrics/json once a second, as server-sent events, for as long as somebody reads.

A reader who stops reading loses the connection, which the edge sees to; how many there may be is bounded here.
"""

from collections.abc import Callable, Collection

from dkv.services.turn import Turn

EVENTS = "text/event-stream"
INTERVAL_MS = 1_000
STREAMS_MAX = 16
"""Each is a connection of the few that HTTP has."""


class MetricsStream:
    """Owns the open streams. One thread calls it."""

    def __init__(self, snapshot: Callable[[int], bytes]) -> None:
        """`snapshot`: JSON on one line, given the time of a turn in ms."""
        self._snapshot = snapshot
        self._readers: set[int] = set()
        self._sent_ms: int | None = None

    @property
    def readers(self) -> int:
        return len(self._readers)

    @property
    def is_full(self) -> bool:
        return len(self._readers) >= STREAMS_MAX

    def open(self, call_id: int, turn: Turn) -> None:
        """The first event at once."""
        self._readers.add(call_id)
        turn.http.append((call_id, 200, EVENTS, self._event(turn), True))

    def beat(self, turn: Turn, monotonic_ms: int, is_closing: bool) -> None:
        """Once a turn: an event for every reader when a second has passed, the end when the server closes."""
        if is_closing:
            turn.http += [(call_id, 200, EVENTS, b"", False) for call_id in sorted(self._readers)]
            self._readers.clear()
        elif self._readers and (self._sent_ms is None or monotonic_ms - self._sent_ms >= INTERVAL_MS):
            self._sent_ms = monotonic_ms
            event = self._event(turn)
            turn.http += [(call_id, 200, EVENTS, event, True) for call_id in sorted(self._readers)]

    def forget(self, closed: Collection[int]) -> None:
        """The readers have gone."""
        self._readers.difference_update(closed)

    def _event(self, turn: Turn) -> bytes:
        return b"data: " + self._snapshot(turn.log_time) + b"\n\n"
