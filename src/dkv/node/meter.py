"""What a node counts of its own work: a few additions a turn, nothing per call.

Time comes from a stopwatch that only measures; no decision reads it. Without one (in the simulation) all takes no time,
so that equal seeds stay equal.
"""

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

from dkv.services.histogram import COUNTS, SECONDS, Histogram

LONG_TURN_SECONDS = 0.001
LONG_TURNS_KEPT = 64
"""Enough to explain a slow call: the calls of one moment share its turns."""


class Phases(NamedTuple):
    """Seconds of one turn, by what it did. Waiting for news is not in it."""

    accept: float
    propose: float
    apply: float
    read: float
    scan: float
    rest: float


class LongTurn(NamedTuple):
    ended_s: float
    """By the stopwatch."""
    phases: Phases

    @property
    def seconds(self) -> float:
        return sum(self.phases)


def no_time() -> float:
    return 0.0


class Meter:
    """Owned by the node; its thread alone writes."""

    def __init__(self, stopwatch: Callable[[], float] = no_time) -> None:
        """`stopwatch`: seconds that never go back."""
        self.stopwatch = stopwatch
        self.turns: int = 0
        self.turn_seconds: Histogram = Histogram(SECONDS)
        self.turn_calls: Histogram = Histogram(COUNTS)
        """Of the turns that took calls."""
        self.entry_commands: Histogram = Histogram(COUNTS)
        self.storage: dict[str, Histogram] = {
            operation: Histogram(SECONDS) for operation in ("get", "mget", "put", "mput")
        }
        """One look-up and one batch serve a turn: of one key or command, or of many (m)."""
        self.entry_seconds: Histogram = Histogram(SECONDS)
        """From the proposal of an entry to its application."""
        self.rows_swept = 0
        self.long_turns: deque[LongTurn] = deque(maxlen=LONG_TURNS_KEPT)
        self._stamps: list[float] = []
        """The begin of the turn, and the end of each of its phases."""

    def begin(self, calls: int) -> None:
        """A turn has got its news."""
        self.turns += 1
        if calls:
            self.turn_calls.observe(calls)
        self._stamps = [self.stopwatch()]

    def lap(self) -> None:
        """The next phase of the turn is over, in the order of `Phases`."""
        self._stamps.append(self.stopwatch())

    def end(self) -> None:
        """The turn is over."""
        self.lap()
        stamps = self._stamps
        took = stamps[-1] - stamps[0]
        self.turn_seconds.observe(took)
        if took >= LONG_TURN_SECONDS:
            phases = Phases(*(end - begin for begin, end in pairwise(stamps)))
            self.long_turns.append(LongTurn(stamps[-1], phases))

    def looked_up(self, keys: int, began: float) -> None:
        self.storage["get" if keys == 1 else "mget"].observe(self.stopwatch() - began)

    def wrote(self, commands: int, began: float) -> None:
        self.storage["put" if commands == 1 else "mput"].observe(self.stopwatch() - began)

    def applied(self, proposed: float) -> None:
        """An entry that was proposed here at `proposed`, by the stopwatch."""
        self.entry_seconds.observe(self.stopwatch() - proposed)

    def longest_turn_since(self, began: float) -> LongTurn | None:
        """Of the turns that ended after `began`; None when all of them were short."""
        return max((turn for turn in self.long_turns if turn.ended_s >= began), key=_seconds, default=None)


def _seconds(turn: LongTurn) -> float:
    return turn.seconds
