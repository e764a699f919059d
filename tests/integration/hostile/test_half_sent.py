"""Slowloris: whoever says a little, and then a little more, is dropped after a time-out; nobody else waits for him."""

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from dkv.testing import frames as h2
from dkv.testing.frames import Peer, call, frame, header_block, message, settings

HUNG_UP = select.POLLERR | select.POLLHUP | select.POLLRDHUP
GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
DRIBBLE_SECONDS = 25
"""Above the ten seconds of each stage of HTTP/1.1, and the keep-alive of the edge under test."""


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    made: list[socket.socket] = []

    def connect(address: str, opening: bytes = b"", asked_in_vain: bytes = b"") -> socket.socket:
        """Says `opening`, then `asked_in_vain` until no more goes out, since nothing is read."""
        host, port = address.rsplit(":", 1)
        made.append(socket.socket())
        if asked_in_vain:
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made[-1].connect((host, int(port)))
        made[-1].sendall(opening)
        made[-1].settimeout(1)
        with suppress(OSError):  # it is full, or was dropped already
            while asked_in_vain:
                made[-1].sendall(asked_in_vain * 100)
        return made[-1]

    yield connect
    for each in made:
        each.close()


def never_dropped(sockets: dict[str, socket.socket], dribble: dict[str, bytes]) -> set[str]:
    """Who is still connected at the end; those in `dribble` send a byte every now and then."""
    watch, names = select.poll(), {each.fileno(): name for name, each in sockets.items()}
    for each in sockets.values():
        watch.register(each, HUNG_UP)
    left = {name: iter(data) for name, data in dribble.items()}
    deadline = time.monotonic() + DRIBBLE_SECONDS
    while names and time.monotonic() < deadline:
        for descriptor, _ in watch.poll(50):
            watch.unregister(descriptor)
            del names[descriptor]
        for name in left.keys() & set(names.values()):
            with suppress(OSError):
                sockets[name].send(bytes((next(left[name]),)))
    return set(names.values())


def test_connections_that_dribble_are_dropped_in_time_on_both_ports(
    make_echo: Callable[..., Any], connect: Callable[..., socket.socket], eventually: Callable[..., None]
) -> None:
    """Silence, half a preface, a preface alone, headers byte by byte, a socket nobody reads: each has its limit."""
    echo = make_echo(keepalive_interval_ms=500, keepalive_timeout_ms=500)
    opening = h2.PREFACE + settings()
    sockets = {
        "grpc, silent": connect(echo.address),
        "grpc, half a preface": connect(echo.address, h2.PREFACE[:20]),
        "grpc, preface only": connect(echo.address, h2.PREFACE),
        "grpc, pings unanswered": connect(echo.address, opening),
        "grpc, headers byte by byte": connect(echo.address, opening),
        "grpc, replies unread": connect(echo.address, opening, frame(h2.PING, 0, 0, b"12345678")),
        "http, silent": connect(echo.http_address),
        "http, headers byte by byte": connect(echo.http_address),
        "http, body byte by byte": connect(echo.http_address, GET[:-2] + b"Content-Length: 9999\r\n\r\n"),
        "http, kept alive": connect(echo.http_address, GET),
        "http, replies unread": connect(echo.http_address, b"", GET),
    }
    dribble = {
        "grpc, headers byte by byte": frame(h2.HEADERS, h2.END_HEADERS, 1, header_block("/t.T/Echo", x="y" * 2000)),
        "http, headers byte by byte": GET[:16] + b"x" * 2000,
        "http, body byte by byte": b"x" * 2000,
    }
    assert never_dropped(sockets, dribble) == set()
    assert echo.serves()
    eventually(lambda: echo.server.stats()["connections"] == 0)


@pytest.mark.parametrize("path", ["/t.T/Echo", "/t.T/Talk"])
def test_request_that_is_never_whole_is_ended_and_gives_its_room_back(
    make_echo: Callable[..., Any], eventually: Callable[..., None], path: str
) -> None:
    """Half a message holds a share of the inbox that is everyone's: it is let go of, however it dribbles."""
    echo = make_echo(request_timeout_ms=300)
    with Peer(echo.address) as peer:
        half = message(b"x" * 100)[:50]
        peer.send(frame(h2.HEADERS, h2.END_HEADERS, 1, header_block(path)), frame(h2.DATA, 0, 1, half))
        eventually(lambda: echo.server.stats()["inbox_bytes"] > 50)
        peer.read_until_end(1)
        eventually(lambda: echo.count(path, 10) == 1)
        eventually(lambda: echo.server.stats()["inbox_bytes"] == 0)
        peer.send(call(3, "/t.T/Echo", b"again"))
        assert any(b"again" in each.payload for each in peer.read_until_end(3))


def test_conversation_may_be_silent_between_its_messages(make_echo: Callable[..., Any]) -> None:
    """The limit is for half a message: a stream that waits for its next question is no attack."""
    echo = make_echo(request_timeout_ms=100)
    with Peer(echo.address) as peer:
        question = frame(h2.DATA, 0, 1, message(b"one"))
        peer.send(frame(h2.HEADERS, h2.END_HEADERS, 1, header_block("/t.T/Talk")), question)
        while b"one" not in peer.read().payload:
            pass
        peer.socket.settimeout(0.4)
        with suppress(TimeoutError):
            while (silent := peer.read()).stream == 0:
                pass
            raise AssertionError(f"the stream was ended: {silent}")
        peer.socket.settimeout(20)
        peer.send(frame(h2.DATA, h2.END_STREAM, 1, message(b"two")))
        assert any(b"two" in each.payload for each in peer.read_until_end(1))
