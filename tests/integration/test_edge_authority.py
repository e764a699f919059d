"""Whatever a client calls the server in `:authority`, by a client of its own (grpcio) and by hand-written frames."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import BinaryIO

import grpc
import pytest

from dkv.edge import Bell, EdgeServer

ECHO, MANY = range(2)
UNARY, REPLY_STREAM = range(2)
TIMEOUT_S = 20
NAMES = {
    "percent-encoded path": "%2Ftmp%2Fdkv.sock",
    "path": "/tmp/dkv.sock",
    "cluster of a proxy": "extension/a/b",
    "name with spaces": "node set 1",
    "outside ASCII": "knoten-é",
    "colons": "a:b:c",
    "longer than a read": "n/" * 6000,
}

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
DATA, HEADERS, RST_STREAM, GOAWAY = 0, 1, 3, 7
END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 4, 8, 32
# POST, http and the path: two fields of the static table, one literal that enters the dynamic table.
BEFORE = b"\x83\x86\x44\x09/t.T/Echo"
AFTER = b"\x5f\x10application/grpc"
# `:authority: /tmp/dkv.sock` in every spelling that HPACK has.
KEPT = {
    "plain": b"\x41\x0d/tmp/dkv.sock",
    "huffman": b"\x41\x8a\x61\x34\xd6\xc4\x9d\x7b\xae\x83\x93\xaf",
    "name-plain": b"\x40\x0a:authority\x0d/tmp/dkv.sock",
    "name-huffman": b"\x40\x88\xb8\x3b\x53\x39\xec\x32\x7d\x7f\x8a\x61\x34\xd6\xc4\x9d\x7b\xae\x83\x93\xaf",
}
NOT_KEPT = {
    "without-indexing": b"\x01\x0d/tmp/dkv.sock",
    "never-indexed": b"\x11\x8a\x61\x34\xd6\xc4\x9d\x7b\xae\x83\x93\xaf",
    "never-indexed-name": b"\x10\x0a:authority\x0d/tmp/dkv.sock",
}


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One server that echoes, on a port and on a UNIX socket."""
    bell = Bell()
    server = EdgeServer(bell, [("/t.T/Echo", UNARY), ("/t.T/Many", REPLY_STREAM)])
    path = tmp_path_factory.mktemp("socket") / "dkv.sock"
    stopping = threading.Event()

    def take_turns() -> None:
        while not stopping.is_set():
            for method, ids, messages in server.poll(1000, 10_000)[0]:
                if method == ECHO:
                    server.emit(ids, messages, [], [], [])
                else:
                    items = [(i, [m] * 3) for i, m in zip(ids, messages, strict=True)]
                    server.emit([], [], items, [(i, 0, "", b"", -1) for i in ids], [])

    thread = threading.Thread(target=take_turns)
    thread.start()
    yield {"tcp": server.listen("127.0.0.1:0"), "unix": server.listen(f"unix:{path}")}
    stopping.set()
    bell.ring()
    thread.join()
    server.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def call(stream: int, block: bytes, flags: int = 0) -> bytes:
    """A call whose message is its own number."""
    message = b"%d" % stream
    data = b"\x00" + struct.pack(">I", len(message)) + message
    return frame(HEADERS, END_HEADERS | flags, stream, block) + frame(DATA, END_STREAM, stream, data)


