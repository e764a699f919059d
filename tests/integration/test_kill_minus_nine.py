"""A server that is killed in the middle of its work loses nothing it acknowledged, and restores all or nothing."""

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

KILLS = 20
KILLS_A_SOAK_MINUTE = 25
"""A hundred in the soak that `make soak` is without being asked for more or less."""
WRITERS = 8
KEYS_PER_WRITER = 50
ACKNOWLEDGED_MAX = 600
"""Writes before a kill, at most: enough for several syncs and, over all rounds, for many log files' worth of turns."""
ACKNOWLEDGED_MAX_IN_SOAK = 6_000
"""Seconds of load: long enough that what was killed had just synced its engine, cut its log, swept or restored."""
BRIEF_MS = 30
"""Time to live of what keeps the sweep at work."""


class Slot:
    """What one key may hold: what it held for sure, or what an attempt without an answer has written since."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.number = 0
        """The change number that `value` was acknowledged with; 0: it was found after a kill."""
        self.in_backup: bytes | None = None
        self.attempted: list[bytes | None] = []

    def settle(self, value: bytes | None, number: int = 0) -> None:
        self.value, self.number, self.attempted = value, number, []

    @property
    def possible(self) -> list[bytes | None]:
        return [self.value, *self.attempted]


class Writer:
    """Owns its keys. Write number n goes to key n modulo their count, so what a key may hold is known exactly.

    Every seventh write is a delete, every fifth a MultiPut of this key and its shadow, which must never differ, every
    third of the rest puts something brief beside it first.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.next = 0
        self.ended_with: grpc.StatusCode | None = None
        self.slots = [Slot() for _ in range(KEYS_PER_WRITER)]
        self.numbers: dict[int, tuple[bytes, bytes]] = {}
        """By the change number that a write was acknowledged with: its key, and its value (none: a delete)."""

    def key(self, slot: int) -> bytes:
        return b"writer-%d-%02d" % (self.number, slot)

    def write(self, client: Any) -> None:
        n, at = self.next, self.next % KEYS_PER_WRITER
        self.next += 1
        slot, key, value = self.slots[at], self.key(at), b"%d" % n if n % 7 else None
        slot.attempted.append(value)
        pair = {"key": key, "value": value}
        if value is None:
            number = client("Delete", key=key).changeNumber
        elif n % 5 == 0:
            shadow = {**pair, "key": key + b"-shadow"}
            number = client("MultiPut", putRequest=[pair, shadow]).changeNumber - 1
            self.numbers[number + 1] = shadow["key"], value
        else:
            if n % 3 == 0:
                client("Put", key=key + b"-brief", value=value, ttlMs=BRIEF_MS)
            number = client("Put", **pair).changeNumber
        self.numbers[number] = key, value or b""
        slot.settle(value, number)

    def run(self, client: Any, acknowledged: Callable[[], None]) -> None:
        """Writes until the server has gone. A write without an answer may have happened or not, also one that a disk
        kept waiting for too long."""
        self.ended_with = None
        while self.ended_with in (None, grpc.StatusCode.DEADLINE_EXCEEDED):
            try:
                self.write(client)
                acknowledged()
            except grpc.RpcError as gone:
                self.ended_with = gone.code()

    def backed_up(self) -> None:
        """A backup was taken while nobody wrote."""
        for slot in self.slots:
            slot.in_backup = slot.value

    def restored(self, number: int) -> None:
        """A restore of that backup took change `number`: nothing acknowledged before is left of what came behind it."""
        for slot in self.slots:
            if slot.number < number:
                slot.value = slot.in_backup

    def check(self, client: Any) -> None:
        """What is found is the truth from now on, whether or not it had been acknowledged."""
        keys = [self.key(at) for at in range(KEYS_PER_WRITER)]
        found = {pair.key: pair.value for pair in client("MultiGet", keys=keys).keyValues}
        for key, slot in zip(keys, self.slots, strict=True):
            value = found.get(key)
            assert value in slot.possible, f"{key!r} holds {value!r}, and may hold {slot.possible} (#{slot.number})"
            slot.settle(value)


class Reader:
    """Reads every change once, across all lives of the server."""

    def __init__(self) -> None:
        self.next = 1
        self.restores = 0
        self._history_id = b""

    def restored(self, client: Any) -> int:
        """The change number that a restore has taken since the last look; 0: there was none."""
        stream = client.stream("StreamChanges", on="dkv.v1.Feed", fromNow=True)
        position = client.parse("StreamChanges", next(stream), "dkv.v1.Feed")
        stream.cancel()
        before, self._history_id = self._history_id, position.historyId
        if before in (b"", self._history_id):
            return 0
        self.restores += 1
        self.next = position.oldestChangeNumber
        return self.next - 1

    def check(self, client: Any, writers: list[Writer]) -> None:
        """Numbers are without gaps, and each that was acknowledged stands for the write it was given for."""
        told = {number: write for writer in writers for number, write in writer.numbers.items()}
        assert len(told) == sum(len(writer.numbers) for writer in writers), "a number was given twice"
        told = {number: write for number, write in told.items() if number >= self.next}
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


BACKUPS = "dkv.serverpb.DKVBackupRestore"


def back_up(client: Any, folder: Path) -> None:
    """What else goes on under the load. Whether it ends well does not matter here."""
    with suppress(grpc.RpcError):
        client("Backup", on=BACKUPS, backupPath=str(folder / "under-load"))


def restore(client: Any, folder: Path) -> None:
    """The same, backwards. Without an answer it may have happened or not: change numbers tell."""
    with suppress(grpc.RpcError):
        client("Restore", on=BACKUPS, restorePath=str(folder / "at-rest"))


@pytest.mark.timeout(3_600)
def test_server_killed_under_load_keeps_every_acknowledged_write(
    make_server: Callable[..., Any], make_client: Callable[[Any], Any], tmp_path: Path, soak_minutes: float
) -> None:
    """After each of twenty kills every key holds its last acknowledged write, or a later one that was under way.

    In a soak it is a hundred kills, after up to seconds of load, while a backup is being taken, or restored: what
    was acknowledged with a change number below the restore's is then as it was in the backup, on every key.
    """
    rng = random.Random(20)
    writers, reader = [Writer(number) for number in range(WRITERS)], Reader()
    server = make_server()
    for _ in range(int(KILLS_A_SOAK_MINUTE * soak_minutes) or KILLS):
        goal = threading.Semaphore(0)
        client = make_client(server)
        assert not reader.restored(client), "restored while nobody asked for it"
        threads = [threading.Thread(target=writer.run, args=(client, goal.release)) for writer in writers]
        if soak_minutes:
            client("Backup", on=BACKUPS, backupPath=str(tmp_path / "at-rest"))
            for writer in writers:
                writer.backed_up()
            threads.append(threading.Thread(target=rng.choice([back_up, restore]), args=(client, tmp_path)))
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
        number = reader.restored(client)
        for writer in writers:
            writer.restored(number)
            writer.check(client)
        reader.check(client, writers)
        client.close()
    assert server.stop() == 0, server.output()
    assert not soak_minutes or reader.restores, "no restore ended before its kill"
