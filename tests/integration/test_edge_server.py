"""The native gRPC server against an independent client (grpcio) and against hand-written HTTP/2 frames."""

import http.client
import queue
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType

import grpc
import pytest

from dkv.edge import Bell, EdgeServer

ECHO, HOLD, MANY, FAIL, PUMP, TALK, LISTEN = range(7)
UNARY, REPLY_STREAM, CONVERSATION = range(3)
WRITE_TIMEOUT_S = 10
"""What a reader of HTTP/1.1 otherwise has to take a byte."""
METHODS = [
    ("/t.T/Echo", UNARY),
    ("/t.T/Hold", UNARY),
    ("/t.T/Many", REPLY_STREAM),
    ("/t.T/Fail", UNARY),
    ("/t.T/Pump", REPLY_STREAM),
    ("/t.T/Talk", CONVERSATION),
    ("/t.T/Listen", CONVERSATION),
]


def eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Returns once `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        pause.wait(0.002)


class Node:
    """A server and the thread that takes its turns."""

    def __init__(self, **limits: int) -> None:
        self.bell = Bell()
        self.server = EdgeServer(self.bell, METHODS, **limits)
        self.address = self.server.listen("127.0.0.1:0")
        self.held: list[int] = []
        self.pumped: list[int] = []
        self.talked: list[tuple[int, bytes]] = []
        self.heard: list[tuple[int, bytes]] = []
        self.closed: list[int] = []
        self.progress: list[tuple[int, int]] = []
        self._stop = False
        self._thread: threading.Thread | None = None

    def start(self) -> "Node":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self) -> None:
        while not self._stop:
            self.turn(1000)

    def turn(self, timeout_ms: int) -> None:
        calls, closed, progress, requests = self.server.poll(timeout_ms, 10_000)
        self.closed += closed
        self.progress += progress
        for method, ids, messages in calls:
            if method == ECHO:
                self.server.emit(ids, messages, [], [], [])
            elif method == HOLD:
                self.held += ids
            elif method == MANY:
                items = [(i, [b"%d" % n for n in range(int(m))]) for i, m in zip(ids, messages, strict=True)]
                self.server.emit([], [], items, [(i, 0, "", b"", -1) for i in ids], [])
            elif method == FAIL:
                self.server.emit([], [], [], [(i, 9, "100% naïve\n", b"\x00\xff\x01", 250) for i in ids], [])
            elif method == PUMP:
                self.pumped += ids
                self.server.emit([], [], [(i, [b"x" * 1019] * 1024) for i in ids], [], [])
            elif method == TALK:
                self.talked += zip(ids, messages, strict=True)
                self.server.emit([], [], [(i, [m * 2]) for i, m in zip(ids, messages, strict=True)], [], [])
            elif method == LISTEN:
                self.heard += zip(ids, messages, strict=True)
        answers = [(i, 200, "text/plain", f"{verb} {path} ".encode() + body, False) for i, verb, path, body in requests]
        self.server.emit([], [], [], [], answers)

    def count(self, method: int, code: int) -> int:
        calls = self.server.stats()["calls"]
        assert isinstance(calls, dict)
        return int(calls.get((METHODS[method][0], code), 0))

    def stop(self) -> None:
        self._stop = True
        self.bell.ring()
        if self._thread:
            self._thread.join()
        self.server.close()


@pytest.fixture
def node() -> Iterator[Node]:
    node = Node().start()
    yield node
    node.stop()


@pytest.fixture
def idle() -> Iterator[Node]:
    """A server whose turns the test takes itself."""
    node = Node(inbox_calls_max=4)
    yield node
    node.stop()


@pytest.fixture
def channel(node: Node) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(node.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


class Raw:
    """A peer that writes HTTP/2 frames by hand."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.unread = b""

    def __enter__(self) -> "Raw":
        try:
            self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            self.frame(4, 0, 0, b"")
        except OSError:
            self.socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.socket.sendall(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def headers(self, stream: int, path: str, *, verb: str = "POST", last: bool = False, **extra: str) -> None:
        fields = {":method": verb, ":scheme": "http", ":path": path, ":authority": "any.name"}
        fields |= {"content-type": "application/grpc"} | {k.replace("_", "-"): v for k, v in extra.items()}
        block = b"".join(
            b"\x00" + bytes([len(k)]) + k.encode() + b"\x7f" + self._rest(len(v)) + v.encode()
            if len(v) >= 127
            else b"\x00" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode()
            for k, v in fields.items()
        )
        self.frame(1, 4 | last, stream, block)

    @staticmethod
    def _rest(length: int) -> bytes:
        length -= 127
        out = b""
        while length >= 128:
            out += bytes([length % 128 + 128])
            length //= 128
        return out + bytes([length])

    def data(self, stream: int, payload: bytes, *, last: bool = True) -> None:
        self.frame(0, int(last), stream, payload)

    def call(self, stream: int, path: str, message: bytes = b"", grpc_timeout: str = "1H") -> None:
        self.headers(stream, path, grpc_timeout=grpc_timeout)
        self.data(stream, b"\x00" + struct.pack(">I", len(message)) + message)

    def read(self) -> tuple[int, int, bytes]:
        """The next frame: (kind, stream, payload)."""
        while len(self.unread) < 9 or len(self.unread) < 9 + int.from_bytes(self.unread[:3]):
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("closed by the server")
            self.unread += more
        size = int.from_bytes(self.unread[:3])
        frame = self.unread[3], int.from_bytes(self.unread[5:9]), self.unread[9 : 9 + size]
        self.unread = self.unread[9 + size :]
        return frame

    def wait_closed(self) -> None:
        with suppress(ConnectionError):
            while True:
                self.read()


def test_unary_any_size_returns_the_message(channel: grpc.Channel) -> None:
    """A message comes back as it was, from nothing to the limit."""
    echo = channel.unary_unary("/t.T/Echo")
    for size in (0, 1, 100, 16_384, 70_000, 4 << 20):
        message = bytes(range(256)) * (size // 256 + 1)
        assert echo(message[:size], timeout=20) == message[:size]


def test_unary_many_at_once_each_gets_its_own_reply(channel: grpc.Channel) -> None:
    """Calls that share a batch are not confused."""
    echo = channel.unary_unary("/t.T/Echo")
    calls = [echo.future(b"%d" % i, timeout=20) for i in range(2000)]
    assert [call.result() for call in calls] == [b"%d" % i for i in range(2000)]


def test_unary_unknown_method_is_unimplemented(node: Node, channel: grpc.Channel) -> None:
    """A path nobody serves is answered without Python and counted under one label."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Nope")(b"", timeout=20)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "unknown method /t.T/Nope")
    calls = node.server.stats()["calls"]
    assert isinstance(calls, dict)
    assert calls[("unknown", 12)] == 1


def test_unary_failed_carries_message_details_and_delay(channel: grpc.Channel) -> None:
    """Status text outside ASCII, binary details and the retry delay survive the headers."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Fail")(b"", timeout=20)
    trailers = dict(error.value.trailing_metadata())
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "100% naïve\n")
    assert trailers["grpc-status-details-bin"] == b"\x00\xff\x01"
    assert trailers["grpc-retry-pushback-ms"] == "250"


def test_unary_over_the_request_limit_is_exhausted(channel: grpc.Channel) -> None:
    """A request above 4 MiB + 64 KiB is refused with both numbers."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Echo")(bytes(5 << 20), timeout=20)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error.value.details() == "received message larger than max (5242880 vs. 4259840)"


def test_unary_over_the_reply_limit_is_exhausted() -> None:
    """A reply above the limit ends its call instead of leaving the server."""
    node = Node(reply_bytes_max=100).start()
    try:
        with grpc.insecure_channel(node.address) as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/t.T/Echo")(bytes(101), timeout=20)
        assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        node.stop()


def test_unary_gzip_request_is_decompressed(channel: grpc.Channel) -> None:
    """A compressed request is handed out plain."""
    message = b"abc" * 10_000
    assert channel.unary_unary("/t.T/Echo")(message, timeout=20, compression=grpc.Compression.Gzip) == message


def test_unary_gzip_bomb_is_exhausted(channel: grpc.Channel) -> None:
    """A small request that decompresses beyond the limit is refused."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Echo")(bytes(20 << 20), timeout=20, compression=grpc.Compression.Gzip)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_unary_deflate_request_is_unimplemented(channel: grpc.Channel) -> None:
    """An encoding that is not offered is refused by name."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/t.T/Echo")(bytes(10_000), timeout=20, compression=grpc.Compression.Deflate)
    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED
    assert "deflate" in error.value.details()


def test_stream_many_messages_arrive_in_order(channel: grpc.Channel) -> None:
    """Packed messages come out one by one, in order, with an OK at the end."""
    replies = list(channel.unary_stream("/t.T/Many")(b"20000", timeout=60))
    assert replies == [b"%d" % n for n in range(20_000)]


def test_stream_without_messages_ends_at_once(channel: grpc.Channel) -> None:
    """A stream may end before its first message."""
    assert list(channel.unary_stream("/t.T/Many")(b"0", timeout=20)) == []


def test_stream_slow_reader_is_reported_only_after_draining(node: Node) -> None:
    """Python hears of progress when the peer opens its window, not before: memory stays bounded by what Python sent."""
    with Raw(node.address) as raw:
        raw.call(1, "/t.T/Pump")
        received = 0
        while received < 65_535:
            kind, _, payload = raw.read()
            received += len(payload) if kind == 0 else 0
        assert (received, node.progress, len(node.pumped)) == (65_535, [], 1)
        raw.frame(8, 0, 0, struct.pack(">I", 1 << 21))
        raw.frame(8, 0, 1, struct.pack(">I", 1 << 21))
        eventually(lambda: node.progress)
        assert node.progress[0][0] == node.pumped[0]
        assert node.progress[0][1] < 1 << 19
        while received < 1 << 20:
            kind, _, payload = raw.read()
            received += len(payload) if kind == 0 else 0
        assert (received, len(node.progress)) == (1 << 20, 1)
    eventually(lambda: node.closed == node.pumped)
    assert node.server.open_calls() == 0


def test_stream_that_is_sent_more_and_more_unread_is_ended() -> None:
    """A reader that stands still cannot make the server hold more than a few buffers, whatever Python sends."""
    node = Node(stream_buffer_bytes=200_000).start()
    try:
        with Raw(node.address) as raw:
            raw.call(1, "/t.T/Pump")
            eventually(lambda: node.pumped)
            for _ in range(10):
                node.server.emit([], [], [(node.pumped[0], [bytes(1 << 20)])], [], [])
            eventually(lambda: node.closed == node.pumped)
        eventually(lambda: node.count(PUMP, 8) == 1)
    finally:
        node.stop()


LONG = b"x" * 500_000


def emit_held(node: Node, count: int) -> None:
    """Answers `count` held calls with a long reply each."""
    eventually(lambda: len(node.held) == count)
    for call_id in node.held:
        node.server.emit([call_id], [LONG], [], [], [])


def test_long_replies_of_a_connection_that_reads_none_are_bounded() -> None:
    """Beyond its bound a connection is refused; others are answered, and what is read makes room again."""
    node = Node(unread_bytes_max_per_connection=1_200_000).start()
    try:
        with Raw(node.address) as raw, grpc.insecure_channel(node.address) as channel:
            for stream in (1, 3, 5):
                raw.call(stream, "/t.T/Hold")
            emit_held(node, 3)
            eventually(lambda: node.count(HOLD, 8) == 1)
            assert channel.unary_unary("/t.T/Echo")(LONG, timeout=20) == LONG
            assert 900_000 < int(str(node.server.stats()["unread_bytes"])) <= 1_000_000
            raw.frame(8, 0, 0, struct.pack(">I", 1 << 21))
            for stream in (1, 3):
                raw.frame(8, 0, stream, struct.pack(">I", 1 << 20))
            eventually(lambda: node.server.stats()["unread_bytes"] == 0)
    finally:
        node.stop()


def test_long_replies_of_all_connections_are_bounded() -> None:
    """Beyond the node's bound a reply is not even queued: its caller is told to try again later."""
    node = Node(unread_bytes_max=1_200_000).start()
    try:
        with Raw(node.address) as one, Raw(node.address) as other:
            one.call(1, "/t.T/Hold")
            other.call(1, "/t.T/Hold")
            other.call(3, "/t.T/Hold")
            emit_held(node, 3)
            eventually(lambda: node.count(HOLD, 8) == 1)
        eventually(lambda: node.server.stats()["unread_bytes"] == 0)
    finally:
        node.stop()


def test_long_reply_that_nobody_reads_is_dropped() -> None:
    """A caller that keeps its connection and never reads keeps a chunk or two of the server's memory at most."""
    node = Node(unread_timeout_ms=100).start()
    try:
        with Raw(node.address) as raw:
            raw.call(1, "/t.T/Hold")
            emit_held(node, 1)
            eventually(lambda: node.server.stats()["unread_bytes"] == 500_000)
            eventually(lambda: int(str(node.server.stats()["unread_bytes"])) <= 128 << 10)
    finally:
        node.stop()


def test_stream_cancelled_is_told_as_closed(node: Node, channel: grpc.Channel) -> None:
    """A reader that leaves ends its stream in the server too."""
    call = channel.unary_stream("/t.T/Pump")(b"", timeout=60)
    assert len(next(iter(call))) == 1019
    call.cancel()
    eventually(lambda: node.closed == node.pumped)
    assert node.server.stats()["streams"] == 0


class Questions:
    """The request stream of a conversation, kept open until `end`."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.ask, self.end = self._queue.put, lambda: self._queue.put(None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._queue.get, None)


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\x00" + struct.pack(">I", len(message)) + message for message in messages)


def test_conversation_is_answered_message_by_message_while_it_stays_open(node: Node, channel: grpc.Channel) -> None:
    """Each question is answered before the next is asked, under one call id; the half-close ends the call with OK."""
    questions = Questions()
    call = channel.stream_stream("/t.T/Talk")(iter(questions), timeout=60)
    for number in range(50):
        questions.ask(b"%d " % number)
        assert next(call) == b"%d " % number * 2
    questions.end()
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK
    assert len({call_id for call_id, _ in node.talked}) == 1
    eventually(lambda: node.closed == [node.talked[0][0]])
    assert node.count(TALK, 0) == 1


def test_conversation_of_many_questions_at_once_is_answered_in_order(channel: grpc.Channel) -> None:
    """More questions than may wait unanswered, and larger ones than a frame, all get their answers before the end."""
    questions = [b"%d." % number * (1 + number % 5 * 3000) for number in range(500)]
    assert list(channel.stream_stream("/t.T/Talk")(iter(questions), timeout=60)) == [each * 2 for each in questions]


def test_conversation_without_questions_ends_at_once(node: Node, channel: grpc.Channel) -> None:
    """A caller that asks nothing gets OK, and Python never hears of it."""
    assert list(channel.stream_stream("/t.T/Talk")(iter(()), timeout=20)) == []
    assert (node.talked, node.closed) == ([], [])
    assert node.server.stats()["inbox_bytes"] == 0


def test_conversation_compressed_is_handed_out_plain(channel: grpc.Channel) -> None:
    """Each message of a stream may be compressed."""
    talk = channel.stream_stream("/t.T/Talk")
    questions = [b"abc" * 10_000, b"xyz" * 10_000]
    replies = talk(iter(questions), timeout=20, compression=grpc.Compression.Gzip)
    assert list(replies) == [each * 2 for each in questions]


def test_conversation_is_not_ended_while_an_answer_is_owed(node: Node) -> None:
    """After the half-close the call lives until the last answer, which Python may take its time for."""
    with grpc.insecure_channel(node.address) as channel:
        call = channel.stream_stream("/t.T/Listen")(iter([b"1", b"2"]), timeout=60)
        eventually(lambda: [message for _, message in node.heard] == [b"1", b"2"])
        call_id = node.heard[0][0]
        node.server.emit([], [], [(call_id, [b"one"])], [], [])
        assert next(call) == b"one"
        assert node.server.open_calls() == 1
        node.server.emit([], [], [(call_id, [b"two"])], [], [])
        assert list(call) == [b"two"]
    eventually(lambda: node.server.open_calls() == 0)


def test_conversation_failed_by_python_ends_with_its_status(node: Node, channel: grpc.Channel) -> None:
    """A status ends the stream whatever is unanswered, and what comes later is ignored."""
    questions = Questions()
    call = channel.stream_stream("/t.T/Listen")(iter(questions), timeout=60)
    questions.ask(b"what")
    eventually(lambda: node.heard)
    node.server.emit([], [], [], [(node.heard[0][0], 3, "no", b"", -1)], [])
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no")
    questions.end()
    eventually(lambda: node.server.open_calls() == 0)
    assert node.closed == []


def test_conversation_unanswered_is_read_no_further(node: Node) -> None:
    """Python is given 16 messages and no more until it answers, so a flood waits in the caller's window."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Listen")
        raw.data(1, framed(*[b"%d" % number for number in range(100)]), last=False)
        eventually(lambda: len(node.heard) == 16)
        with grpc.insecure_channel(node.address) as channel:
            assert channel.unary_unary("/t.T/Echo")(b"alive", timeout=20) == b"alive"
        assert len(node.heard) == 16
        node.server.emit([], [], [(node.heard[0][0], [b"a", b"b"])], [], [])
        eventually(lambda: len(node.heard) == 18)
    assert [message for _, message in node.heard] == [b"%d" % number for number in range(18)]
    eventually(lambda: node.closed == [node.heard[0][0]])
    eventually(lambda: node.server.stats()["inbox_bytes"] == 0)


def test_conversation_whose_answers_are_not_read_is_read_no_further() -> None:
    """Answers nobody takes stop the questions: what a caller can make the server hold is bounded."""
    node = Node(stream_buffer_bytes=100_000).start()
    try:
        with Raw(node.address) as raw:
            seen: set[int] = set()
            while seen != {4, 8}:  # settings, a window of 1 MiB for a stream among them, and one of 4 for all of them
                seen.add(raw.read()[0])
            raw.frame(4, 1, 0, b"")  # agrees
            raw.headers(1, "/t.T/Talk")
            for _ in range(60):
                raw.data(1, framed(bytes(10_000)), last=False)
            eventually(lambda: len(node.talked) >= 8)
            with grpc.insecure_channel(node.address) as channel:
                for _ in range(50):
                    assert channel.unary_unary("/t.T/Echo")(b"alive", timeout=20) == b"alive"
            # At least the buffer and 64 KiB of the peer's window; at most what hyper holds and what was under way too.
            assert 8 <= len(node.talked) < 50
            raw.frame(8, 0, 0, struct.pack(">I", 1 << 21))
            raw.frame(8, 0, 1, struct.pack(">I", 1 << 21))
            eventually(lambda: len(node.talked) == 60)
    finally:
        node.stop()


def test_conversation_flood_is_refused_beyond_the_inbox(idle: Node) -> None:
    """The messages of a conversation count like calls."""
    with Raw(idle.address) as raw:
        raw.headers(1, "/t.T/Listen")
        raw.data(1, framed(*[b"x"] * 5), last=False)
        eventually(lambda: idle.count(LISTEN, 8) == 1)
        assert idle.server.poll(0, 100) == ([], [], [], [])
        eventually(lambda: idle.server.stats()["inbox_bytes"] == 0)


def test_conversation_cancelled_or_late_is_told_as_closed_once(node: Node, channel: grpc.Channel) -> None:
    """A caller that leaves and a deadline both end an open conversation."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Talk", grpc_timeout="100m")
        raw.data(1, framed(b"x"), last=False)
        eventually(lambda: node.count(TALK, 4) == 1)
    eventually(lambda: len(node.closed) == 1)
    questions = Questions()
    call = channel.stream_stream("/t.T/Talk")(iter(questions), timeout=60)
    questions.ask(b"x")
    next(call)
    call.cancel()
    questions.end()
    eventually(lambda: len(node.closed) == 2)
    assert node.closed == [call_id for call_id, _ in node.talked]
    assert (node.server.open_calls(), node.server.stats()["streams"]) == (0, 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"\x00\x00\x00", 13), (b"\x00\x00\x00\x00\x05abc", 13), (b"\x02\x00\x00\x00\x00", 13), (b"\x00\xff\0\0\0", 8)],
    ids=["half-header", "truncated", "bad-flag", "too-large"],
)
def test_conversation_badly_framed_fails_after_what_was_whole(node: Node, body: bytes, code: int) -> None:
    """Broken framing ends the stream with a status; the message before it was delivered."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Listen")
        raw.data(1, framed(b"whole") + body)
        eventually(lambda: node.count(LISTEN, code) == 1)
        eventually(lambda: len(node.closed) == len(node.heard))
    assert [message for _, message in node.heard] in ([b"whole"], [])


def test_stop_accepting_ends_an_open_conversation_when_answered(node: Node, channel: grpc.Channel) -> None:
    """A caller that keeps its stream open does not keep the server from ending."""
    questions = Questions()
    call = channel.stream_stream("/t.T/Listen")(iter(questions), timeout=60)
    questions.ask(b"last")
    eventually(lambda: node.heard)
    node.server.stop_accepting()
    node.server.emit([], [], [(node.heard[0][0], [b"words"])], [], [])
    assert next(call) == b"words"
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    questions.end()
    eventually(lambda: node.server.open_calls() == 0)


def test_methods_of_an_unknown_mode_are_refused() -> None:
    """A mode is 0, 1 or 2."""
    with pytest.raises(ValueError, match="Odd has mode 3"):
        EdgeServer(Bell(), [("/t.T/Odd", 3)])


def test_deadline_of_a_held_call_ends_it_natively(node: Node) -> None:
    """A call that Python holds too long is answered DEADLINE_EXCEEDED and told as closed."""
    with Raw(node.address) as raw:
        raw.call(1, "/t.T/Hold", grpc_timeout="50m")
        eventually(lambda: node.count(HOLD, 4) == 1)
        eventually(lambda: node.closed == node.held and node.held)


def test_deadline_of_a_stream_ends_it_natively(node: Node) -> None:
    """A reply stream whose reader stands still ends at its deadline, and its buffer is given back."""
    with Raw(node.address) as raw:
        raw.call(1, "/t.T/Pump", grpc_timeout="300m")
        eventually(lambda: node.closed == node.pumped and node.pumped)


def test_deadline_passed_in_the_inbox_is_never_handed_out(idle: Node) -> None:
    """An expired call costs Python nothing, not even the news that it ended."""
    with Raw(idle.address) as raw:
        raw.call(1, "/t.T/Hold", grpc_timeout="20m")
        eventually(lambda: idle.count(HOLD, 4) == 1)
        assert idle.server.poll(0, 100) == ([], [], [], [])
        assert (idle.server.open_calls(), idle.server.stats()["inbox_calls"]) == (0, 0)


def test_deadline_malformed_is_internal(node: Node) -> None:
    """A timeout nobody can read is an error, not a call without one."""
    with Raw(node.address) as raw:
        raw.call(1, "/t.T/Hold", grpc_timeout="soon")
        eventually(lambda: node.count(HOLD, 13) == 1)


def test_cancelled_after_hand_out_is_told_as_closed(node: Node, channel: grpc.Channel) -> None:
    """Python hears that the caller of a held call has gone, and may answer it all the same."""
    call = channel.unary_unary("/t.T/Hold").future(b"", timeout=60)
    eventually(lambda: node.held)
    call.cancel()
    eventually(lambda: node.closed == node.held)
    node.server.emit(node.held, [b"late"], [], [], [])
    assert channel.unary_unary("/t.T/Echo")(b"next", timeout=20) == b"next"


def test_cancelled_in_the_inbox_is_dropped(idle: Node) -> None:
    """A call whose caller left before a poll is never seen."""
    with Raw(idle.address) as raw:
        raw.call(1, "/t.T/Hold")
        eventually(lambda: idle.server.stats()["inbox_calls"] == 1)
        raw.frame(3, 0, 1, struct.pack(">I", 8))
        eventually(lambda: idle.count(HOLD, 1) == 1)
    eventually(lambda: idle.server.stats()["connections"] == 0)
    assert idle.server.poll(100, 100) == ([], [], [], [])


def test_connection_lost_closes_its_calls(node: Node) -> None:
    """A peer that vanishes leaves no open call behind."""
    with Raw(node.address) as raw:
        for stream in (1, 3, 5):
            raw.call(stream, "/t.T/Hold")
        eventually(lambda: len(node.held) == 3)
    eventually(lambda: sorted(node.closed) == sorted(node.held))
    assert node.server.open_calls() == 0


def test_inbox_flood_is_refused_with_a_delay(idle: Node) -> None:
    """Calls beyond the bound are refused at once; those within it are answered later."""
    with grpc.insecure_channel(idle.address) as channel:
        echo = channel.unary_unary("/t.T/Echo")
        calls = [echo.future(b"", timeout=60) for _ in range(10)]
        eventually(lambda: idle.server.stats()["overloaded"] == 6)
        eventually(lambda: sum(call.done() for call in calls) == 6)
        idle.turn(1000)
        eventually(lambda: all(call.done() for call in calls))
        refused = [call for call in calls if call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED]
        assert len(refused) == 6
        assert ("grpc-retry-pushback-ms", "100") in refused[0].trailing_metadata()


def test_inbox_bytes_of_one_connection_are_bounded() -> None:
    """Requests that never end count before they are whole, per connection; another connection is not disturbed."""
    node = Node(inbox_bytes_max_per_connection=20_000).start()
    try:
        with Raw(node.address) as raw:
            raw.headers(1, "/t.T/Echo")
            raw.data(1, b"\x00" + struct.pack(">I", 1 << 20) + bytes(10_000), last=False)
            raw.headers(3, "/t.T/Echo")
            raw.data(3, b"\x00" + struct.pack(">I", 1 << 20) + bytes(10_000), last=False)
            eventually(lambda: node.count(ECHO, 8) == 1)
            with grpc.insecure_channel(node.address) as channel:
                assert channel.unary_unary("/t.T/Echo")(b"fine", timeout=20) == b"fine"
        eventually(lambda: node.server.stats()["inbox_bytes"] == 0)
    finally:
        node.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00",
        b"\x00\x00\x00\x00\x05abc",
        b"\x00\x00\x00\x00\x00" * 2,
        b"\x02\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x00",
    ],
    ids=["empty", "half-header", "truncated", "two-messages", "bad-flag", "compressed-without-encoding"],
)
def test_unary_badly_framed_is_internal(node: Node, body: bytes) -> None:
    """A request that is not exactly one message is answered INTERNAL and not handed out."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Hold")
        raw.data(1, body)
        eventually(lambda: node.count(HOLD, 13) == 1)
    assert node.held == []


@pytest.mark.parametrize(
    ("verb", "kind", "status", "text"),
    [("GET", "application/grpc", b"405", b"use POST"), ("POST", "text/html", b"415", b"speaks gRPC")],
)
def test_request_that_is_not_grpc_is_refused_in_http(
    node: Node, verb: str, kind: str, status: bytes, text: bytes
) -> None:
    """A browser gets an HTTP error with a sentence, 405 or 415."""
    # HPACK's Huffman code: five bits for 0 to 2, six for the other digits, filled up with ones.
    spelled = {b"405": b"\x83\x68\x0d\xff", b"415": b"\x83\x68\x2d\xff"}[status]
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Echo", verb=verb, last=True, content_type=kind)
        headers = body = b""
        while text not in body:
            kind_of_frame, _, payload = raw.read()
            headers += payload if kind_of_frame == 1 else b""
            body += payload if kind_of_frame == 0 else b""
    assert spelled in headers


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 8, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64]
)
def test_connection_of_garbage_is_dropped_and_others_live(node: Node, channel: grpc.Channel, garbage: bytes) -> None:
    """Bytes that are no HTTP/2 end their own connection only."""
    host, port = node.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as peer:
        peer.sendall(garbage)
        with suppress(ConnectionError):
            while peer.recv(4096):
                pass
    assert channel.unary_unary("/t.T/Echo")(b"alive", timeout=20) == b"alive"


def test_connection_cut_inside_a_frame_leaves_nothing(node: Node) -> None:
    """Half a frame and a hang-up leave no call and no connection."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Hold")
        raw.socket.sendall(b"\x00\x40\x00\x00\x01\x00\x00\x00\x01abc")
    eventually(lambda: node.server.stats()["connections"] == 0)
    assert (node.server.open_calls(), node.server.stats()["inbox_bytes"]) == (0, 0)


def test_connection_of_rapid_resets_is_dropped(node: Node, channel: grpc.Channel) -> None:
    """A peer that opens and resets streams in a flood loses its connection; others are served."""
    with Raw(node.address) as raw:
        with suppress(ConnectionError):
            for stream in range(1, 20_001, 2):
                raw.headers(stream, "/t.T/Hold")
                raw.frame(3, 0, stream, struct.pack(">I", 8))
        raw.wait_closed()
    assert channel.unary_unary("/t.T/Echo")(b"alive", timeout=20) == b"alive"


def test_headers_too_large_are_refused(node: Node, channel: grpc.Channel) -> None:
    """A header list above the bound never becomes a call."""
    with Raw(node.address) as raw:
        raw.headers(1, "/t.T/Hold", x_large="a" * 16_000, x_more="b" * 300)
        with suppress(ConnectionError):
            while True:
                kind, stream, _ = raw.read()
                if kind in (1, 3) and stream == 1:
                    break
    assert node.held == []
    assert channel.unary_unary("/t.T/Echo")(b"alive", timeout=20) == b"alive"


def test_connections_over_the_limit_are_dropped() -> None:
    """One connection more than allowed is closed; the others stay."""
    node = Node(connections_max=1).start()
    try:
        with Raw(node.address) as first:
            first.call(1, "/t.T/Hold")
            eventually(lambda: node.held)
            with suppress(ConnectionError), Raw(node.address) as second:
                second.wait_closed()
            assert node.server.stats()["connections"] == 1
    finally:
        node.stop()


def test_listen_on_a_port_in_use_raises_oserror(node: Node) -> None:
    """A second server on the same port is an error with the address in its text."""
    other = EdgeServer(Bell(), METHODS)
    with pytest.raises(OSError, match=f"{node.address} is in use"):
        other.listen(node.address)
    other.close()


def test_listen_on_nonsense_raises_value_error(node: Node) -> None:
    """An address that cannot be read says why."""
    with pytest.raises(ValueError, match="port"):
        node.server.listen("127.0.0.1:http")


def test_listen_on_unix_socket_serves_and_removes_it(node: Node, tmp_path: Path) -> None:
    """A UNIX socket replaces a stale one, is refused while served, and is removed at the end."""
    path = tmp_path / "edge.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    address = node.server.listen(f"unix:{path}")
    assert address == f"unix:{path}"
    other = EdgeServer(Bell(), METHODS)
    with pytest.raises(OSError, match="in use"):
        other.listen(address)
    other.close()
    with grpc.insecure_channel(address) as channel:
        assert channel.unary_unary("/t.T/Echo")(b"local", timeout=20) == b"local"
    node.server.stop_accepting()
    eventually(lambda: not path.exists())


def test_listen_on_ipv6_serves(node: Node) -> None:
    """Brackets around an IPv6 address are understood."""
    try:
        address = node.server.listen("[::1]:0")
    except OSError:
        pytest.skip("no IPv6 loopback on this machine")
    with grpc.insecure_channel(address) as channel:
        assert channel.unary_unary("/t.T/Echo")(b"six", timeout=20) == b"six"


def test_stop_accepting_lets_open_calls_end(node: Node, channel: grpc.Channel) -> None:
    """After GOAWAY the held call is still answered, and nobody new gets in."""
    call = channel.unary_unary("/t.T/Hold").future(b"", timeout=60)
    eventually(lambda: node.held)
    node.server.stop_accepting()

    def refused() -> bool:
        host, port = node.address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return True
        return False

    eventually(refused)
    assert node.server.open_calls() == 1
    node.server.emit(node.held, [b"done"], [], [], [])
    assert call.result() == b"done"
    eventually(lambda: node.server.stats()["connections"] == 0)


def test_http_request_is_answered_by_the_node(node: Node) -> None:
    """HTTP/1.1 requests arrive with verb, path, query and body."""
    host, port = node.server.listen_http("127.0.0.1:0").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    for verb, body in (("GET", b""), ("POST", b"abc")):
        connection.request(verb, "/metrics?x=1", body=body)
        response = connection.getresponse()
        assert (response.status, response.headers["content-type"]) == (200, "text/plain")
        assert response.read() == verb.encode() + b" /metrics?x=1 " + body
    connection.close()


def streamed(idle: Node, window_bytes: int = 1 << 20) -> tuple[socket.socket, int]:
    """(the socket of a reader, the id of its request), with headers and first part on their way."""
    host, port = idle.server.listen_http("127.0.0.1:0").rsplit(":", 1)
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
    reader.settimeout(20)
    reader.connect((host, int(port)))
    reader.sendall(b"GET /stream HTTP/1.1\r\nhost: x\r\n\r\n")
    asked: list[int] = []

    def has_asked() -> bool:
        asked.extend(request[0] for request in idle.server.poll(10, 10)[3])
        return bool(asked)

    eventually(has_asked)
    idle.server.emit([], [], [], [], [(asked[0], 200, "text/event-stream", b"first", True)])
    return reader, asked[0]


def read_until(reader: socket.socket, ending: bytes) -> bytes:
    received = b""
    while not received.endswith(ending):
        part = reader.recv(65536)
        assert part, received[-100:]
        received += part
    return received


def test_http_reply_in_parts_is_read_part_by_part(idle: Node) -> None:
    """Each part leaves at once; the last one, maybe empty, ends the reply and the connection may go on."""
    reader, call_id = streamed(idle)
    with reader:
        head = read_until(reader, b"first\r\n")
        assert b"transfer-encoding: chunked" in head
        assert b"cache-control: no-store" in head
        idle.server.emit([], [], [], [], [(call_id, 200, "", b"second", True)])
        assert read_until(reader, b"\r\n") == b"6\r\nsecond\r\n"
        idle.server.emit([], [], [], [], [(call_id, 200, "", b"", False)])
        assert read_until(reader, b"\r\n\r\n") == b"0\r\n\r\n"
        assert idle.server.poll(0, 10)[1] == []


def test_http_reader_who_leaves_is_told_as_closed_once(idle: Node) -> None:
    """Parts for it are ignored afterwards."""
    reader, call_id = streamed(idle)
    reader.close()
    closed: list[int] = []

    def is_told() -> bool:
        closed.extend(idle.server.poll(10, 10)[1])
        return bool(closed)

    eventually(is_told)
    idle.server.emit([], [], [], [], [(call_id, 200, "", b"late", True)])
    assert (closed, idle.server.poll(10, 10)[1]) == ([call_id], [])


def test_http_reader_who_does_not_read_loses_its_connection(idle: Node) -> None:
    """What waits for one reader is bounded, and Python learns that it has gone."""
    reader, call_id = streamed(idle, 4096)
    closed: list[int] = []

    def is_told() -> bool:
        idle.server.emit([], [], [], [], [(call_id, 200, "", bytes(256 << 10), True)])
        closed.extend(idle.server.poll(1, 10)[1])
        return bool(closed)

    with reader:
        eventually(is_told)
    assert closed == [call_id]


@pytest.mark.parametrize("is_read", [False, True])
def test_http_stream_is_waited_for_while_a_server_stops_as_long_as_it_is_read(idle: Node, is_read: bool) -> None:
    """Who reads gets all of it; who does not has the grace that callers have, and not the time a write may take."""
    reader, call_id = streamed(idle, 4096)
    parts = [(call_id, 200, "", bytes(256 << 10), True)] * 12
    with reader:
        idle.server.emit([], [], [], [], [*parts, (call_id, 200, "", b"", False)])
        idle.server.stop_accepting()
        if is_read:
            received = read_until(reader, b"\r\n0\r\n\r\n")
            assert received.count(b"\0") == 12 * (256 << 10)
        eventually(lambda: idle.server.open_calls() == 0, WRITE_TIMEOUT_S - 1)


def next_call(idle: Node) -> int:
    """The id of the one call that arrives."""
    arrived: list[int] = []

    def has_arrived() -> bool:
        arrived.extend(call_id for _, ids, _ in idle.server.poll(10, 10)[0] for call_id in ids)
        return bool(arrived)

    eventually(has_arrived)
    (call_id,) = arrived
    return call_id


def test_ended_calls_are_kept_only_when_asked_for(idle: Node) -> None:
    """Each with its code, the bytes of its messages, where it came from, and how long its parts took."""
    with Raw(idle.address) as raw:
        raw.call(1, "/t.T/Hold", b"unseen")
        first = next_call(idle)
        idle.server.emit([first], [b"x"], [], [], [])
        eventually(lambda: idle.server.open_calls() == 0)
        assert idle.server.take_ended_calls() == ([], 0)
        idle.server.keep_ended_calls(0)
        raw.call(3, "/t.T/Fail", b"abc")
        second = next_call(idle)
        idle.server.emit([], [], [], [(second, 9, "no", b"", -1)], [])
        eventually(lambda: idle.server.open_calls() == 0)
        ((ended,), lost) = idle.server.take_ended_calls()
        assert abs(ended[0] - time.time() * 1000) < 60_000
        assert ended[1:3] == ("/t.T/Fail", 9)
        assert all(0 <= seconds < 60 for seconds in ended[3:6])
        assert (ended[6:8], lost) == ((3, 0), 0)
        assert ended[8].startswith("127.0.0.1:")
        idle.server.keep_ended_calls(60_000_000)
        raw.call(5, "/t.T/Fail", b"quick")
        third = next_call(idle)
        idle.server.emit([], [], [], [(third, 9, "no", b"", -1)], [])
        eventually(lambda: idle.server.open_calls() == 0)
        assert idle.server.take_ended_calls() == ([], 0)


def test_http_body_too_large_is_refused(node: Node) -> None:
    """A body above 1 MiB is answered 413 without Python."""
    host, port = node.server.listen_http("127.0.0.1:0").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("POST", "/")
    connection.putheader("content-length", str(2 << 20))
    connection.endheaders()
    with suppress(ConnectionError):
        connection.send(bytes(2 << 20))
    assert connection.getresponse().status == 413
    connection.close()


def test_stats_after_calls_count_codes_and_latency(node: Node, channel: grpc.Channel) -> None:
    """Counters and histogram agree with what was called."""
    for _ in range(5):
        channel.unary_unary("/t.T/Echo")(b"", timeout=20)
    eventually(lambda: node.count(ECHO, 0) == 5)
    stats = node.server.stats()
    latency, bounds = stats["latency"], stats["latency_bounds"]
    assert isinstance(latency, dict)
    assert isinstance(bounds, list)
    buckets, seconds = latency["/t.T/Echo"]
    assert (sum(buckets), len(buckets)) == (5, len(bounds) + 1)
    assert 0 < seconds < 60


def test_poll_takes_at_most_calls_max_in_order(idle: Node) -> None:
    """What one poll leaves behind comes with the next, without waiting."""
    with Raw(idle.address) as raw:
        for stream in range(1, 9, 2):
            raw.call(stream, "/t.T/Hold", b"%d" % stream)
        eventually(lambda: idle.server.stats()["inbox_calls"] == 4)
        taken = [idle.server.poll(0, 3)[0][0][2], idle.server.poll(0, 3)[0][0][2]]
        assert taken == [[b"1", b"3", b"5"], [b"7"]]


def test_poll_interrupted_by_signal_raises_in_time(idle: Node) -> None:
    """A signal handler that raises ends a long poll."""

    class Rung(Exception):
        pass

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        started = time.monotonic()
        with pytest.raises(Rung):
            idle.server.poll(60_000, 100)
        assert time.monotonic() - started < 5
    finally:
        signal.signal(signal.SIGALRM, before)


def test_close_twice_is_harmless(node: Node) -> None:
    """Closing ends connections and may be repeated."""
    with Raw(node.address) as raw:
        raw.call(1, "/t.T/Hold")
        eventually(lambda: node.held)
        node.server.close()
        node.server.close()
        raw.wait_closed()
