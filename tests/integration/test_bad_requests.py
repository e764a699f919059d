"""What no caller should send, sent to a real server: refused in words, and the server goes on for everyone else."""

import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from dkv.wire import messages as pb
from dkv.wire.methods import (
    BACKUP_PATH,
    DELETE_RANGE_PATH,
    METHODS,
    RESTORE_BACKUP_PATH,
    RESTORE_PATH,
    TAKE_BACKUP_PATH,
)

KEY_BYTES_MAX = 65_000
VALUE_BYTES_MAX = REQUEST_BYTES_MAX = 4 << 20
PATHS = [path for path, _ in METHODS if "DKVReplication" not in path and "Cluster/" not in path]
"""Of role none, outside of a cluster."""
IGNORES_ITS_REQUEST = {"/dkv.v1.KV/Limits", "/dkv.serverpb.DKVDiscoveryNode/GetStatus", "/dkv.v1.Status/GetNodeStatus"}
UNDOES = {
    DELETE_RANGE_PATH: pb.DeleteRangeRequest,
    BACKUP_PATH: pb.BackupRequest,
    RESTORE_PATH: pb.RestoreRequest,
    TAKE_BACKUP_PATH: pb.TakeBackupRequest,
    RESTORE_BACKUP_PATH: pb.RestoreBackupRequest,
}
"""What takes keys away, or puts files on the server's disk."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SEED = 20_240_501
HTTP_ADDRESS = re.compile(r"HTTP on ([0-9.]+:[0-9]+)")


@pytest.fixture(autouse=True)
def unharmed(server: Any, client: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """What was acknowledged before a test is there after it, and nobody saw a traceback."""
    key = b"unharmed/" + request.node.name.encode()
    assert client("Put", key=key, value=b"before").status.code == 0
    yield
    assert client("Get", key=key).value == b"before"
    output = server.output()
    assert "Traceback" not in output, output
    assert "panicked" not in output, output


def limit_exceeded(client: Any, rpc: str, **fields: Any) -> tuple[str, int, int, int]:
    """(kind, limit, actual, index) of a call that is refused for its size."""
    with pytest.raises(grpc.RpcError) as caught:
        client(rpc, **fields)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
    trailers: dict[str, Any] = dict(caught.value.trailing_metadata() or ())
    status = client.wire.message("google.rpc.Status").FromString(trailers["grpc-status-details-bin"])
    (detail,) = status.details
    assert detail.type_url == "type.googleapis.com/dkv.v1.LimitExceeded"
    found = client.wire.message("dkv.v1.LimitExceeded").FromString(detail.value)
    assert str(found.limit) in str(caught.value.details())
    return found.kind, found.limit, found.actual, found.index


def first_answer(channel: Any, path: str, payload: bytes) -> grpc.StatusCode:
    """OK when a reply came, else the code of the refusal."""
    call: Any = channel.unary_stream(path)(payload, timeout=20)
    try:
        with suppress(grpc.RpcError):
            next(call, None)
            return grpc.StatusCode.OK
        assert "Traceback" not in (call.details() or "")
        code: grpc.StatusCode = call.code()
        return code
    finally:
        call.cancel()


# Sizes


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("Put", {"key": b"", "value": b"v"}),
        ("Get", {"key": b""}),
        ("Delete", {"key": b""}),
        ("CompareAndSet", {"key": b"", "newValue": b"v"}),
        ("MultiGet", {"keys": [b"a", b""]}),
        ("MultiPut", {"putRequest": [{"key": b"a", "value": b"v"}, {"key": b"", "value": b"v"}]}),
    ],
)
def test_key_that_is_empty_is_refused_by_every_method(client: Any, rpc: str, fields: dict[str, Any]) -> None:
    """The text is the original's; in a batch it names the entry."""
    code, text = client.refused(rpc, **fields)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("Key cannot be empty")
    assert ("(entry 1)" in text) == rpc.startswith("Multi")


