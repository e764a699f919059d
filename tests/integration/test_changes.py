"""Following a real server: a model of the original's slave over GetChanges, and a reader of the feed."""

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import msgpack
import pytest

REPLICATION, FEED, KV = "dkv.serverpb.DKVReplication", "dkv.v1.Feed", "dkv.v1.KV"
NEVER = 2**64 - 1
Made = Callable[..., Any]


class GoSlave:
    """What a slave of the original does and checks (COMPATIBILITY 1.4, numbers as there), on an engine of dictionaries.

    Its engine allots *count* sequence numbers to every batch, whatever the header says, and after a restart the slave
    goes on behind its own engine's sequence.
    """

    def __init__(self, client: Any, batch: int) -> None:
        self.client, self.batch = client, batch
        self.rows: dict[bytes, tuple[bytes, int]] = {}
        self.applied = self.sequence = 0

    def restart(self) -> None:
        self.applied = self.sequence  # 7

    def poll(self) -> int:
        """One poll; returns how many records came."""
        start = self.applied + 1
        request = {"fromChangeNumber": start, "maxNumberOfChanges": self.batch}
        (raw,) = self.client.raw("GetChanges", on=REPLICATION, **request)
        assert raw.startswith(b"\x0a\x00")
        reply = self.client.parse("GetChanges", raw, REPLICATION)
        assert reply.HasField("status")  # 1
        assert reply.status.code == 0
        assert reply.masterChangeNumber >= start - 1  # 2
        assert len(reply.changes) == reply.numberOfChanges <= self.batch
        expected = start
        for change in reply.changes:  # 4: it does not check the order; this test does
            assert change.changeNumber == expected
            assert change.numberOfTrxns == len(change.trxns)
            self.write(change.serialisedForm, change.changeNumber)
            expected += change.numberOfTrxns
        if reply.numberOfChanges:  # 3
            last = reply.changes[-1]
            self.applied = last.changeNumber + last.numberOfTrxns - 1  # 6
        assert self.sequence == self.applied
        return len(reply.changes)

    def follow(self) -> None:
        """Until nothing more comes."""
        while self.poll():
            pass

    def write(self, batch: bytes, number: int) -> None:
        sequence, count = struct.unpack_from("<QI", batch)
        assert sequence == number
        records = list(records_of(batch[12:]))
        assert len(records) == count  # 5: a violation is fatal
        self.sequence += count
        for tag, family, key, value in records:
            assert family == 1  # 5
            if tag == 0x05:
                row = msgpack.unpackb(value)
                self.rows[key] = row["d"], row["t"]
            elif tag == 0x04:
                self.rows.pop(key, None)
            else:
                assert tag == 0x0E
                for gone in [each for each in self.rows if key <= each < value]:
                    del self.rows[gone]


