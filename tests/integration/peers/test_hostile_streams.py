"""Streams of a peer that is broken or evil: each ends by itself, and nobody else notices."""

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from dkv.testing import frames as h2

EXCHANGE = "/dkv.v1.Peer/Exchange"
FROM_2 = {"dkv-cluster": (b"c" * 16).hex(), "dkv-node": "2", "dkv-to": "1", "dkv-lane": "small"}


def opening(stream: int) -> bytes:
    """The headers of node 2."""
    fields = {name.replace("-", "_"): value for name, value in FROM_2.items()}
    return h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.header_block(EXCHANGE, **fields))


@pytest.fixture
def node(nodes: Any) -> Any:
    """Node 1, which knows a node 2 that is not there."""
    made = nodes.make(1, silence_ms=60_000, message_bytes_max=1000)
    made.peers.know(2, "127.0.0.1:1")
    return made


def check_lives(node: Any) -> None:
    """A stream of node 2 is accepted, and its message arrives, perhaps behind whole messages of earlier streams."""
    with h2.Peer(node.address) as peer:
        peer.send(opening(1), h2.frame(h2.DATA, 0, 1, h2.message(b"hello")))
        node.receive_until((2, b"hello"))


@pytest.mark.parametrize(
    "data",
    [b"\x02\0\0\0\1x", b"\xff" * 20, b"\0\xff\xff\xff\xff", b"\1\0\0\0\1x", h2.message(bytes(1001))],
    ids=["bad flag", "noise", "endless message", "compressed", "too large"],
)
def test_stream_with_bytes_that_are_no_messages_is_ended(node: Any, data: bytes) -> None:
    """What was whole before has arrived; the stream is over, the node is not."""
    with h2.Peer(node.address) as peer:
        peer.send(opening(1), h2.frame(h2.DATA, 0, 1, h2.message(b"whole") + data))
        peer.read_until_end(1)
    assert node.receive(1) == [(2, b"whole")]
    check_lives(node)


def test_stream_of_random_bytes_never_harms_the_node(node: Any) -> None:
    """Cut anywhere, reset, or left half sent: whoever comes next is served."""
    chance = random.Random(5)
    with h2.Peer(node.address) as peer:
        for stream in range(1, 400, 2):
            data = h2.message(bytes(chance.randrange(20))) * chance.randrange(4) + chance.randbytes(chance.randrange(9))
            flags = chance.choice([0, h2.END_STREAM])
            peer.send(opening(stream), h2.frame(h2.DATA, flags, stream, data))
            if chance.random() < 0.5:
                peer.send(h2.frame(h2.RESET, 0, stream, bytes(4)))
            node.peers.receive()
    check_lives(node)


def ended(node: Any, metadata: dict[str, str], messages: Iterator[bytes]) -> tuple[grpc.StatusCode, str]:
    """How a stream of an independent client ends."""
    with grpc.insecure_channel(node.address) as channel:
        call = channel.stream_stream(EXCHANGE)(messages, metadata=tuple(metadata.items()), timeout=20)
        with pytest.raises(grpc.RpcError):
            for _ in call:
                pass
        return call.code(), call.details()


def test_stream_of_an_unknown_lane_or_without_a_name_is_refused(node: Any) -> None:
    """A newer release's lane is not taken for one of ours; nothing is assumed of whoever says nothing."""
    code, text = ended(node, FROM_2 | {"dkv-lane": "express"}, iter(()))
    assert (code, text) == (grpc.StatusCode.FAILED_PRECONDITION, "there is no lane 'express'")
    code, text = ended(node, {}, iter(()))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert "belongs to cluster" in text


def test_stream_with_a_message_above_the_limit_is_told_so(node: Any) -> None:
    """Both numbers are in the text."""
    found = ended(node, FROM_2, iter([bytes(1001)]))
    assert found == (grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max (1001 vs. 1000)")


def test_stream_is_ended_when_a_newer_one_of_its_lane_begins(node: Any) -> None:
    """Messages of two lives of a node are never mixed."""
    begun, over = threading.Event(), threading.Event()

    def old() -> Iterator[bytes]:
        yield b"old"
        begun.set()
        over.wait(20)

    def replace() -> None:
        begun.wait(20)
        node.receive(1)
        with h2.Peer(node.address) as peer:
            peer.send(opening(1), h2.frame(h2.DATA, 0, 1, h2.message(b"new")))
            node.receive(1)
            over.wait(20)

    thread = threading.Thread(target=replace)
    thread.start()
    code, _ = ended(node, FROM_2, old())
    over.set()
    thread.join()
    assert code == grpc.StatusCode.ABORTED


def test_stream_that_ends_in_order_is_well(node: Any) -> None:
    """Whoever leaves may do so at any time, also with beats unanswered."""
    with grpc.insecure_channel(node.address) as channel:
        beats = itertools.repeat(b"", 3)
        call = channel.stream_stream(EXCHANGE)(beats, metadata=tuple(FROM_2.items()), timeout=20)
        assert set(call) <= {b""}
        assert call.code() == grpc.StatusCode.OK
