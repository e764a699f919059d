"""The links between nodes: servers that exchange messages over loopback, their turns taken by the test."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import grpc
import pytest

from dkv.edge import Bell, EdgeServer
from dkv.edge.peers import Peers
from dkv.server.clock import SystemClock

CLUSTER = b"c" * 16


def eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Returns once `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        pause.wait(0.002)


class Node:
    """A server with its links."""

    def __init__(self, node: int, address: str = "127.0.0.1:0", cluster: bytes = CLUSTER) -> None:
        self.node = node
        self.server = EdgeServer(Bell(), [])
        self.address = self.server.listen(address)
        self.peers = Peers(self.server, SystemClock(), cluster, node)

    def knows(self, *others: "Node") -> "Node":
        for other in others:
            self.peers.know(other.node, other.address)
        return self

    def is_up(self, other: "Node") -> bool:
        return self.peers.links()[other.node].is_up

    def refusal(self, other: "Node") -> str:
        return self.peers.links()[other.node].refusal

    def receive(self, count: int) -> list[tuple[int, bytes]]:
        """Wait for so many messages; there are no more."""
        got = self.peers.receive()
        while len(got) < count:
            self.server.poll(1000, 10)
            got += self.peers.receive()
        assert len(got) == count
        return got


class Nodes:
    """Makes nodes, and closes them."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing

    def make(self, node: int, address: str = "127.0.0.1:0", cluster: bytes = CLUSTER) -> Node:
        made = Node(node, address, cluster)
        self._closing.callback(made.server.close)
        return made

    def pair(self) -> tuple[Node, Node]:
        """Two nodes whose links are up."""
        first, second = self.make(1), self.make(2)
        first.knows(second)
        second.knows(first)
        eventually(lambda: first.is_up(second) and second.is_up(first))
        return first, second


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with ExitStack() as closing:
        yield Nodes(closing)


def test_messages_of_both_lanes_arrive_whole_and_in_order(nodes: Nodes) -> None:
    """Each lane keeps its order, whatever the sizes, and both directions work at once."""
    first, second = nodes.pair()
    sent = [bytes([number % 256]) * (number * 37 % 3000 + 1) for number in range(3000)]
    for at in range(0, len(sent), 100):
        first.peers.send([(2, message) for message in sent[at : at + 100]])
        second.peers.send([(1, message) for message in sent[at : at + 100]])
    assert second.receive(3000) == [(1, message) for message in sent]
    assert first.receive(3000) == [(2, message) for message in sent]
    large = [bytes([number]) * 1_000_000 for number in range(3)]
    assert all(first.peers.send_bulk(2, chunk) for chunk in large)
    assert second.receive(3) == [(1, chunk) for chunk in large]


def test_poll_returns_at_once_when_a_message_of_a_node_arrives(nodes: Nodes) -> None:
    """The bell rings for messages as for calls; they are not calls."""
    first, second = nodes.pair()
    first.peers.send([(2, b"hello")])
    assert second.server.poll(3_600_000, 10) == ([], [], [], [])
    assert second.receive(1) == [(1, b"hello")]


def test_message_that_is_sent_before_the_link_is_up_arrives(nodes: Nodes) -> None:
    """What waits for a stream leaves with it."""
    first, second = nodes.make(1), nodes.make(2)
    first.knows(second)
    first.peers.send([(2, b"early"), (3, b"to nobody")])
    second.knows(first)
    assert second.receive(1) == [(1, b"early")]


def test_stream_of_a_stranger_is_refused_with_a_text_that_says_why(nodes: Nodes) -> None:
    """Another cluster, another receiver, an unknown sender: three texts; nothing arrives, and the link stays down."""
    here = nodes.make(1)
    foreign, unknown, mistaken = nodes.make(2, cluster=b"d" * 16), nodes.make(3), nodes.make(4)
    foreign.knows(here)
    unknown.knows(here)
    mistaken.peers.know(9, here.address)
    here.knows(foreign, mistaken)
    for node in (foreign, unknown):
        node.peers.send([(1, b"let me in")])
    clusters = f"this node belongs to cluster {CLUSTER.hex()}, not to '{(b'd' * 16).hex()}'"
    eventually(lambda: foreign.refusal(here) == clusters)
    eventually(lambda: unknown.refusal(here) == "node 1 knows no node '3': it was removed, or is not added yet")
    eventually(lambda: mistaken.peers.links()[9].refusal == "this is node 1, not '9'")
    assert here.peers.receive() == []
    assert not any(link.is_up for node in (foreign, unknown, mistaken) for link in node.peers.links().values())


def test_node_that_becomes_known_is_let_in_and_one_that_is_forgotten_is_shut_out(nodes: Nodes) -> None:
    """`know` and `forget` take effect while the node keeps trying, and on streams that are open."""
    first, second = nodes.make(1), nodes.make(2)
    first.knows(second)
    eventually(lambda: "knows no node" in first.refusal(second))
    second.knows(first)
    eventually(lambda: first.is_up(second) and second.is_up(first))
    assert first.refusal(second) == ""
    second.peers.forget(1)
    assert second.peers.links() == {}
    eventually(lambda: "knows no node" in first.refusal(second))
    first.peers.send([(2, b"still there?")])
    assert not first.is_up(second)
    assert second.peers.receive() == []


def test_server_without_a_cluster_does_not_know_the_method(nodes: Nodes) -> None:
    """A standalone server answers UNIMPLEMENTED."""
    alone = EdgeServer(Bell(), [])
    address = alone.listen("127.0.0.1:0")
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary("/dkv.v1.Peer/Exchange")(iter([b"x"]), timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    alone.close()
