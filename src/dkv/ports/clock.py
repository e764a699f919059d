"""Time as a parameter."""

from typing import NamedTuple, Protocol


class Now(NamedTuple):
    """One reading of both clocks."""

    wall_ms: int
    """Milliseconds since the Unix epoch; may jump either way."""
    monotonic_ms: int
    """Never goes back; its zero means nothing."""


class Clock(Protocol):
    def now(self) -> Now: ...


class Random(Protocol):
    """The node's only source of chance."""

    def bytes(self, count: int) -> bytes: ...
