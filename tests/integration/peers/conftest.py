"""Nodes with links to each other over loopback, whose turns the test takes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from dkv.edge import Bell, EdgeServer
from dkv.edge.peers import Peers
from dkv.ports.peers import Link
from dkv.server.clock import SystemClock

CLUSTER = b"c" * 16
METHODS = [("/t.T/Hold", 0)]


class Node:
    """A server with its links."""

    def __init__(
        self,
        node: int,
        address: str = "127.0.0.1:0",
        cluster: bytes = CLUSTER,
        connections_max: int = 4096,
        **limits: int,
    ) -> None:
        self.node = node
        self.server = EdgeServer(Bell(), METHODS, connections_max=connections_max)
        self.address = self.server.listen(address)
        self.peers = Peers(self.server, SystemClock(), cluster, node, **limits)

    def link(self, other: "Node") -> Link:
        """How it stands with the other; so looks a node at its links, in a turn."""
        return self.peers.links()[other.node]

    def receive(self, count: int) -> list[tuple[int, bytes]]:
        """Wait for so many messages; there are no more."""
        got = self.peers.receive()
        while len(got) < count:
            self.server.poll(1000, 10)
            got += self.peers.receive()
        assert len(got) == count
        return got

    def receive_until(self, last: tuple[int, bytes]) -> list[tuple[int, bytes]]:
        """Wait for the message `last`; what other streams brought before it comes too."""
        got = self.peers.receive()
        while last not in got:
            self.server.poll(1000, 10)
            got += self.peers.receive()
        return got


class Nodes:
    """Makes nodes, and closes them."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing

    def make(
        self,
        node: int,
        address: str = "127.0.0.1:0",
        cluster: bytes = CLUSTER,
        connections_max: int = 4096,
        **limits: int,
    ) -> Node:
        made = Node(node, address, cluster, connections_max, **limits)
        self._closing.callback(made.server.close)
        made.peers.links()
        return made

    def pair(self, **limits: int) -> tuple[Node, Node]:
        """Nodes 1 and 2, whose links are up. `limits` are those of the second."""
        first, second = self.make(1), self.make(2, **limits)
        first.peers.know(2, second.address)
        second.peers.know(1, first.address)
        self.eventually(lambda: self.are_up(first, second))
        return first, second

    @staticmethod
    def are_up(first: Node, second: Node) -> bool:
        """Both take a turn for it."""
        links = [first.link(second), second.link(first)]
        return all(link.is_up for link in links)

    @staticmethod
    def eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
        """Returns once `condition` holds; fails when it does not in time."""
        deadline = time.monotonic() + timeout_s
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, "condition did not come true"
            pause.wait(0.002)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with ExitStack() as closing:
        yield Nodes(closing)
