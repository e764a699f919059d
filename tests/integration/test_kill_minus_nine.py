"""A server that is killed in the middle of its work loses nothing it acknowledged."""

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

KILLS, KILLS_IN_SOAK = 20, 100
WRITERS = 8
KEYS_PER_WRITER = 50
ACKNOWLEDGED_MAX = 600
"""Writes before a kill, at most: enough for several syncs and, over all rounds, for many log files' worth of turns."""
ACKNOWLEDGED_MAX_IN_SOAK = 6_000
"""Seconds of load: long enough that what was killed had just synced its engine, cut its log or swept."""
BRIEF_MS = 30
"""Time to live of what keeps the sweep at work."""


class Writer:
    """Owns its keys. Write number n goes to key n modulo their count, so what a key may hold is known exactly.

    Every seventh write is a delete, every fifth a MultiPut of this key and its shadow, which must never differ, every
    third of the rest puts something brief beside it first.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.next = 0
        self.ended_with: grpc.StatusCode | None = None
        self.acknowledged = [-1] * KEYS_PER_WRITER
        self.attempted = [-1] * KEYS_PER_WRITER
        self.numbers: dict[int, tuple[bytes, bytes]] = {}
        """By the change number that a write was acknowledged with: its key, and its value (none: a delete)."""

    def key(self, slot: int) -> bytes:
        return b"writer-%d-%02d" % (self.number, slot)

    def write(self, client: Any) -> None:
        n, slot = self.next, self.next % KEYS_PER_WRITER
        self.next += 1
        self.attempted[slot] = n
        pair = {"key": self.key(slot), "value": b"%d" % n}
        if n % 7 == 0:
            reply = client("Delete", key=self.key(slot))
            pair["value"] = b""
        elif n % 5 == 0:
            shadow = {**pair, "key": self.key(slot) + b"-shadow"}
            reply = client("MultiPut", putRequest=[pair, shadow])
            self.numbers[reply.changeNumber] = shadow["key"], shadow["value"]
            reply.changeNumber -= 1
        else:
            if n % 3 == 0:
                client("Put", key=self.key(slot) + b"-brief", value=b"%d" % n, ttlMs=BRIEF_MS)
            reply = client("Put", **pair)
        self.numbers[reply.changeNumber] = pair["key"], pair["value"]
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


class Reader:
    """Reads every change once, across all lives of the server."""

    def __init__(self) -> None:
        self.next = 1

    def check(self, client: Any, writers: list[Writer]) -> None:
        """Numbers are without gaps, and each that was acknowledged stands for the write it was given for."""
        told = {number: write for writer in writers for number, write in writer.numbers.items()}
        assert len(told) == sum(len(writer.numbers) for writer in writers), "a number was given twice"
        stream = client.stream("StreamChanges", on="dkv.v1.Feed", fromChangeNumber=self.next)
        for raw in stream:
            message = client.parse("StreamChanges", raw, "dkv.v1.Feed")
            for change in message.changes:
                assert change.changeNumber == self.next
                assert told.pop(self.next, (change.key, change.value)) == (change.key, change.value)
                self.next += 1
            if message.nextChangeNumber > message.latestChangeNumber:
                break
        stream.cancel()
        assert not told, f"acknowledged, and not in the history up to {self.next - 1}"
        for writer in writers:
            writer.numbers.clear()


def back_up(client: Any, folder: Path) -> None:
    """What else goes on under the load. Whether it ends well does not matter here; what a restore does, elsewhere."""
    with suppress(grpc.RpcError):
        client("Backup", on="dkv.serverpb.DKVBackupRestore", backupPath=str(folder))


@pytest.mark.timeout(3_600)
def test_server_killed_under_load_keeps_every_acknowledged_write(
    make_server: Callable[..., Any], make_client: Callable[[Any], Any], tmp_path: Path, soak_minutes: float
) -> None:
    """After each of twenty kills every key holds its last acknowledged write, or a later one that was under way.

    In a soak it is a hundred kills, after up to seconds of load, and a backup is being taken, too."""
    rng = random.Random(20)
    writers, reader = [Writer(number) for number in range(WRITERS)], Reader()
    server = make_server()
    for _ in range(KILLS_IN_SOAK if soak_minutes else KILLS):
        goal = threading.Semaphore(0)
        client = make_client(server)
        threads = [threading.Thread(target=writer.run, args=(client, goal.release)) for writer in writers]
        if soak_minutes:
            threads.append(threading.Thread(target=back_up, args=(client, tmp_path / "backup")))
        for thread in threads:
            thread.start()
        for _ in range(rng.randint(1, ACKNOWLEDGED_MAX_IN_SOAK if soak_minutes else ACKNOWLEDGED_MAX)):
            assert goal.acquire(timeout=30), f"the server stopped answering:\n{server.output()}"
        server.kill()
        for thread in threads:
            thread.join()
        assert {writer.ended_with for writer in writers} == {grpc.StatusCode.UNAVAILABLE}
        client.close()
        client = make_client(server.start())
        for writer in writers:
            writer.check(client)
        reader.check(client, writers)
        client.close()
    assert server.stop() == 0, server.output()
