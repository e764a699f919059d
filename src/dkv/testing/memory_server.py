"""`dkv.testing.server()`: a real server in memory, for the tests of those who use the client.

The node, its services and the network are those of production; only the disks are not there. It serves from a thread of
the test's own process: it starts in milliseconds, ends with the process whatever becomes of it, and can be debugged. A
server in production never shares its process; this one shares the interpreter lock with the test, so its speed says
nothing.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, cast

from dkv.edge import Bell, EdgeServer, Raft, changes_of_puts
from dkv.edge.consensus import NativeConsensus
from dkv.model.limits import Limits
from dkv.node.life import drain, recover
from dkv.node.making import Given, make_node
from dkv.node.opening import open_vbucket
from dkv.ports.clock import Now
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelf
from dkv.testing.log import SimulatedLog, WritesLike
from dkv.testing.log_disk import LogDisk

VBUCKET = REPLICA = 1
DRAIN_MS = 1_000


class _Clock:
    def now(self) -> Now:
        return Now(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)


class _Chance:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)


class _PromptLog(SimulatedLog):
    """Everything is durable at once, as far as memory is."""

    def __init__(self, bell: Bell) -> None:
        super().__init__(LogDisk())
        self._bell = bell

    def append(self, writes: WritesLike) -> None:
        super().append(writes)
        while self.step_disk() != "idle":
            pass
        self._bell.ring()


class MemoryServer:
    """One node on one thread. `url` is where it serves from `start` on; `failure` is what ended it, if anything did."""

    def __init__(self) -> None:
        self._bell = Bell()
        clock, store, limits = _Clock(), MemoryStore(auto_sync=True), Limits()
        log = _PromptLog(self._bell)
        consensus = NativeConsensus(Raft(seed=int.from_bytes(os.urandom(7), "big")), cast(Any, log))
        replica = open_vbucket(VBUCKET, REPLICA, store, consensus, clock, _Chance())
        self._services = Services(limits, NodeIdentity(role="master", engine="memory"), changes_of_puts=changes_of_puts)
        self._edge = EdgeServer(
            self._bell,
            self._services.methods,
            request_bytes_max=limits.message_bytes_max,
            reply_bytes_max=limits.reply_message_bytes_max,
            inbox_bytes_max_per_connection=2 * limits.message_bytes_max,
        )
        self._node = make_node(
            Given(
                edge=self._edge,
                consensus=consensus,
                store=store,
                clock=clock,
                replicas=[replica],
                services=self._services,
                limits=limits,
                backups=Shelf(Random(), store),
                random=_Chance(),
            )
        )
        self.url: str = ""
        self.failure: Exception | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._serve, name="dkv-testing", daemon=True)

    def start(self) -> None:
        """Returns when calls are answered."""
        recover(self._node)
        self.url = f"dkv://{self._edge.listen('127.0.0.1:0')}"
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended. Raises what ended it before."""
        self._is_stopping = True
        self._bell.ring()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _serve(self) -> None:
        try:
            while not self._is_stopping:
                self._node.turn()
            self._services.shutting_down()
            drain(self._node, DRAIN_MS)
        except Exception as failure:  # a turn begins here: whoever stops the server is told
            self.failure = failure
        finally:
            self._edge.close()
            self._node.close()


@contextmanager
def serving() -> Iterator[str]:
    """What `dkv.testing.server` promises."""
    running = MemoryServer()
    running.start()
    try:
        yield running.url
    finally:
        running.stop()
