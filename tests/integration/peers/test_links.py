"""Links between nodes: what is sent arrives, from and to whom it may."""

from typing import Any

import grpc
import pytest

from dkv.edge import Bell, EdgeServer
from dkv.edge.peers import Peers
from dkv.server.clock import SystemClock

EXCHANGE = "/dkv.v1.Peer/Exchange"


def test_messages_of_both_lanes_arrive_whole_and_in_order(nodes: Any) -> None:
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


def test_poll_returns_at_once_when_a_message_of_a_node_arrives(nodes: Any) -> None:
    """The bell rings for messages as for calls; they are not calls."""
    first, second = nodes.pair()
    first.peers.send([(2, b"hello")])
    assert second.server.poll(3_600_000, 10) == ([], [], [], [])
    assert second.receive(1) == [(1, b"hello")]


def test_message_that_is_sent_before_the_link_is_up_arrives(nodes: Any) -> None:
    """What waits for a stream leaves with it; what is for nobody is dropped."""
    first, second = nodes.make(1), nodes.make(2)
    first.peers.know(2, second.address)
    first.peers.send([(2, b"early"), (3, b"to nobody")])
    assert not first.peers.send_bulk(3, b"to nobody")
    second.peers.know(1, first.address)
    assert second.receive(1) == [(1, b"early")]


@pytest.mark.parametrize(
    ("sender", "cluster", "receiver", "text"),
    [
        (2, b"d" * 16, 1, f"this node belongs to cluster {(b'c' * 16).hex()}, not to '{(b'd' * 16).hex()}'"),
        (2, b"c" * 16, 9, "this is node 1, not '9'"),
        (3, b"c" * 16, 1, "node 1 knows no node '3': it was removed, or is not added yet"),
    ],
)
def test_stream_of_a_stranger_is_refused_with_a_text_that_says_why(
    nodes: Any, sender: int, cluster: bytes, receiver: int, text: str
) -> None:
    """Another cluster, another receiver, an unknown sender: nothing arrives, and the link stays down."""
    here, stranger = nodes.make(1), nodes.make(sender, cluster=cluster)
    here.peers.know(2, "127.0.0.1:1")
    stranger.peers.know(receiver, here.address)
    stranger.peers.send([(receiver, b"let me in")])
    nodes.eventually(lambda: here.peers.links() and stranger.peers.links()[receiver].refusal == text)
    assert here.peers.receive() == []
    assert not stranger.peers.links()[receiver].is_up
    assert not here.peers.links()[2].is_up


def test_node_that_becomes_known_is_let_in_and_one_that_is_forgotten_is_shut_out(nodes: Any) -> None:
    """`know` and `forget` take effect while the other keeps trying, and on streams that are open."""
    first, second = nodes.make(1), nodes.make(2)
    first.peers.know(2, second.address)
    nodes.eventually(lambda: second.peers.links() == {} and "knows no node" in first.link(second).refusal)
    second.peers.know(1, first.address)
    nodes.eventually(lambda: nodes.are_up(first, second))
    assert first.link(second).refusal == ""
    second.peers.forget(1)
    nodes.eventually(lambda: second.peers.links() == {} and "knows no node" in first.link(second).refusal)
    first.peers.send([(2, b"still there?")])
    assert not first.link(second).is_up
    assert second.peers.receive() == []


def test_node_whose_address_changes_is_reached_under_the_new_one(nodes: Any) -> None:
    """The link moves; to know an address again changes nothing."""
    first, second = nodes.pair()
    since = first.link(second).since_ms
    first.peers.know(2, second.address)
    assert first.link(second).since_ms == since
    moved = second.server.listen("127.0.0.1:0")
    first.peers.know(2, moved)
    nodes.eventually(lambda: nodes.are_up(first, second))
    first.peers.send([(2, b"hello")])
    assert second.receive(1) == [(1, b"hello")]


def test_address_and_messages_that_cannot_be_are_refused(nodes: Any) -> None:
    """Bugs of the caller are told at once, and nothing of such a turn is sent."""
    first, second = nodes.pair()
    with pytest.raises(ValueError, match="invalid address 'nowhere'"):
        first.peers.know(3, "nowhere")
    with pytest.raises(ValueError, match="an empty message says nothing"):
        first.peers.send([(2, b"fine"), (2, b"")])
    with pytest.raises(ValueError, match="has links to other nodes already"):
        Peers(first.server, SystemClock(), b"c" * 16, 1)
    assert second.peers.receive() == []


def test_closed_links_are_down_and_take_nothing(nodes: Any) -> None:
    """Closing forgets all nodes, and can be done again."""
    first, second = nodes.pair()
    first.peers.close()
    first.peers.close()
    first.peers.send([(2, b"gone")])
    assert first.peers.links() == {}
    nodes.eventually(lambda: first.peers.links() == {} and not second.link(first).is_up)


def test_server_without_a_cluster_does_not_know_the_method() -> None:
    """A standalone server answers UNIMPLEMENTED."""
    alone = EdgeServer(Bell(), [])
    address = alone.listen("127.0.0.1:0")
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(EXCHANGE)(iter([b"x"]), timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    alone.close()


def test_message_too_large_for_any_link_is_dropped_and_counted(nodes: Any) -> None:
    """What is said with it arrives; nobody ends for it."""
    first, second = nodes.pair(message_bytes_max=10)
    second.peers.send([(1, b"before"), (1, b"x" * 11), (1, b"behind"), (77, b"x" * 11)])
    assert first.receive(2) == [(2, b"before"), (2, b"behind")]
    assert second.link(first).dropped == 1
    assert second.peers.send_bulk(1, b"x" * 11) is False
    assert second.link(first).is_up