@pytest.mark.parametrize(
    ("rpc", "fields", "index"),
    [
        ("Put", lambda key: {"key": key, "value": b"v"}, -1),
        ("Get", lambda key: {"key": key}, -1),
        ("Delete", lambda key: {"key": key}, -1),
        ("CompareAndSet", lambda key: {"key": key, "newValue": b"v"}, -1),
        ("MultiGet", lambda key: {"keys": [b"a", b"b", key]}, 2),
        ("MultiPut", lambda key: {"putRequest": [{"key": b"long/a", "value": b"v"}, {"key": key, "value": b"v"}]}, 1),
    ],
)
def test_key_of_65_001_bytes_is_refused_with_limit_and_size(
    client: Any, rpc: str, fields: Callable[[bytes], dict[str, Any]], index: int
) -> None:
    """The detail tells kind, limit, size and the place in a batch; a batch with one such key changes nothing."""
    found = limit_exceeded(client, rpc, **fields(bytes(KEY_BYTES_MAX + 1)))
    assert found == ("key bytes", KEY_BYTES_MAX, KEY_BYTES_MAX + 1, index)
    assert not client("Get", key=b"long/a").found


def test_put_of_the_largest_key_and_value_is_read_back(client: Any) -> None:
    """Both limits at once still fit into one request."""
    key, value = b"k" * KEY_BYTES_MAX, random.Random(SEED).randbytes(VALUE_BYTES_MAX)
    assert client("Put", key=key, value=value).status.code == 0
    assert client("Get", key=key).value == value
    assert client("Delete", key=key).status.code == 0


@pytest.mark.parametrize("rpc", ["Put", "CompareAndSet"])
def test_value_over_the_limit_is_refused_with_limit_and_size(client: Any, rpc: str) -> None:
    """One byte too many is told exactly, and nothing is written."""
    field = "value" if rpc == "Put" else "newValue"
    found = limit_exceeded(client, rpc, key=b"over", **{field: bytes(VALUE_BYTES_MAX + 1)})
    assert found == ("value bytes", VALUE_BYTES_MAX, VALUE_BYTES_MAX + 1, -1)
    assert not client("Get", key=b"over").found


def test_batch_with_a_value_over_the_limit_names_the_entry(client: Any) -> None:
    """The others of the batch are not written."""
    puts = [{"key": b"batch/%d" % n, "value": bytes(VALUE_BYTES_MAX + 1 if n == 3 else 10)} for n in range(5)]
    assert limit_exceeded(client, "MultiPut", putRequest=puts) == ("value bytes", 4 << 20, (4 << 20) + 1, 3)
    assert not client("MultiGet", keys=[put["key"] for put in puts]).keyValues


@pytest.mark.parametrize(
    ("rpc", "fields", "expected"),
    [
        (
            "MultiPut",
            lambda: {"putRequest": [{"key": b"many", "value": b"v"}] * 10_001},
            ("entries", 10_000, 10_001, -1),
        ),
        ("MultiGet", lambda: {"keys": [b"many"] * 10_001}, ("keys", 10_000, 10_001, -1)),
        (
            "MultiPut",
            lambda: {"putRequest": [{"key": b"m%07d" % n, "value": bytes(32_768)} for n in range(129)]},
            ("request bytes", REQUEST_BYTES_MAX, 129 * (8 + 32_768), -1),
        ),
    ],
    ids=["10,001 puts", "10,001 keys", "4 MiB in small puts"],
)
def test_batch_over_a_limit_is_refused_whole(
    client: Any, rpc: str, fields: Callable[[], dict[str, Any]], expected: tuple[str, int, int, int]
) -> None:
    """Count and payload of a batch have limits of their own."""
    assert limit_exceeded(client, rpc, **fields()) == expected
    assert not client("Get", key=b"many").found
    assert not client("Get", key=b"m0000000").found


def test_request_beyond_the_transport_limit_is_exhausted(client: Any) -> None:
    """Far too long is told by gRPC's own words, and the connection lives."""
    code, text = client.refused("Put", key=b"far", value=bytes(6 << 20))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in text


# Hostile messages

