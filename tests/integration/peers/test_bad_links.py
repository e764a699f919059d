"""Links on bad days: a node that stops, restarts, does not read, or takes no turns. Nothing waits for it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import grpc
import pytest
from tests.integration.test_edge_server import Raw

from dkv.server.clock import SystemClock

CHUNK = 1 << 20
LANES = 2
"""Each has a connection."""
ECHO = """
import sys
from dkv.edge import Bell, EdgeServer
from dkv.edge.peers import Peers
from dkv.server.clock import SystemClock

server = EdgeServer(Bell(), [])
peers = Peers(server, SystemClock(), b"c" * 16, 2)
peers.know(1, sys.argv[1])
print(server.listen("127.0.0.1:0"), flush=True)
while True:
    server.poll(1000, 10)
    peers.send(peers.receive())
"""
"""Node 2 in a process of its own: sends back what it receives."""


def test_link_comes_back_after_the_other_node_restarted(nodes: Any) -> None:
    """It is down while the other is away, and later messages arrive at its next life."""
    first, second = nodes.pair()
    up_since = first.link(second).since_ms
    second.server.close()
    nodes.eventually(lambda: not first.link(second).is_up)
    assert first.link(second).refusal == ""
    again = nodes.make(2, second.address)
    again.peers.know(1, first.address)
    nodes.eventually(lambda: nodes.are_up(first, again))
    assert first.link(again).since_ms > up_since
    first.peers.send([(2, b"welcome")])
    assert again.receive(1) == [(1, b"welcome")]


def test_link_that_broke_for_a_moment_says_since_when_it_holds(nodes: Any) -> None:
    """Whoever waits for an answer can tell that it may have been lost, whichever direction broke."""
    first, second = nodes.pair()
    since = [first.link(second).since_ms, second.link(first).since_ms]
    nodes.eventually(lambda: SystemClock().now().monotonic_ms > max(since))
    second.peers.forget(1)
    second.peers.know(1, first.address)
    nodes.eventually(lambda: nodes.are_up(first, second) and first.link(second).since_ms > since[0])
    assert second.link(first).since_ms > since[1]


def test_node_that_never_reads_costs_a_bounded_queue_and_loses_the_oldest(nodes: Any) -> None:
    """What arrives is what had left already, and the end; in order."""
    sender = nodes.make(1, queue_bytes_max=1 << 20, silence_ms=60_000)
    reader = nodes.make(2, inbox_bytes_max=1 << 20, silence_ms=60_000)
    sender.peers.know(2, reader.address)
    reader.peers.know(1, sender.address)
    nodes.eventually(lambda: nodes.are_up(sender, reader))
    sender.peers.send([(2, bytes(4))])
    nodes.eventually(lambda: sender.link(reader).queued_bytes == 0)
    for number in range(1, 400):
        sender.peers.send([(2, number.to_bytes(4, "big") + bytes(50_000))])
        assert sender.link(reader).queued_bytes <= 1 << 20
    sender.peers.send([(2, b"end")])
    got: list[bytes] = []
    while b"end" not in got:
        reader.server.poll(1000, 10)
        got += [message[:4] for _, message in reader.peers.receive()]
    numbers = [int.from_bytes(message) for message in got[:-1]]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == 0
    assert numbers[-1] == 399
    assert len(numbers) < 200


@pytest.fixture
def half_deaf() -> Iterator[tuple[str, list[bytes], Callable[[], None]]]:
    """Node 2 on a server that shares no code with ours: it reads small messages, and bulk once it is told to.

    Its address, the small messages that arrived, and what tells it."""
    small: list[bytes] = []
    may_read_bulk = threading.Event()

    def exchange(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata(())
        is_bulk = ("dkv-lane", "bulk") in context.invocation_metadata()
        if is_bulk:
            may_read_bulk.wait(60)
        for message in messages:
            if not message:
                yield b""
            elif not is_bulk:
                small.append(message)

    handler = grpc.method_handlers_generic_handler(
        "dkv.v1.Peer", {"Exchange": grpc.stream_stream_rpc_method_handler(exchange)}
    )
    server = grpc.server(ThreadPoolExecutor(8), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", small, may_read_bulk.set
    may_read_bulk.set()
    server.stop(0).wait()


def test_bulk_that_is_not_read_is_refused_and_small_messages_pass_it(
    nodes: Any, half_deaf: tuple[str, list[bytes], Callable[[], None]]
) -> None:
    """The lanes share neither queue nor window nor connection."""
    address, small, read_bulk = half_deaf
    sender = nodes.make(1, silence_ms=60_000)
    sender.peers.know(2, address)
    taken = 0
    while sender.peers.send_bulk(2, bytes(CHUNK)):
        taken += 1
    assert taken >= 3
    for number in range(100):
        sender.peers.send([(2, b"%d" % number)])
        nodes.eventually(lambda: len(small) == number + 1)  # noqa: B023
        sender.peers.send_bulk(2, bytes(CHUNK))
    assert small == [b"%d" % number for number in range(100)]
    nodes.eventually(lambda: not sender.peers.send_bulk(2, bytes(CHUNK)))
    read_bulk()
    nodes.eventually(lambda: sender.peers.send_bulk(2, bytes(CHUNK)))


def test_node_that_is_stopped_is_down_and_comes_back_when_it_goes_on(nodes: Any) -> None:
    """A process that neither reads nor hangs up is found out by its silence, and needs no restart."""
    first = nodes.make(1)
    child = subprocess.Popen([sys.executable, "-c", ECHO, first.address], stdout=subprocess.PIPE, text=True)
    with closing(child.stdout), child:
        try:
            first.peers.know(2, child.stdout.readline().strip())
            is_up: Callable[[], bool] = lambda: first.peers.links()[2].is_up  # noqa: E731
            nodes.eventually(is_up)
            child.send_signal(signal.SIGSTOP)
            nodes.eventually(lambda: not is_up())
            first.peers.send([(2, b"lost or late")])
            child.send_signal(signal.SIGCONT)
            nodes.eventually(is_up)
            first.peers.receive()
            first.peers.send([(2, b"are you there?")])
            got: list[tuple[int, bytes]] = []
            while (2, b"are you there?") not in got:
                first.server.poll(1000, 10)
                got += first.peers.receive()
        finally:
            child.kill()


def test_node_that_takes_no_turns_is_down_for_the_others(nodes: Any) -> None:
    """Its network thread alone is no life: it answers no beat and accepts no stream."""
    first, second = nodes.pair(silence_ms=300)
    third = nodes.make(3)
    second.peers.know(3, third.address)
    nodes.eventually(lambda: not first.link(second).is_up)
    third.peers.know(2, second.address)
    nodes.eventually(lambda: third.link(second).refusal == "node 2 takes no turns now")
    nodes.eventually(lambda: nodes.are_up(first, second) and nodes.are_up(third, second))


def test_flood_of_clients_keeps_no_other_node_out(nodes: Any) -> None:
    """With every connection taken, and idle ones beyond, a link comes up; clients that are too many do not stay."""
    full, other = nodes.make(1, connections_max=2), nodes.make(2)
    with ExitStack() as closing:
        flood = [closing.enter_context(Raw(full.address)) for _ in range(6)]
        for each in flood[:2]:
            each.call(1, "/t.T/Hold")
        nodes.eventually(lambda: full.server.stats()["connections"] >= 2)
        full.peers.know(2, other.address)
        other.peers.know(1, full.address)
        nodes.eventually(lambda: nodes.are_up(full, other))
        with grpc.insecure_channel(full.address) as guest, pytest.raises(grpc.RpcError) as refusal:
            guest.unary_unary("/t.T/Hold")(b"", timeout=20)
        assert refusal.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.value.details() == "too many connections, try again later"
        nodes.eventually(lambda: full.server.stats()["connections"] == 2 + LANES)
        assert nodes.are_up(full, other)
