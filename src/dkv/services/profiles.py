"""/debug/pprof/profile?seconds=N: where the node's thread spends its time, as folded stacks.

A line is a stack from the outside in, divided by `;`, and how often it was seen: what flame graphs are drawn from. One
profile at a time; it is taken by a sampler that costs nothing while nobody asks, and that only the server has.
"""

from collections.abc import Collection
from typing import Protocol
from urllib.parse import parse_qs

from dkv.services.turn import Turn

TEXT = "text/plain; charset=utf-8"
SECONDS_DEFAULT, SECONDS_MAX = 10, 60
OFF = b"profiling is off: start the server with --pprof\n"
INDEX = b"/debug/pprof/profile?seconds=10   folded stacks of the node's thread, 100 samples a second of its work\n"


class Sampler(Protocol):
    def start(self) -> None: ...
    def stop(self) -> str:
        """The folded stacks since `start`."""


class Profiles:
    """Owns the profile that is being taken. One thread calls it."""

    def __init__(self) -> None:
        self.sampler: Sampler | None = None
        """None: profiling is off."""
        self._caller: int | None = None
        self._seconds = 0
        self._ends_ms: int | None = None

    def accept(self, call_id: int, path: str, query: str, turn: Turn) -> None:
        """A request below /debug/pprof."""
        if self.sampler is None:
            self._answer(turn, call_id, 404, OFF)
        elif path.rstrip("/") == "/debug/pprof":
            self._answer(turn, call_id, 200, INDEX)
        elif path != "/debug/pprof/profile":
            self._answer(turn, call_id, 404, INDEX)
        elif (seconds := _seconds(query)) is None:
            self._answer(turn, call_id, 400, b"seconds must be a whole number from 1 to %d\n" % SECONDS_MAX)
        elif self._caller is not None:
            self._answer(turn, call_id, 503, b"another profile is being taken\n")
        else:
            self._caller, self._seconds, self._ends_ms = call_id, seconds, None
            self.sampler.start()

    def beat(self, turn: Turn, monotonic_ms: int, is_closing: bool) -> None:
        """Once a turn: the answer when its time is over."""
        if self._caller is None or self.sampler is None:
            return
        if self._ends_ms is None:
            self._ends_ms = monotonic_ms + 1000 * self._seconds
        if monotonic_ms >= self._ends_ms or is_closing:
            self._answer(turn, self._caller, 200, self.sampler.stop().encode())
            self._caller = None

    def forget(self, closed: Collection[int]) -> None:
        """The callers have gone."""
        if self._caller in closed and self.sampler is not None:
            self.sampler.stop()
            self._caller = None

    @staticmethod
    def _answer(turn: Turn, call_id: int, status: int, body: bytes) -> None:
        turn.http.append((call_id, status, TEXT, body, False))


def _seconds(query: str) -> int | None:
    text = parse_qs(query).get("seconds", [str(SECONDS_DEFAULT)])[-1]
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return seconds if 1 <= seconds <= SECONDS_MAX else None