MALFORMED = {
    "truncated length": b"\x0a\xff",
    "length beyond the end": b"\x0a\x10abc",
    "length of 4 GiB": b"\x0a\xff\xff\xff\xff\x0fabc",
    "length of 2^63": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    "varint of 11 bytes": b"\x0a" + b"\xff" * 11,
    "field number 0": b"\x02\x01a",
    "wire type 7": b"\x0f\x01",
    "group without its start": b"\x0c",
    "group without its end": b"\x0b\x0b\x0b",
    "groups 100,000 deep": b"\x0b" * 100_000 + b"\x0c" * 100_000,
    "fixed64 cut short": b"\x09\x01\x02",
    "a key, then garbage": b"\x0a\x01k\xff\xff\xff\xff",
}


@pytest.mark.parametrize("path", PATHS)
def test_message_that_is_no_message_is_refused_by_every_method(client: Any, path: str) -> None:
    """Each malformed request is the caller's mistake in the answer, at once, and the connection lives."""
    allowed = {grpc.StatusCode.INVALID_ARGUMENT}
    if path in IGNORES_ITS_REQUEST:
        allowed.add(grpc.StatusCode.OK)
    codes = {name: first_answer(client.channel, path, payload) for name, payload in MALFORMED.items()}
    assert {name: code for name, code in codes.items() if code not in allowed} == {}


@pytest.mark.parametrize("path", PATHS)
def test_message_of_random_bytes_never_breaks_the_server(client: Any, path: str) -> None:
    """Whatever it parses as, the answer is a reply or a refusal that blames the caller."""
    chance = random.Random(SEED)
    head = (b"", b"\x0a\x01k", b"\x0a\x03abc\x12")
    seen: dict[grpc.StatusCode, bytes] = {}
    for number in range(150):
        payload = head[number % 3] + chance.randbytes(chance.choice((1, 2, 5, 20, 300)))
        if path in UNDOES and parses(UNDOES[path], payload):
            continue  # It may rightly take away what other tests look for.
        seen.setdefault(first_answer(client.channel, path, payload), payload)
    allowed = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
    allowed |= {grpc.StatusCode.NOT_FOUND} if "health" in path else set()
    assert {code: payload.hex() for code, payload in seen.items() if code not in allowed} == {}


def parses(request: Any, payload: bytes) -> bool:
    with suppress(Exception):
        request.FromString(payload)
        return True
    return False


def test_method_that_does_not_exist_is_unimplemented(client: Any) -> None:
    """Odd paths too: none reaches a handler."""
    paths = ["/dkv.serverpb.DKV/Nope", "/nope/Put", "/x", "/dkv.serverpb.DKV/Put/", "/dkv.serverpb.dkv/Put", "/" * 500]
    assert {path: first_answer(client.channel, path, b"") for path in paths} == dict.fromkeys(
        paths, grpc.StatusCode.UNIMPLEMENTED
    )


# Frames


