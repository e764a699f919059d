"""A server that is killed in the middle of its work loses nothing it acknowledged."""

import random
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

KILLS = 20
WRITERS = 8
KEYS_PER_WRITER = 50
ACKNOWLEDGED_MAX = 600
"""Writes before a kill, at most: enough for several syncs and, over all rounds, for many log files' worth of turns."""


class Writer:
    """Owns its keys. Write number n goes to key n modulo their count, so what a key may hold is known exactly.

    Every seventh write is a delete, every fifth a MultiPut of this key and its shadow, which must never differ.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.next = 0
        self.ended_with: grpc.StatusCode | None = None
        self.acknowledged = [-1] * KEYS_PER_WRITER
        self.attempted = [-1] * KEYS_PER_WRITER

    def key(self, slot: int) -> bytes:
        return b"writer-%d-%02d" % (self.number, slot)

    def write(self, client: Any) -> None:
        n, slot = self.next, self.next % KEYS_PER_WRITER
        self.next += 1
        self.attempted[slot] = n
        pair = {"key": self.key(slot), "value": b"%d" % n}
        if n % 7 == 0:
            client("Delete", key=self.key(slot))
        elif n % 5 == 0:
            client("MultiPut", putRequest=[pair, {**pair, "key": self.key(slot) + b"-shadow"}])
        else:
            client("Put", **pair)
        self.acknowledged[slot] = n

    def run(self, client: Any, acknowledged: Callable[[], None]) -> None:
        """Writes until the server has gone. A write without an answer may have happened or not."""
        try:
            while True:
                self.write(client)
                acknowledged()
        except grpc.RpcError as gone:
            self.ended_with = gone.code()

    def possible(self, slot: int) -> set[bytes | None]:
        """What the key may hold now: the last acknowledged write or any one attempted after it."""
        last = self.acknowledged[slot]
        states: set[bytes | None] = {None} if last < 0 else set()
        for n in range(last if last >= 0 else slot, self.attempted[slot] + 1, KEYS_PER_WRITER):
            states.add(None if n % 7 == 0 else b"%d" % n)
        return states

    def check(self, client: Any) -> None:
        keys = [self.key(slot) for slot in range(KEYS_PER_WRITER)]
        found = {pair.key: pair.value for pair in client("MultiGet", keys=keys).keyValues}
        for slot, key in enumerate(keys):
            assert found.get(key) in self.possible(slot), (
                f"{key!r} holds {found.get(key)!r}; acknowledged {self.acknowledged[slot]}, "
                f"attempted {self.attempted[slot]}"
            )
            # What was found is the truth from now on, whether or not it had been acknowledged.
            value = found.get(key)
            if value is not None:
                self.acknowledged[slot] = self.attempted[slot] = int(value)
            else:
                self.acknowledged[slot] = self.attempted[slot] = -1


@pytest.mark.timeout(240)
def test_server_killed_under_load_keeps_every_acknowledged_write(
    make_server: Callable[..., Any], make_client: Callable[[Any], Any]
) -> None:
    """After each of twenty kills every key holds its last acknowledged write, or a later one that was under way."""
    rng = random.Random(20)
    writers = [Writer(number) for number in range(WRITERS)]
    server = make_server()
    for _ in range(KILLS):
        goal = threading.Semaphore(0)
        client = make_client(server)
        threads = [threading.Thread(target=writer.run, args=(client, goal.release)) for writer in writers]
        for thread in threads:
            thread.start()
        for _ in range(rng.randint(1, ACKNOWLEDGED_MAX)):
            assert goal.acquire(timeout=30), f"the server stopped answering:\n{server.output()}"
        server.kill()
        for thread in threads:
            thread.join()
        assert {writer.ended_with for writer in writers} == {grpc.StatusCode.UNAVAILABLE}
        client.close()
        client = make_client(server.start())
        for writer in writers:
            writer.check(client)
        client.close()
    assert server.stop() == 0, server.output()
