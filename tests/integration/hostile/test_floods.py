"""Frames that are legal one by one and an attack in thousands: the sender loses his connection at most."""

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from dkv.testing import frames as h2
from dkv.testing.frames import Peer, call, frame, header, header_block, message, settings

STREAMS = 100_000
CONNECTIONS = 20
ENDS = h2.END_HEADERS | h2.END_STREAM
CANCEL = struct.pack(">I", 8)
ECHO, PUT = header_block("/t.T/Echo"), header_block("/dkv.serverpb.DKV/Put")


def opened_and_reset(stream: int) -> bytes:
    return frame(h2.HEADERS, h2.END_HEADERS, stream, ECHO) + frame(h2.RESET, 0, stream, CANCEL)


def made_to_reset(stream: int) -> bytes:
    """A call whose window update of zero makes the *server* reset the stream ("made you reset")."""
    return call(stream, "/t.T/Hold") + frame(h2.WINDOW, 0, stream, bytes(4))


def called_and_reset(stream: int) -> bytes:
    return call(stream, "/t.T/Hold", b"x" * 100) + frame(h2.RESET, 0, stream, CANCEL)


@pytest.mark.parametrize("attack", [opened_and_reset, made_to_reset, called_and_reset])
def test_streams_opened_and_reset_in_a_flood_leave_nothing(
    make_echo: Callable[..., Any], eventually: Callable[..., None], attack: Callable[[int], bytes]
) -> None:
    """100,000 streams on twenty connections: each loses its connection or its streams, and no call, no byte stays."""
    echo = make_echo()
    numbers = range(1, 2 * STREAMS // CONNECTIONS, 2)
    flood = b"".join(map(attack, numbers))
    for _ in range(CONNECTIONS):
        with Peer(echo.address) as peer, suppress(OSError):
            peer.send(flood)
        assert echo.serves()
    eventually(lambda: echo.server.open_calls() == 0)
    eventually(lambda: (echo.server.stats()["connections"], echo.server.stats()["inbox_bytes"]) == (0, 0))


def test_streams_opened_and_reset_within_the_rules_are_all_served(
    make_echo: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """100,000 calls on one connection, each given up before its answer, 200 at a time: legal, and nothing piles up."""
    echo = make_echo()
    with Peer(echo.address) as peer:
        for first in range(1, 2 * STREAMS, 400):
            peer.send(*map(called_and_reset, range(first, first + 400, 2)), frame(h2.PING, 0, 0, b"12345678"))
            while (found := peer.read()).kind != h2.PING or not found.flags & h2.ACK:
                pass
        last = 2 * STREAMS + 1
        peer.send(call(last, "/t.T/Echo", b"still here"))
        assert any(b"still here" in each.payload for each in peer.read_until_end(last))
        eventually(lambda: echo.server.open_calls() == 0)
        assert echo.server.stats()["inbox_bytes"] == 0


FLOODS = {
    "pings": frame(h2.PING, 0, 0, b"12345678") * 500_000,
    "settings": settings(initial_window=70_000) * 200_000,
    "acknowledgements of nothing": frame(h2.SETTINGS, h2.ACK, 0) * 200_000,
    "priorities": frame(h2.PRIORITY, 0, 1, bytes(5)) * 200_000,
    "unknown frames": frame(77, 0, 0, b"?" * 100) * 100_000,
    "window updates": frame(h2.WINDOW, 0, 0, b"\0\0\0\1") * 200_000,
    "empty data": frame(h2.HEADERS, h2.END_HEADERS, 1, PUT) + frame(h2.DATA, 0, 1) * 200_000,
    "data of one byte": frame(h2.HEADERS, h2.END_HEADERS, 1, PUT) + frame(h2.DATA, 0, 1, b"\0") * 200_000,
    "padding alone": frame(h2.HEADERS, h2.END_HEADERS, 1, PUT)
    + frame(h2.DATA, h2.PADDED, 1, b"\xff" + bytes(255)) * 20_000,
    "empty continuations": frame(h2.HEADERS, 0, 1, PUT) + frame(h2.CONTINUATION, 0, 1) * 200_000,
    "a header table that grows": b"".join(
        frame(
            h2.HEADERS,
            h2.END_HEADERS | h2.END_STREAM,
            stream,
            PUT + b"\x40" + header(b"x%06d" % stream, b"y" * 3_000)[1:],
        )
        for stream in range(1, 10_000, 2)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_flood_of_small_frames_neither_stops_nor_fills_the_server(
    make_server: Callable[..., Any], resident_bytes: Callable[[Any], int], name: str
) -> None:
    """Nobody reads the answers; other clients are served at once, and memory stays within 64 MiB of where it was."""
    server = make_server()
    before = resident_bytes(server)
    with Peer(server.address, timeout_s=1) as peer:
        with suppress(OSError):
            peer.send(FLOODS[name])
        with Peer(server.address) as other:
            other.send(call(1, "/grpc.health.v1.Health/Check"))
            assert other.read_until_end(1)
        assert resident_bytes(server) - before < 64 << 20
    assert server.stop() == 0, server.output()


def test_header_block_of_weird_but_legal_frames_is_understood(make_echo: Callable[..., Any]) -> None:
    """Padding, priority, continuations in the middle of a name, data in pieces of one byte, trailers at the end."""
    echo = make_echo()
    block = header_block("/t.T/Echo", **{"x-" + "long" * 20: "value" * 100})
    pieces = [block[at : at + 157] for at in range(0, len(block), 157)]
    flags = h2.PADDED | 0x20
    first = frame(h2.HEADERS, flags, 1, b"\x03" + b"\0\0\0\0\x10" + pieces[0] + b"\0\0\0")
    rest = [frame(h2.CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]]
    data = [frame(h2.DATA, h2.PADDED, 1, b"\x01" + bytes((byte,)) + b"\0") for byte in message(b"hello")]
    trailers = frame(h2.HEADERS, ENDS, 1, header(b"x-checksum", b"1"))
    with Peer(echo.address) as peer:
        peer.send(first, *rest, frame(h2.CONTINUATION, h2.END_HEADERS, 1, pieces[-1]), *data, trailers)
        assert message(b"hello") in b"".join(each.payload for each in peer.read_until_end(1))
