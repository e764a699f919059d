"""The native gRPC client against the native server and against an independent server (grpcio)."""

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import FrameType

import grpc
import pytest

from dkv.edge import Bell, EdgeClient, EdgeServer

ANSWERED, NOT_SENT, LOST = range(3)
METHODS = [("/t.T/Echo", False), ("/t.T/Hold", False)]


def eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Returns once `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        pause.wait(0.002)


class Native:
    """A native server that echoes on its own thread."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.bell = Bell()
        self.server = EdgeServer(self.bell, METHODS)
        self.address = self.server.listen(address)
        self.closed: list[int] = []
        self._stop = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop:
            calls, closed, _, _ = self.server.poll(1000, 10_000)
            self.closed += closed
            for method, ids, messages in calls:
                if method == 0:
                    self.server.emit(ids, messages, [], [], [])

    def stop(self) -> None:
        self._stop = True
        self.bell.ring()
        self._thread.join()
        self.server.close()


@pytest.fixture
def native() -> Iterator[Native]:
    native = Native()
    yield native
    native.stop()


class Foreign(grpc.GenericRpcHandler):
    """A grpcio server with generic handlers on raw bytes."""

    def __init__(self) -> None:
        self.sent = 0
        self.metadata: dict[str, str | bytes] = {}
        self.cancelled = threading.Event()
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        self.server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self.metadata = dict(details.invocation_metadata)
        name = details.method.rsplit("/", 1)[1]
        if name == "Echo":
            return grpc.unary_unary_rpc_method_handler(lambda message, _: message)
        if name == "Fail":
            return grpc.unary_unary_rpc_method_handler(self._fail)
        if name == "Count":
            return grpc.unary_stream_rpc_method_handler(self._count)
        if name == "Forever":
            return grpc.unary_stream_rpc_method_handler(self._forever)
        return None

    def _fail(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\x00\xffabc"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "naïve 100%")
        return b""

    def _count(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(message)):
            yield b"%d" % number

    def _forever(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.cancelled.set)
        while not self.cancelled.is_set():
            self.sent += 1 << 16
            yield bytes(1 << 16)


@pytest.fixture(scope="module")
def foreign() -> Iterator[Foreign]:
    foreign = Foreign()
    yield foreign
    foreign.server.stop(None).wait()


def drain(stream: object) -> tuple[list[bytes], tuple[int, str, bytes, int]]:
    messages: list[bytes] = []
    while True:
        more, end = stream.next(1000)  # type: ignore[attr-defined]
        messages += more
        if end:
            return messages, end


def test_call_to_native_server_returns_the_reply(native: Native) -> None:
    """A call comes back with OK and its message, also when it is large."""
    client = EdgeClient(native.address)
    client.connect(5000)
    for size in (0, 5, 100_000, 4 << 20):
        assert client.call("/t.T/Echo", bytes(size), 20_000) == (0, "", b"", bytes(size), ANSWERED)
    client.close()


def test_call_to_foreign_server_returns_the_reply(foreign: Foreign) -> None:
    """grpcio understands the client, metadata and user agent included."""
    client = EdgeClient(foreign.address, authority="dkv.example")
    assert client.call("/t.T/Echo", b"hello", 20_000, [("x-tenant", "blue")]) == (0, "", b"", b"hello", ANSWERED)
    assert foreign.metadata["x-tenant"] == "blue"
    assert str(foreign.metadata["user-agent"]).startswith("dkv/")


def test_call_failing_remotely_returns_code_message_and_details(foreign: Foreign) -> None:
    """A remote failure is a result, never an exception."""
    client = EdgeClient(foreign.address)
    assert client.call("/t.T/Fail", b"", 20_000) == (5, "naïve 100%", b"\x00\xffabc", b"", ANSWERED)
    assert client.call("/t.T/Nope", b"", 20_000)[0] == 12


def test_call_past_its_deadline_returns_deadline_exceeded(native: Native) -> None:
    """The caller is freed at its deadline, and the server hears of it."""
    client = EdgeClient(native.address)
    started = time.monotonic()
    assert client.call("/t.T/Hold", b"", 200) == (4, "context deadline exceeded", b"", b"", LOST)
    assert 0.15 < time.monotonic() - started < 5
    eventually(lambda: native.server.open_calls() == 0)


def test_call_to_nobody_returns_unavailable() -> None:
    """A refused connection is code 14 with the address and the reason; `connect` raises."""
    server = EdgeServer(Bell(), METHODS)
    address = server.listen("127.0.0.1:0")
    server.close()
    client = EdgeClient(address)
    code, message, _, _, fate = client.call("/t.T/Echo", b"", 5000)
    assert (code, fate) == (14, NOT_SENT)
    assert address in message
    assert "refused" in message
    with pytest.raises(ConnectionError, match="refused"):
        client.connect(200)
    with pytest.raises(ConnectionError, match="refused"):
        client.connect(3_600_000, 100)  # a refusal is believed sooner than silence


def test_call_after_server_restart_reconnects(native: Native) -> None:
    """A lost connection is made again without a new client."""
    first = Native()
    client = EdgeClient(first.address)
    assert client.call("/t.T/Echo", b"1", 5000)[0] == 0
    first.stop()
    eventually(lambda: client.call("/t.T/Echo", b"", 1000)[0] == 14)
    second = Native(first.address)
    client.connect(20_000)
    assert client.call("/t.T/Echo", b"2", 5000) == (0, "", b"", b"2", ANSWERED)
    second.stop()


def test_call_over_unix_socket_returns_the_reply(tmp_path: Path) -> None:
    """`unix:/path` works at both ends."""
    native = Native(f"unix:{tmp_path}/edge.sock")
    assert EdgeClient(native.address).call("/t.T/Echo", b"local", 5000) == (0, "", b"", b"local", ANSWERED)
    native.stop()


def test_call_with_reply_over_the_limit_is_exhausted(native: Native) -> None:
    """The client's own limit holds whatever the server sends."""
    client = EdgeClient(native.address, reply_bytes_max=10)
    assert client.call("/t.T/Echo", bytes(11), 5000)[:2] == (8, "received message larger than max (11 vs. 10)")


def test_call_with_reserved_metadata_raises_value_error(native: Native) -> None:
    """Metadata cannot overwrite what the protocol itself sends."""
    with pytest.raises(ValueError, match="grpc-timeout"):
        EdgeClient(native.address).call("/t.T/Echo", b"", 5000, [("grpc-timeout", "1S")])


def test_call_interrupted_by_signal_raises_in_time(native: Native) -> None:
    """A signal handler that raises ends a call, and the server hears of it."""

    class Rung(Exception):
        pass

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Rung):
            EdgeClient(native.address).call("/t.T/Hold", b"", 60_000)
    finally:
        signal.signal(signal.SIGALRM, before)
    eventually(lambda: native.server.open_calls() == 0)


def test_call_on_closed_client_is_cancelled(native: Native) -> None:
    """Closing ends what is under way and what comes later."""
    client = EdgeClient(native.address)
    client.connect(5000)
    results: list[int] = []
    caller = threading.Thread(target=lambda: results.append(client.call("/t.T/Hold", b"", 60_000)[0]))
    caller.start()
    eventually(lambda: native.server.open_calls() == 1)
    client.close()
    client.close()
    caller.join()
    assert (results, client.call("/t.T/Echo", b"", 1000)[0]) == ([1], 1)


def test_call_from_many_threads_shares_one_connection(native: Native) -> None:
    """A client is thread-safe."""
    client = EdgeClient(native.address)
    with futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda n: client.call("/t.T/Echo", b"%d" % n, 20_000)[3], range(500)))
    assert replies == [b"%d" % n for n in range(500)]
    assert native.server.stats()["connections"] == 1


def test_stream_from_foreign_server_arrives_in_order(foreign: Foreign) -> None:
    """Every message comes, in order, then the status."""
    messages, end = drain(EdgeClient(foreign.address).stream("/t.T/Count", b"3000", 60_000))
    assert (messages, end) == ([b"%d" % n for n in range(3000)], (0, "", b"", ANSWERED))


def test_stream_not_read_holds_the_server_back_until_cancelled(foreign: Foreign) -> None:
    """An idle reader bounds what the server can send; cancelling ends it on both sides."""
    stream = EdgeClient(foreign.address).stream("/t.T/Forever", b"", 60_000)
    assert stream.next(1)[0] == [bytes(1 << 16)]
    seen = [-1]

    def stands_still() -> bool:
        before, seen[0] = seen[0], foreign.sent
        threading.Event().wait(0.2)
        return before == foreign.sent

    eventually(stands_still)
    assert foreign.sent < 16 << 20
    stream.cancel()
    assert drain(stream)[1][0] == 1
    assert foreign.cancelled.wait(20)


def test_stream_past_its_deadline_ends_with_deadline_exceeded(native: Native) -> None:
    """A stream that says nothing ends at its deadline."""
    stream = EdgeClient(native.address).stream("/t.T/Hold", b"", 100)
    assert stream.next(10) == ([], (4, "context deadline exceeded", b"", LOST))


def test_call_in_forked_child_uses_its_own_connection(native: Native) -> None:
    """A forked child and its parent both go on with the same client object."""
    script = """
        import os, sys
        from dkv.edge import EdgeClient
        client = EdgeClient(sys.argv[1])
        assert client.call("/t.T/Echo", b"before", 5000)[3] == b"before"
        child = os.fork()
        if child == 0:
            os._exit(0 if client.call("/t.T/Echo", b"child", 5000)[3] == b"child" else 1)
        assert client.call("/t.T/Echo", b"parent", 5000)[3] == b"parent"
        assert os.waitpid(child, 0)[1] == 0
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), native.address]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
