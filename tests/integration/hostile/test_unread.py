"""Peers who ask and do not read: what they leave unread is bounded, counted while anyone holds it, and let go of."""

from collections.abc import Callable
from typing import Any

import pytest

from dkv.testing import frames as h2
from dkv.testing.frames import Peer, call, frame, settings

TIGHT = h2.PREFACE + settings(initial_window=1)
"""With a window of one byte HTTP/2 takes a chunk of each reply, and keeps it."""
EXHAUSTED = 8


def window(stream: int, size: int) -> bytes:
    return frame(h2.WINDOW, 0, stream, size.to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("reply_bytes", "bytes_max", "served"), [(60_000, 1_000_000, 16), (8_000, 100_000, 12)], ids=["long", "short"]
)
def test_replies_that_http2_holds_count_as_unread(
    make_echo: Callable[..., Any], eventually: Callable[..., None], reply_bytes: int, bytes_max: int, served: int
) -> None:
    """A hundred replies of one chunk each, all taken by HTTP/2: those over the bound are refused, others are served."""
    echo = make_echo(unread_bytes_max_per_connection=bytes_max)
    with Peer(echo.address, TIGHT) as peer:
        peer.send(*(call(stream, "/t.T/Big", b"%d" % reply_bytes) for stream in range(1, 200, 2)))
        eventually(lambda: echo.count("/t.T/Big", EXHAUSTED) == 100 - served)
        assert 0.9 * bytes_max < echo.server.stats()["unread_bytes"] <= bytes_max
        assert echo.serves()
        peer.send(window(0, 1 << 24), *(window(stream, 1 << 20) for stream in range(1, 200, 2)))
        eventually(lambda: echo.server.stats()["unread_bytes"] == 0)


def test_tiny_replies_are_not_counted(make_echo: Callable[..., Any], eventually: Callable[..., None]) -> None:
    """What bounds them is how many streams a connection may have."""
    echo = make_echo(unread_bytes_max_per_connection=10_000)
    with Peer(echo.address, TIGHT) as peer:
        peer.send(*(call(stream, "/t.T/Big", b"1000") for stream in range(1, 200, 2)))
        eventually(lambda: echo.count("/t.T/Big", 0) == 100)
        assert echo.server.stats()["unread_bytes"] == 0


def test_connection_that_stands_still_with_much_unread_is_dropped(make_echo: Callable[..., Any]) -> None:
    """It answers pings, so it lives; but the room for unread replies is everyone's."""
    echo = make_echo(unread_timeout_ms=200, unread_bytes_max_per_connection=1_000_000)
    with Peer(echo.address, TIGHT) as peer:
        peer.send(*(call(stream, "/t.T/Big", b"60000") for stream in range(1, 30, 2)))
        peer.read_until_closed()
    assert echo.serves()
    assert echo.server.stats()["unread_bytes"] == 0


def test_connection_that_reads_slowly_is_not_dropped(make_echo: Callable[..., Any]) -> None:
    """Little by little is progress: a reply of 300 KB arrives whole however often the server has looked meanwhile."""
    echo = make_echo(unread_timeout_ms=500, unread_bytes_max_per_connection=1_000_000)
    received = 0
    with Peer(echo.address, TIGHT) as peer:
        peer.send(call(1, "/t.T/Stream", b"300000"))
        while True:
            found = peer.read()
            received += len(found.payload) if found.kind == h2.DATA else 0
            if found.kind == h2.HEADERS and found.flags & h2.END_STREAM:
                break
            if found.kind == h2.DATA:
                peer.send(window(0, 3_000), window(1, 3_000))
    assert received == 300 * 1_005


def test_stream_that_ended_unread_is_let_go_of(make_echo: Callable[..., Any]) -> None:
    """Its messages are dropped after the time-out, and a reader who wakes up is told that they are missing."""
    echo = make_echo(unread_timeout_ms=100)
    with Peer(echo.address, TIGHT) as peer:
        peer.send(call(1, "/t.T/Stream", b"900000"))
        peer.socket.settimeout(1)
        received: list[h2.Frame] = []
        try:
            while True:
                received.append(peer.read())
        except TimeoutError:
            peer.send(window(0, 1 << 24), window(1, 1 << 24))
        peer.socket.settimeout(20)
        received += peer.read_until_end(1)
    assert sum(len(each.payload) for each in received if each.kind == h2.DATA) < 300_000
    assert echo.count("/t.T/Stream", EXHAUSTED) == 1
