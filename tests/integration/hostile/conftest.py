"""An edge with limits of its own, for attackers. Real servers come from the folder above."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dkv.edge import Bell, EdgeServer
from dkv.testing.frames import Peer, call

ECHO, BIG, HOLD, TALK, STREAM = range(5)
METHODS = [("/t.T/Echo", 0), ("/t.T/Big", 0), ("/t.T/Hold", 0), ("/t.T/Talk", 2), ("/t.T/Stream", 1)]


def size_of(message: bytes) -> int:
    return int(message) if message.isdigit() and len(message) < 7 else 0


class Echo:
    """A server that answers from its own thread.

    Echo and Talk answer with what was sent, Big and Stream (in messages of 1,000) with as many bytes, Hold never.
    """

    def __init__(self, **limits: int) -> None:
        self.bell = Bell()
        self.server = EdgeServer(self.bell, METHODS, **limits)
        self.address = self.server.listen("127.0.0.1:0")
        self.http_address = self.server.listen_http("127.0.0.1:0")
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_stopping:
            calls, _, _, http = self.server.poll(1000, 10_000)
            for method, ids, messages in calls:
                if method == ECHO:
                    self.server.emit(ids, messages, [], [], [])
                elif method == BIG:
                    self.server.emit(ids, [bytes(size_of(each)) for each in messages], [], [], [])
                elif method == TALK:
                    self.server.emit([], [], [(i, [m]) for i, m in zip(ids, messages, strict=True)], [], [])
                elif method == STREAM:
                    items = [
                        (i, [bytes(1_000)] * (size_of(each) // 1_000)) for i, each in zip(ids, messages, strict=True)
                    ]
                    self.server.emit([], [], items, [(i, 0, "", b"", -1) for i in ids], [])
            self.server.emit([], [], [], [], [(each[0], 200, "text/plain", b"ok\n", False) for each in http])

    def count(self, path: str, code: int) -> int:
        """How many calls have ended so."""
        calls = self.server.stats()["calls"]
        assert isinstance(calls, dict)
        return int(calls.get((path, code), 0))

    def serves(self) -> bool:
        """A well-behaved stranger gets an answer."""
        with Peer(self.address) as peer:
            peer.send(call(1, "/t.T/Echo", b"hello"))
            return any(b"hello" in each.payload for each in peer.read_until_end(1))

    def stop(self) -> None:
        self._is_stopping = True
        self.bell.ring()
        self._thread.join()
        self.server.close()


@pytest.fixture
def make_echo() -> Iterator[Callable[..., Echo]]:
    made: list[Echo] = []

    def make(**limits: int) -> Echo:
        made.append(Echo(**limits))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def _eventually(condition: Callable[[], object], timeout_s: float = 20) -> None:
    """Returns once `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        pause.wait(0.005)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return _eventually


@pytest.fixture
def resident_bytes() -> Callable[[Any], int]:
    """Physical memory of a server process."""

    def read(server: Any) -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) << 10

    return read
