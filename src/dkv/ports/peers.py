"""The other nodes of the cluster: small messages and bulk, both of which may be lost without a word.

Two messages of one lane to one node never overtake each other while the link lives, and no message arrives twice.
Whoever needs an answer has its own time-out.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Link(NamedTuple):
    """How it stands between this node and another."""

    is_up: bool
    """The stream to it is open, and it was heard of lately."""
    since_ms: int
    """Monotonic: when that began."""
    refusal: str
    """Why it last refused our stream; empty when it did not."""
    queued_bytes: int
    """Small messages that have not left."""
    dropped: int = 0
    """Small messages that never will, since the node is known under its address."""


class Peers(Protocol):
    """Owned by the node's thread. Addresses are `host:port` of a node's gRPC listener."""

    def know(self, node: int, address: str) -> None:
        """Where a node is reached, also when that has changed. Connects, and reconnects by itself."""

    def forget(self, node: int) -> None:
        """No stream to it any more, none from it accepted."""

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """(node, message). Never waits: what a slow or dead node does not take is dropped, the oldest first, and
        what is too large for any."""

    def send_bulk(self, node: int, message: bytes) -> bool:
        """A chunk, which never delays what `send` sends. False: no room now, nothing was taken."""

    def receive(self) -> list[tuple[int, bytes]]:
        """(node, message) of both lanes since the last call; from nodes of this cluster only."""

    def links(self) -> Mapping[int, Link]:
        """Of every node that is known."""