class Frames:
    """A peer that writes HTTP/2 by hand."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)

    def send(self, *parts: bytes) -> "Frames":
        with suppress(ConnectionError):  # The server may have had enough before the end.
            for part in parts:
                self.socket.sendall(part)
        return self

    def until_closed(self) -> bytes:
        """What the server says until it closes. Fails when it does not."""
        heard = b""
        with suppress(ConnectionError):
            while piece := self.socket.recv(65_536):
                heard += piece
        self.socket.close()
        return heard

    def end_of_stream(self) -> list[bytes]:
        """Header blocks of stream 1, until the server ends or resets it."""
        blocks: list[bytes] = []
        while True:
            head = self._exactly(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            payload = self._exactly(int.from_bytes(head[:3], "big"))
            if stream == 1 and kind == 1:
                blocks.append(payload)
            if stream == 1 and (kind == 3 or (kind in (0, 1) and flags & 1)):
                self.socket.close()
                return blocks

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the server hung up"
            data += piece
        return data


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A literal, neither indexed nor compressed."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def headers(content_type: bytes, path: bytes = b"/dkv.serverpb.DKV/Put", verb: bytes = b"POST") -> bytes:
    fields = {b":method": verb, b":scheme": b"http", b":path": path, b":authority": b"a", b"content-type": content_type}
    return b"".join(header(name, value) for name, value in fields.items() if value)


SETTINGS = frame(4, 0, 0)
PUT = b"\x00\x00\x00\x00\x08\x0a\x01f\x12\x03abc"
BROKEN = {
    "a frame of 16 MiB": frame(0, 0, 1, b"", (1 << 24) - 1),
    "data on stream 0": frame(0, 0, 0, b"abc"),
    "data on an idle stream": frame(0, 0, 77, b"abc"),
    "settings of 5 bytes": frame(4, 0, 0, b"12345"),
    "headers that do not decompress": frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "headers on an even stream": frame(1, 5, 2, headers(b"application/grpc")),
    "a window that overflows": frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a window update of 0": frame(8, 0, 0, b"\x00\x00\x00\x00"),
    "a push from a client": frame(5, 4, 1, b"\x00\x00\x00\x02" + headers(b"application/grpc")),
    "a continuation of nothing": frame(9, 4, 1, headers(b"application/grpc")),
    "a ping of 3 bytes": frame(6, 0, 0, b"123"),
    "padding longer than the frame": frame(1, 5 | 8, 1, b"\xff" + headers(b"application/grpc")),
    "continuations without end": frame(1, 0, 1, headers(b"application/grpc"))
    + frame(9, 0, 1, header(b"x", b"y" * 100) * 10) * 2_000,
    "10,000 streams reset at once": b"".join(
        frame(1, 4, number, headers(b"application/grpc")) + frame(3, 0, number, b"\x00\x00\x00\x08")
        for number in range(1, 20_001, 2)
    ),
    "settings without end": SETTINGS * 50_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_frames_that_break_the_protocol_end_only_their_connection(server: Any, client: Any, name: str) -> None:
    """The server hangs up on the one who sent them, at the latest when he does; all others are served."""
    peer = Frames(server.address).send(PREFACE, SETTINGS, BROKEN[name])
    assert client("Put", key=b"frames", value=name.encode()).status.code == 0
    with suppress(OSError):
        peer.socket.shutdown(socket.SHUT_WR)
    peer.until_closed()
    assert client("Get", key=b"frames").value == name.encode()


@pytest.mark.parametrize(
    "garbage",
    [
        random.Random(SEED).randbytes(100_000),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
        PREFACE[:-1] + b"\x00" * 100,
        bytes(100_000),
    ],
    ids=["random", "HTTP/1.1", "TLS", "almost the preface", "zeros"],
)
def test_bytes_that_are_not_http2_end_only_their_connection(server: Any, client: Any, garbage: bytes) -> None:
    """A stranger on the port is hung up on and harms nobody."""
    peer = Frames(server.address).send(garbage)
    with suppress(OSError):
        peer.socket.shutdown(socket.SHUT_WR)
    assert client("Put", key=b"garbage", value=b"fine").status.code == 0
    peer.until_closed()


@pytest.mark.parametrize(
    "request_bytes",
    [
        random.Random(SEED).randbytes(100_000),
        PREFACE + SETTINGS,
        b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 100_000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["random", "HTTP/2", "many headers", "long path", "long body", "long chunk", "a path upwards"],
)
def test_http_port_given_nonsense_serves_the_next_one(server: Any, client: Any, request_bytes: bytes) -> None:
    """Whatever comes, that connection is ended, /metrics answers the next caller, and so does gRPC."""
    address = HTTP_ADDRESS.search(server.output())
    assert address is not None, server.output()
    peer = Frames(address[1]).send(request_bytes)
    with suppress(OSError):
        peer.socket.shutdown(socket.SHUT_WR)
    assert b"root:" not in peer.until_closed()
    scrape = Frames(address[1]).send(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert scrape.until_closed().startswith(b"HTTP/1.1 200 ")
    assert client("Put", key=b"http", value=b"fine").status.code == 0


def test_connections_that_say_nothing_hold_up_nobody(server: Any, client: Any) -> None:
    """Open sockets, some with half a request, are no reason for anyone else to wait."""
    half = PREFACE + SETTINGS + frame(1, 4, 1, headers(b"application/grpc")) + frame(0, 0, 1, PUT[:7])
    silent = [Frames(server.address).send(half if number % 2 else b"") for number in range(100)]
    for number in range(50):
        assert client("Put", key=b"silent/%d" % number, value=b"v", timeout=10).status.code == 0
    for peer in silent:
        peer.socket.close()


HTTP_415 = (b"415", b"\x68\x2d\xff")
"""As it is, and in the code of HPACK."""


@pytest.mark.parametrize("content_type", [b"text/html", b"application/json", b""])
def test_content_type_that_is_not_grpc_is_refused(server: Any, client: Any, content_type: bytes) -> None:
    """415, as gRPC over HTTP/2 says, and the request is not carried out."""
    peer = Frames(server.address)
    peer.send(PREFACE, SETTINGS, frame(1, 4, 1, headers(content_type)), frame(0, 1, 1, PUT))
    (block,) = peer.end_of_stream()
    assert any(form in block for form in HTTP_415)
    assert not client("Get", key=b"f").found


@pytest.mark.parametrize(
    "body",
    [b"", PUT[:3], PUT[:9], b"\x01" + PUT[1:], PUT + PUT, b"\x00\xff\xff\xff\xff" + PUT[5:]],
    ids=["no message", "half a head", "half a message", "compressed", "two messages", "a length of 4 GiB"],
)
def test_body_that_is_not_one_message_is_refused(server: Any, client: Any, body: bytes) -> None:
    """The call ends at once; nothing is written."""
    peer = Frames(server.address)
    peer.send(PREFACE, SETTINGS, frame(1, 4, 1, headers(b"application/grpc")), frame(0, 1, 1, body))
    peer.end_of_stream()
    assert not client("Get", key=b"f").found


# Callers in a hurry


def test_call_with_a_deadline_of_1_ms_ends_in_time_and_loses_nothing(client: Any) -> None:
    """What was acknowledged within it is there; the rest has ended, with the deadline as the reason."""
    put = client.channel.unary_unary("/dkv.serverpb.DKV/Put")
    request = client.wire.message("dkv.serverpb.PutRequest")
    acknowledged = []
    for number in range(300):
        started = time.monotonic()
        message = request(key=b"hurry/%d" % number, value=b"%d" % number).SerializeToString()
        code = put.future(message, timeout=0.001).code()
        assert time.monotonic() - started < 5
        assert code in (grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED)
        if code == grpc.StatusCode.OK:
            acknowledged.append(number)
    for number in acknowledged:
        assert client("Get", key=b"hurry/%d" % number).value == b"%d" % number


def test_calls_cancelled_at_any_moment_leave_the_server_well(client: Any) -> None:
    """Puts and iterates given up at once: those that were acknowledged are there, the next ones are served."""
    request = client.wire.message("dkv.serverpb.PutRequest")
    put = client.channel.unary_unary("/dkv.serverpb.DKV/Put")
    calls = []
    for number in range(500):
        message = request(key=b"cancel/%d" % number, value=bytes(number * 20)).SerializeToString()
        calls.append(put.future(message, timeout=20))
        if number % 3:
            calls[-(number % 3)].cancel()
        if number % 20 == 0:
            client.stream("Iterate").cancel()
    done = [number for number, call in enumerate(calls) if not call.cancelled() and call.exception() is None]
    assert len(done) > 100
    for number in done:
        assert client("Get", key=b"cancel/%d" % number).value == bytes(number * 20)


def test_callers_who_vanish_in_the_middle_leave_the_server_well(server: Any, client: Any) -> None:
    """Connections cut with a request half sent and with an iterate half read."""
    whole = frame(1, 4, 1, headers(b"application/grpc", b"/dkv.serverpb.DKV/Iterate")) + frame(0, 1, 1, bytes(5))
    half = frame(1, 4, 1, headers(b"application/grpc")) + frame(0, 0, 1, PUT[:7])

    def vanish(number: int) -> None:
        peer = Frames(server.address).send(PREFACE, SETTINGS, whole if number % 2 else half)
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.socket.close()

    threads = [threading.Thread(target=vanish, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client("Put", key=b"vanish", value=b"fine").status.code == 0
    assert not client("Get", key=b"f").found
