"""The other nodes of the cluster, over the native links. See `dkv.ports.peers`."""

from collections.abc import Mapping, Sequence

from dkv._native import EdgeServer, PeerLinks
from dkv.ports.clock import Clock
from dkv.ports.peers import Link


class Peers:
    """The links of one server, whose bell rings for messages of other nodes as it does for calls.

    Streams are taken from known nodes of this cluster only. A message has at least a byte and, unless `limits`
    say otherwise, at most 64 MiB; a larger one is dropped.
    """

    def __init__(self, server: EdgeServer, clock: Clock, cluster_id: bytes, node: int, **limits: int) -> None:
        """`limits`: those of `PeerLinks`."""
        self._began_ms = clock.now().monotonic_ms
        self._native = PeerLinks(server, cluster_id, node, **limits)

    def know(self, node: int, address: str) -> None:
        self._native.know(node, address)

    def forget(self, node: int) -> None:
        self._native.forget(node)

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        self._native.send(messages)

    def send_bulk(self, node: int, message: bytes) -> bool:
        return self._native.send_bulk(node, message)

    def receive(self) -> list[tuple[int, bytes]]:
        return self._native.receive()

    def links(self) -> Mapping[int, Link]:
        return {
            node: Link(is_up, self._began_ms + since_ms, refusal, queued_bytes, dropped)
            for node, (is_up, since_ms, refusal, queued_bytes, dropped) in self._native.links().items()
        }

    def close(self) -> None:
        """End all links. Idempotent."""
        self._native.close()