def records_of(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(tag, family, key, value or end) of a write batch."""
    at = 0
    while at < len(data):
        tag, family = data[at], data[at + 1]
        key, at = sized(data, at + 2)
        value = b""
        if tag != 0x04:
            value, at = sized(data, at)
        yield tag, family, key, value


def sized(data: bytes, at: int) -> tuple[bytes, int]:
    size = shift = 0
    while True:
        byte, at = data[at], at + 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return data[at : at + size], at + size


def write_anything(client: Any, rng: random.Random, count: int) -> None:
    """Every kind of change, and what takes no number."""
    far = 4_000_000_000
    for _ in range(count):
        key = b"k%d" % rng.randrange(40)
        value = rng.randbytes(rng.choice([0, 3, 300]))
        match rng.randrange(8):
            case 0:
                client("Delete", key=key)
            case 1:
                client("CompareAndSet", key=key, oldValue=b"never", newValue=b"x")
            case 2:
                client("CompareAndSet", key=b"new" + rng.randbytes(4), newValue=value, expireTS=far)
            case 3:
                puts = [{"key": b"k%d" % rng.randrange(40), "value": value} for _ in range(rng.randrange(5))]
                client("MultiPut", putRequest=puts)
            case 4:
                client("DeleteRange", on=KV, start=b"k1", end=rng.choice([b"k2", b"k10"]))
            case 5:
                client("Put", key=key, value=value, expireTS=far + rng.randrange(9))
            case _:
                client("Put", key=key, value=value)


def state_of(client: Any) -> dict[bytes, tuple[bytes, int]]:
    return {pair.key: (pair.value, pair.expireTS or NEVER) for pair in client.all("Iterate")}


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_slave_of_the_original_follows_through_crashes_of_both(
    make_server: Made, make_client: Made, batch: int
) -> None:
    """It ends with the master's rows, and the sum of its batches' counts is the last number, always."""
    server = make_server("--role", "master", "--keep-history-from-1")
    client = make_client(server)
    rng = random.Random(batch)
    slave = GoSlave(client, batch)
    for _ in range(3):
        write_anything(client, rng, 60)
        slave.follow()
        assert slave.rows == state_of(client)
        slave.restart()
        write_anything(client, rng, 20)
        server.kill()
        server.start()
    slave.follow()
    assert slave.rows == state_of(client)
    late = GoSlave(client, batch)
    late.follow()
    assert (late.rows, late.applied) == (slave.rows, slave.applied)


def test_slave_receives_more_than_one_reply_may_hold(make_server: Made, make_client: Made) -> None:
    """50 values of 1 MiB, as in the original's test: each reply below 16 MiB, each change twice in it."""
    client = make_client(make_server("--role", "master"))
    for number in range(50):
        client("Put", key=b"k%d" % number, value=bytes(1 << 20))
    slave = GoSlave(client, 10_000)
    assert [slave.poll() for _ in range(9)] == [7, 7, 7, 7, 7, 7, 7, 1, 0]
    assert len(slave.rows) == 50


def test_slave_behind_the_history_is_told_so(make_server: Made, make_client: Made) -> None:
    """OUT_OF_RANGE with both numbers, in text and typed, also after a restart; the metrics say the same."""
    server = make_server("--role", "master", "--history-bytes-max", "100KiB", "--history-changes-min", "3")
    client = make_client(server)
    deadline = 0
    oldest = 1
    while oldest == 1 and deadline < 3_000:
        client("Put", key=b"k", value=bytes(2_000))
        oldest = client("GetChanges", on=REPLICATION).oldestChangeNumber
        deadline += 1
    assert oldest > 1
    for _ in range(2):
        latest = client("GetChanges", on=REPLICATION).masterChangeNumber
        refused = client.refused("GetChanges", on=REPLICATION, fromChangeNumber=1, maxNumberOfChanges=9)
        oldest = client("GetChanges", on=REPLICATION).oldestChangeNumber
        assert refused == (
            grpc.StatusCode.OUT_OF_RANGE,
            f"changes from 1 are no longer available, oldest is {oldest}",
        )
        assert latest - oldest >= 3
        changes = client("GetChanges", on=REPLICATION, fromChangeNumber=oldest, maxNumberOfChanges=1).changes
        assert changes[0].changeNumber == oldest
        server.kill()
        server.start()


def test_role_none_does_not_serve_slaves(client: Any) -> None:
    """COMPATIBILITY 2."""
    assert client.refused("GetChanges", on=REPLICATION)[0] == grpc.StatusCode.UNIMPLEMENTED


def test_registry_of_slaves_outlives_a_crash(make_server: Made, make_client: Made) -> None:
    """It goes through the log, takes no number, and no reader of keys sees it."""
    server = make_server("--role", "master")
    client = make_client(server)
    for zone, host in (("", "a"), (" eu ", "::1"), ("", "b")):
        client("AddReplica", on=REPLICATION, zone=zone, hostname=host, port=8080)
    client("RemoveReplica", on=REPLICATION, hostname="b", port=8080)
    client("RemoveReplica", on=REPLICATION, hostname="never", port=1)
    server.kill()
    server.start()
    known = client("GetReplicas", on=REPLICATION, allZones=True).replicas
    assert [(each.zone, each.hostname, each.port) for each in known] == [("", "a", 8080), ("eu", "::1", 8080)]
    assert client("GetChanges", on=REPLICATION).masterChangeNumber == 0
    assert client.all("Iterate") == []


def test_feed_is_followed_through_a_crash_of_the_server(make_server: Made, make_client: Made) -> None:
    """History id and next number are enough to resume: every change once, in order."""
    server = make_server()
    client = make_client(server)
    write_anything(client, random.Random(1), 80)
    stream = client.stream("StreamChanges", on=FEED)
    got: list[int] = []
    message = None
    for raw in stream:
        message = client.parse("StreamChanges", raw, FEED)
        got += [change.changeNumber for change in message.changes]
        if message.nextChangeNumber > message.latestChangeNumber:
            break
    server.kill()
    with pytest.raises(grpc.RpcError):
        list(stream)
    server.start()
    write_anything(client, random.Random(2), 80)
    latest = client("Put", key=b"last").changeNumber
    resumed = {"fromChangeNumber": message.nextChangeNumber, "historyId": message.historyId}
    for message in client.all("StreamChanges", on=FEED, throughChangeNumber=latest, **resumed):
        got += [change.changeNumber for change in message.changes]
    assert got == list(range(1, latest + 1))


def test_feed_ends_when_the_server_stops(make_server: Made, make_client: Made) -> None:
    """UNAVAILABLE, at once: a reader does not hold up a stop."""
    server = make_server("--drain-timeout", "20s")
    client = make_client(server)
    stream = client.stream("StreamChanges", on=FEED)
    next(iter(stream))
    assert server.stop() == 0
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "dropped" not in server.output()