def connect(address: str) -> socket.socket:
    if address.startswith("unix:"):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(TIMEOUT_S)
        peer.connect(address.removeprefix("unix:"))
        return peer
    host, port = address.rsplit(":", 1)
    peer = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def echoes(replies: BinaryIO, count: int) -> dict[int, bytes]:
    """The messages of the next replies, by stream. Fails when a stream is reset or the server hangs up."""
    found: dict[int, bytes] = {}
    while len(found) < count:
        head = replies.read(9)
        assert len(head) == 9, "the server hung up"
        kind, stream = head[3], int.from_bytes(head[5:])
        payload = replies.read(int.from_bytes(head[:3]))
        assert kind not in (RST_STREAM, GOAWAY), f"stream {stream} was refused: {payload!r}"
        if kind == DATA:
            found[stream] = payload[5:]
    return found


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_grpcio_with_its_own_authority_is_served(addresses: dict[str, str], transport: str) -> None:
    """What grpcio makes of the address: over a UNIX socket the percent-encoded path."""
    with grpc.insecure_channel(addresses[transport]) as channel:
        assert channel.unary_unary("/t.T/Echo")(b"one", timeout=TIMEOUT_S) == b"one"
        assert list(channel.unary_stream("/t.T/Many")(b"x", timeout=TIMEOUT_S)) == [b"x"] * 3


def test_grpcio_over_unix_stays_in_step_through_many_calls(addresses: dict[str, str]) -> None:
    """Other headers push the name out of the dynamic table again and again; every call gets its own reply."""
    with grpc.insecure_channel(addresses["unix"]) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        calls = [
            echo.future(b"%d" % n, timeout=TIMEOUT_S, metadata=[("x-number", f"{n:0{n % 200}}")]) for n in range(3000)
        ]
        assert [call.result() for call in calls] == [b"%d" % n for n in range(3000)]


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("name", NAMES)
def test_grpcio_with_any_authority_is_served(addresses: dict[str, str], transport: str, name: str) -> None:
    """Names that no URI allows, as proxies and clients of UNIX sockets send them."""
    options = [("grpc.default_authority", NAMES[name])]
    with grpc.insecure_channel(addresses[transport], options) as channel:
        for message in (b"first", b"again"):
            assert channel.unary_unary("/t.T/Echo")(message, timeout=TIMEOUT_S) == message
        assert list(channel.unary_stream("/t.T/Many")(b"x", timeout=TIMEOUT_S)) == [b"x"] * 3


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("spelling", KEPT | NOT_KEPT)
def test_frames_with_any_spelling_of_the_name_are_served(
    addresses: dict[str, str], transport: str, spelling: str
) -> None:
    """Spelled out in the first call, and again or by its index in the second."""
    first = BEFORE + (KEPT | NOT_KEPT)[spelling] + AFTER
    again = b"\x83\x86\xc0\xbf\xbe" if spelling in KEPT else b"\x83\x86\xbf" + NOT_KEPT[spelling] + b"\xbe"
    with connect(addresses[transport]) as peer, peer.makefile("rb") as replies:
        peer.sendall(PREFACE + call(1, first) + call(3, again))
        assert echoes(replies, 2) == {1: b"1", 3: b"3"}


def test_frames_with_padding_and_priority_are_served(addresses: dict[str, str]) -> None:
    """What may stand around a header block is not taken for one."""
    block = b"\x05\x00\x00\x00\x00\x10" + BEFORE + KEPT["huffman"] + AFTER + bytes(5)
    with connect(addresses["tcp"]) as peer, peer.makefile("rb") as replies:
        peer.sendall(PREFACE + call(1, block, PADDED | PRIORITY) + call(3, b"\x83\x86\xc0\xbf\xbe"))
        assert echoes(replies, 2) == {1: b"1", 3: b"3"}


@pytest.mark.parametrize("spelling", ["plain", "huffman"])
def test_frames_byte_by_byte_are_served(addresses: dict[str, str], spelling: str) -> None:
    """Headers wait until they are whole; nothing is lost, and nothing waits for more than it needs."""
    with connect(addresses["tcp"]) as peer, peer.makefile("rb") as replies:
        for byte in PREFACE + call(1, BEFORE + KEPT[spelling] + AFTER):
            peer.sendall(bytes((byte,)))
        assert echoes(replies, 1) == {1: b"1"}
        for byte in call(3, b"\x83\x86\xc0\xbf\xbe"):
            peer.sendall(bytes((byte,)))
        assert echoes(replies, 1) == {3: b"3"}
