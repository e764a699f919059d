"""The other nodes of the cluster, over the native links. See `dkv.ports.peers`."""

from collections.abc import Sequence

from dkv._native import EdgeServer, PeerLinks
from dkv.ports.clock import Clock
from dkv.ports.peers import Link


class Peers:
    """One for each server; its bell rings for messages of other nodes as it does for calls.

    Nodes of another cluster are refused, and those that are not known. A message is at least a byte, and at most 16 MiB.
    """

    def __init__(self, server: EdgeServer, clock: Clock, cluster_id: bytes, node: int) -> None:
        self._links = PeerLinks(server, cluster_id, node)
        self._began_ms = clock.now().monotonic_ms
        self.know = self._links.know
        self.forget = self._links.forget
        self.send_bulk = self._links.send_bulk
        self.receive = self._links.receive
        self.close = self._links.close

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        if messages:
            self._links.send(messages)

    def links(self) -> dict[int, Link]:
        return {
            node: Link(is_up, self._began_ms + since_ms, refusal, queued_bytes)
            for node, (is_up, since_ms, refusal, queued_bytes) in self._links.links().items()
        }
