"""Calls to another node before there are peers: unary, a few, none of which waits."""

from collections.abc import Callable, Sequence
from typing import Protocol

Failure = tuple[int, int, str, bytes, int]
"""(call id, gRPC code, message, details, fate)"""


class Caller(Protocol):
    """Calls to one address. Owned by who has connected it."""

    def send(self, calls: Sequence[tuple[int, str, bytes, int]]) -> None:
        """Start calls (id, path, message, timeout in ms). Each id is used once."""

    def take(self) -> tuple[list[int], list[bytes], list[Failure], list[int]]:
        """What has ended since the last time: ids and replies, side by side, of the calls that went well; the others;
        ids of streams, of which there are none."""

    def close(self) -> None: ...


Connect = Callable[[str, int], Caller]
"""(address, descriptor): the first of what has ended writes one byte there, and nothing more until it was taken."""
