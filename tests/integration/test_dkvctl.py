"""dkvctl as a process, over a real connection, to a native edge that answers from memory."""

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv import connect
from dkv.edge import Bell, EdgeServer
from dkv.model.errors import Code, DkvError
from dkv.wire import messages as pb
from dkv.wire import methods

SERVED = ((methods.PUT_PATH, False), (methods.GET_PATH, False), (methods.ITERATE_PATH, True))
PAIR_COUNT = 5_000
NOT_FOUND = 5


class MemoryEdge:
    """Put, Get and Iterate on a dict, by a thread that polls a native edge."""

    def __init__(self) -> None:
        self.pairs: dict[bytes, bytes] = {}
        self._bell = Bell()
        self._edge = EdgeServer(self._bell, SERVED)
        self.address = self._edge.listen("127.0.0.1:0")
        self._is_open = True
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._is_open = False
        self._bell.ring()
        self._thread.join()
        self._edge.close()

    def _serve(self) -> None:
        while self._is_open:
            for method, call_ids, requests in self._edge.poll(100, 1_000)[0]:
                for call_id, request in zip(call_ids, requests, strict=True):
                    self._answer(SERVED[method][0], call_id, request)

    def _answer(self, path: str, call_id: int, request: bytes) -> None:
        if path == methods.PUT_PATH:
            put = pb.PutRequest.FromString(request)
            self.pairs[put.key] = put.value
            self._edge.emit([call_id], [pb.PutResponse().SerializeToString()], [], [], [])
        elif path == methods.ITERATE_PATH:
            items = [pb.IterateResponse(key=key, value=value) for key, value in sorted(self.pairs.items())]
            messages = [item.SerializeToString() for item in items]
            self._edge.emit([], [], [(call_id, messages)], [(call_id, 0, "", b"", -1)], [])
        elif (value := self.pairs.get(pb.GetRequest.FromString(request).key)) is None:
            self._edge.emit([], [], [], [(call_id, NOT_FOUND, "no such key", b"", -1)], [])
        else:
            self._edge.emit([call_id], [pb.GetResponse(value=value).SerializeToString()], [], [], [])


@pytest.fixture
def edge() -> Iterator[MemoryEdge]:
    server = MemoryEdge()
    yield server
    server.close()


def dkvctl(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dkv.cli.dkvctl", *words], capture_output=True, check=False, timeout=30, env=ENVIRONMENT
    )


ENVIRONMENT = {"PYTHONPATH": ":".join(filter(None, sys.path))}


def test_value_set_over_the_wire_comes_back_as_its_bytes(edge: MemoryEdge) -> None:
    """Result on stdout, banner on stderr."""
    edge.pairs[b"k"] = b"\xff\n"
    done = dkvctl("-a", edge.address, "--authority", "x", "--get", "k")
    assert (done.returncode, done.stdout) == (0, b"\xff\n\n")
    assert done.stderr == f"Connecting to DKV service at {edge.address} (:authority = x)...DONE\n".encode()
    assert dkvctl("-a", edge.address, "-set", "a:b", "-get", "a").stdout == b"b\n"
    assert edge.pairs[b"a"] == b"b"


def test_error_of_the_server_is_printed_and_ends_with_1(edge: MemoryEdge) -> None:
    """A status, and a method the server does not have."""
    missing = dkvctl("-dkvAddr", edge.address, "--get", "k")
    assert missing.returncode == 1
    assert missing.stdout == b"Unable to perform GET. Error: rpc error: code = NotFound desc = no such key\n"
    backup = dkvctl("-a", edge.address, "--backup", "/p")
    assert backup.returncode == 1
    assert backup.stdout.startswith(b"Unable to perform backup. Error: rpc error: code = Unimplemented desc = ")


def test_connection_nobody_answers_ends_with_1() -> None:
    """An address that is not one, so that the test need not wait."""
    refused = dkvctl("-a", "nonsense", "--get", "k")
    assert (refused.returncode, refused.stderr) == (1, b"Connecting to DKV service at nonsense...\n")
    assert refused.stdout.startswith(b"Unable to create DKV client. Error: ")


def test_connection_to_a_port_where_nobody_listens_ends_with_1() -> None:
    """The address and the reason on stdout."""
    server = EdgeServer(Bell(), [])
    address = server.listen("127.0.0.1:0")
    server.close()
    refused = dkvctl("-a", address, "--get", "k")
    assert refused.returncode == 1
    assert refused.stdout.startswith(f"Unable to create DKV client. Error: cannot connect to {address}: ".encode())
    assert b"refused" in refused.stdout


def test_iterate_streams_every_pair_in_order(edge: MemoryEdge) -> None:
    """More messages than one batch of the stream."""
    edge.pairs.update({b"%06d" % number: b"v" for number in range(PAIR_COUNT)})
    lines = dkvctl("-a", edge.address, "--keys", "*").stdout.splitlines()
    assert lines == sorted(edge.pairs)


def test_reader_of_keys_that_leaves_ends_quietly(edge: MemoryEdge) -> None:
    """`dkvctl --keys '*' | head -1` shows no traceback."""
    edge.pairs.update({b"%06d" % number: b"v" for number in range(20 * PAIR_COUNT)})
    command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", edge.address, "--keys", "*"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stderr:
        assert child.stdout.readline() == b"000000\n"
        child.stdout.close()
        assert b"Traceback" not in child.stderr.read()
    assert child.wait() == 0


def test_iterate_stopped_early_leaves_the_channel_usable(edge: MemoryEdge) -> None:
    """A limit cancels the stream on this side; the connection goes on."""
    edge.pairs.update({b"%06d" % number: b"v" for number in range(PAIR_COUNT)})
    with connect(f"dkv://{edge.address}") as client:
        assert [key for key, _ in client.scan(limit=2)] == [b"000000", b"000001"]
        assert client.get(b"000000") == b"v"
        with pytest.raises(DkvError, match="no such key") as caught:
            client.get(b"missing")
        assert caught.value.code == Code.NOT_FOUND
