"""Many connections at once, many one after the other, and more writes than a disk takes: memory and answers."""

import random
import resource
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from dkv.testing.frames import Peer, call

CONNECTIONS = 10_000
IDLE_CONNECTION_BYTES_MAX = 32 << 10
CHURNED = 2_000
PUT_BYTES, PUTS_BYTES = 1 << 20, 1 << 30
IN_FLIGHT = 200
SLOW_DISK = [
    "--log-sync-delay",
    "50",
    "--inbox-bytes-max",
    "64M",
    "--write-buffer-size",
    "16M",
    "--block-cache-size",
    "0",
]
SLOW_DISK_BYTES_MAX = 768 << 20
"""Of the inbox, of 64 MiB that Raft may hold, of memtables, and of the copies that are made between them."""


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors_of(server: Any) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.timeout(180)
def test_ten_thousand_idle_connections_leave_the_server_serving(
    make_server: Callable[..., Any],
    make_client: Callable[[Any], Any],
    resident_bytes: Callable[[Any], int],
    eventually: Callable[..., None],
    descriptors: int,
) -> None:
    """They cost little memory each, calls are answered among them, and all they held is given back when they go."""
    if descriptors < CONNECTIONS + 1_000:
        pytest.skip(f"this system lets a process have {descriptors} descriptors; {CONNECTIONS + 1_000} are needed")
    server = make_server()
    client = make_client(server)
    client("Put", key=b"k", value=b"v")
    before, files = resident_bytes(server), descriptors_of(server)
    with ExitStack() as idle:
        for _ in range(CONNECTIONS):
            idle.enter_context(Peer(server.address))
        eventually(lambda: descriptors_of(server) >= files + CONNECTIONS)
        assert client("Get", key=b"k").value == b"v"
        each = (resident_bytes(server) - before) // CONNECTIONS
        print(f"{CONNECTIONS} idle connections: {each} bytes each")
        assert each < IDLE_CONNECTION_BYTES_MAX
        client("Put", key=b"k", value=b"w")
    eventually(lambda: descriptors_of(server) <= files + 10)
    assert client("Get", key=b"k").value == b"w"
    assert server.stop() == 0, server.output()


def test_connections_that_come_and_go_leave_nothing(
    make_server: Callable[..., Any],
    make_client: Callable[[Any], Any],
    resident_bytes: Callable[[Any], int],
    eventually: Callable[..., None],
    soak_minutes: float,
) -> None:
    """Thousands, closed well, cut off, or reset in the middle of a call: descriptors and memory are where they were."""
    server = make_server()
    client = make_client(server)
    rng, deadline = random.Random(5), time.monotonic() + 60 * soak_minutes

    def visit() -> None:
        with Peer(server.address) as peer:
            peer.send(call(1, "/dkv.serverpb.DKV/Put", b"\x0a\x01k\x12\x01v"))
            how = rng.randrange(3)
            if how == 0:
                peer.read_until_end(1)
            if how == 1:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def churn(count: int) -> None:
        for _ in range(count):
            visit()

    churn(CHURNED // 4)
    files, before = descriptors_of(server), resident_bytes(server)
    churn(CHURNED)
    while time.monotonic() < deadline:
        churn(CHURNED)
    eventually(lambda: descriptors_of(server) <= files + 10)
    assert resident_bytes(server) - before < 32 << 20
    assert client("Get", key=b"k").value == b"v"
    assert server.stop() == 0, server.output()


@pytest.mark.timeout(240)
def test_more_puts_than_a_slow_disk_takes_are_refused_within_bounded_memory(
    make_server: Callable[..., Any], make_client: Callable[[Any], Any], resident_bytes: Callable[[Any], int]
) -> None:
    """1 GiB as fast as it can be sent: what is acknowledged is there after a restart, the rest is told to wait."""
    server = make_server(*SLOW_DISK)
    channels = [make_client(server) for _ in range(4)]
    request = channels[0].wire.message("dkv.serverpb.PutRequest")
    value, room, codes = random.Random(1).randbytes(PUT_BYTES - 16), threading.Semaphore(IN_FLIGHT), Counter[Any]()
    acknowledged: set[int] = set()
    peak = 0

    def done(number: int, future: Any) -> None:
        codes[future.code()] += 1
        if future.code() == grpc.StatusCode.OK:
            acknowledged.add(number)
        room.release()

    for number in range(PUTS_BYTES // PUT_BYTES):
        room.acquire()
        peak = max(peak, resident_bytes(server))
        put = channels[number % 4].channel.unary_unary("/dkv.serverpb.DKV/Put")
        message = request(key=b"%04d" % number, value=b"%016d" % number + value).SerializeToString()
        put.future(message, timeout=60).add_done_callback(lambda future, number=number: done(number, future))
    for _ in range(IN_FLIGHT):
        room.acquire()
    print(f"peak {peak >> 20} MiB, {dict(codes)}")
    assert peak < SLOW_DISK_BYTES_MAX
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    server.kill()
    client = make_client(server.start())
    for number in range(0, PUTS_BYTES // PUT_BYTES, 7):
        if number in acknowledged:
            assert client("Get", key=b"%04d" % number).value[:16] == b"%016d" % number
    assert server.stop() == 0, server.output()
