"""Backup and restore of real servers, by a client that shares no code with them, and what remains after kill -9."""

import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

PLAIN, STREAM, FEED = "dkv.serverpb.DKVBackupRestore", "dkv.v1.Backups", "dkv.v1.Feed"
ROWS = 3_000
KILLS, KILLS_A_SOAK_MINUTE = 12, 25
"""A hundred in the soak that `make soak` is without being asked for more or less."""
PATIENCE_S = 30

Start = Callable[..., Any]
Connect = Callable[[Any], Any]


def fill(client: Any, value: bytes, rows: int = ROWS) -> None:
    for start in range(0, rows, 1_000):
        pairs = [{"key": b"%06d" % number, "value": value} for number in range(start, min(rows, start + 1_000))]
        client("MultiPut", putRequest=pairs)


def values(client: Any) -> set[bytes]:
    return {message.value for message in client.all("Iterate")}


def backup(client: Any, path: Path) -> None:
    client("Backup", on=PLAIN, backupPath=str(path))


def restore(client: Any, path: Path) -> None:
    client("Restore", on=PLAIN, restorePath=str(path))


def is_restored(client: Any, path: Path) -> bool:
    """False: something else is under way."""
    try:
        restore(client, path)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ABORTED:
            raise
        return False
    return True


def number_of(client: Any) -> int:
    """The latest change number."""
    return int(client("Put", key=b"number", value=b"").changeNumber)


def test_restore_brings_back_what_was_backed_up(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """By the original's calls; numbers go on above everything, also after another start."""
    server = make_server()
    client = make_client(server)
    fill(client, b"old")
    backup(client, tmp_path / "backup")
    fill(client, b"new")
    client("Put", key=b"x", value=b"new")
    before = number_of(client)
    restore(client, tmp_path / "backup")
    assert values(client) == {b"old"}
    assert number_of(client) == before + 2
    server.kill()
    client = make_client(server.start())
    client("Delete", key=b"number")
    assert values(client) == {b"old"}
    assert number_of(client) == before + 4
    assert server.stop() == 0


def test_backup_restored_on_another_server_keeps_the_higher_number(
    make_server: Start, make_client: Connect, tmp_path: Path
) -> None:
    """A new machine goes on above the numbers of the old one."""
    first = make_client(make_server())
    fill(first, b"old")
    last = number_of(first)
    backup(first, tmp_path / "backup")
    second = make_client(make_server(folder="other"))
    restore(second, tmp_path / "backup")
    assert number_of(second) == last + 2
    assert len(second.all("Iterate")) == ROWS + 1


def test_backup_under_writers_is_one_state(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """Pairs that are only ever written together are equal in it, and nobody's write failed."""
    server = make_server()
    client, stop = make_client(server), threading.Event()

    def write(worker: int) -> None:
        mine, count = make_client(server), 0
        while not stop.is_set():
            count += 1
            pair = [{"key": b"%s%d" % (half, worker), "value": b"%d" % count} for half in (b"l", b"r")]
            mine("MultiPut", putRequest=pair)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for round_number in range(4):
        backup(client, tmp_path / "backup")
        if round_number == 2:
            restore(client, tmp_path / "backup")
    stop.set()
    for writer in writers:
        writer.join()
    restore(client, tmp_path / "backup")
    found = {message.key: message.value for message in client.all("Iterate")}
    assert len(found) == 8
    for worker in range(4):
        assert found[b"l%d" % worker] == found[b"r%d" % worker]


def test_refusals_have_the_originals_texts(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """And codes of their own (COMPATIBILITY 1.6)."""
    client = make_client(make_server("--backup-root", str(tmp_path)))
    (tmp_path / "file").touch()
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    gone = "no such file or directory"
    assert client.refused("Backup", on=PLAIN) == (invalid, "valid path must be provided")
    assert client.refused("Restore", on=PLAIN) == (invalid, "valid path must be provided")
    assert client.refused("Backup", on=PLAIN, backupPath="no/x") == (missing, f"stat {tmp_path}/no: {gone}")
    assert client.refused("Restore", on=PLAIN, restorePath="no") == (missing, f"stat {tmp_path}/no: {gone}")
    assert client.refused("Backup", on=PLAIN, backupPath="file") == (invalid, "require a folder for rocksdb backup")
    assert client.refused("Restore", on=PLAIN, restorePath="file") == (invalid, "require a folder for rocksdb restore")
    code, text = client.refused("Take", on=STREAM, path="/")
    assert (code, text) == (invalid, f"/ is outside of the backup root {tmp_path}")


def test_deadline_ends_the_wait_and_not_the_backup(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """One at a time meanwhile; then the next can come."""
    client = make_client(make_server("--backup-bytes-per-second", "400000"))
    client("MultiPut", putRequest=[{"key": b"%d" % n, "value": random.randbytes(20_000)} for n in range(50)])
    with pytest.raises(grpc.RpcError) as late:
        list(client.stream("Backup", on=PLAIN, timeout=0.5, backupPath=str(tmp_path / "backup")))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    busy = (grpc.StatusCode.ABORTED, "Another global keyspace mutation is in progress")
    assert client.refused("Restore", on=PLAIN, restorePath=str(tmp_path / "backup")) == busy
    assert client.refused("Take", on=STREAM, path=str(tmp_path / "other")) == busy
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "backup" / "DKV-BACKUP").exists():
        assert time.monotonic() < deadline
    client("Put", key=b"0", value=b"new")
    while not is_restored(client, tmp_path / "backup"):  # what is left to do is clearing up
        assert time.monotonic() < deadline
    assert client("Get", key=b"0").value != b"new"


def test_progress_is_told_phase_by_phase(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """Bytes never pass their total; the last message has the facts."""
    client = make_client(make_server("--backup-bytes-per-second", "4000000"))
    client("MultiPut", putRequest=[{"key": b"%d" % n, "value": random.randbytes(20_000)} for n in range(100)])
    for rpc in ("Take", "Restore"):
        told = client.all(rpc, on=STREAM, path=str(tmp_path / "backup"))
        phases = [each.phase for each in told]
        assert phases == sorted(phases)
        assert len(told) >= 4
        assert all(each.bytesDone <= each.bytesTotal for each in told)
        assert any(0 < each.bytesDone < each.bytesTotal for each in told)
        assert (told[-1].phase, len(told[-1].historyId)) == (7, 16)
        assert told[-1].changeNumber == (100 if rpc == "Take" else 101)


def test_restore_until_a_change_and_until_a_time(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """Backup and history together; points that are not there are typed errors."""
    client = make_client(make_server())
    client("Put", key=b"k", value=b"0")
    backup(client, tmp_path / "backup")
    puts = [client("Put", key=b"k", value=b"%d" % number) for number in range(1, 5)]
    path = str(tmp_path / "backup")
    code, text = client.refused("Restore", on=STREAM, path=path, untilChangeNumber=puts[-1].changeNumber + 1)
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert text == "change 6 is not between the last of the backup, 1, and the latest, 5"
    assert client.refused("Restore", on=STREAM, path=path, untilTime=1 << 60)[0] is code
    client.all("Restore", on=STREAM, path=path, untilChangeNumber=puts[1].changeNumber)
    assert client("Get", key=b"k").value == b"2"
    code, text = client.refused("Restore", on=STREAM, path=path, untilChangeNumber=puts[2].changeNumber)
    assert code is grpc.StatusCode.OUT_OF_RANGE
    assert text.startswith("changes from 2 are no longer available")
    assert client("Get", key=b"k").value == b"2"
    backup(client, tmp_path / "backup")
    client("Put", key=b"k", value=b"right")
    until = int(client("Put", key=b"other", value=b"").logTime)
    time.sleep(0.01)
    client("Put", key=b"k", value=b"wrong")
    client.all("Restore", on=STREAM, path=path, untilTime=until)
    assert client("Get", key=b"k").value == b"right"


def test_restore_ends_the_feed_of_the_old_history(make_server: Start, make_client: Connect, tmp_path: Path) -> None:
    """A follower at or below the number that the restore took learns it; one that begins anew goes on."""
    client = make_client(make_server())
    last = int(client("Put", key=b"k", value=b"v").changeNumber)
    backup(client, tmp_path / "backup")
    follower = client.stream("StreamChanges", on=FEED, fromChangeNumber=last)
    next(follower)
    restore(client, tmp_path / "backup")
    with pytest.raises(grpc.RpcError) as purged:
        list(follower)
    assert purged.value.code() is grpc.StatusCode.OUT_OF_RANGE
    for number in (last, last + 1):
        assert client.refused("StreamChanges", on=FEED, fromChangeNumber=number)[0] is grpc.StatusCode.OUT_OF_RANGE
    client("Put", key=b"k", value=b"w")
    request = {"fromChangeNumber": last + 2, "throughChangeNumber": last + 2}
    told = client.all("StreamChanges", on=FEED, **request)
    assert [change.value for each in told for change in each.changes] == [b"w"]


def test_restore_on_a_master_purges_the_history_of_slaves_of_the_original(
    make_server: Start, make_client: Connect, tmp_path: Path
) -> None:
    """GetChanges at or below the number that the restore took is refused, and idle behind it (decision 2)."""
    client = make_client(make_server("--role", "master"))
    last = int(client("Put", key=b"k", value=b"v").changeNumber)
    backup(client, tmp_path / "backup")
    client("Put", key=b"k", value=b"w")
    restore(client, tmp_path / "backup")
    on = "dkv.serverpb.DKVReplication"
    for number in range(1, last + 3):
        code, text = client.refused("GetChanges", on=on, fromChangeNumber=number, maxNumberOfChanges=10)
        assert (code, text.split(",")[0]) == (
            grpc.StatusCode.OUT_OF_RANGE,
            f"changes from {number} are no longer available",
        )
    (idle,) = client.all("GetChanges", on=on, fromChangeNumber=last + 3, maxNumberOfChanges=10)
    assert (idle.masterChangeNumber, idle.numberOfChanges) == (last + 2, 0)
    assert idle.HasField("status")


def test_iterate_that_is_open_keeps_its_view_over_a_restore(
    make_server: Start, make_client: Connect, tmp_path: Path
) -> None:
    """A snapshot as of its start, although what it reads is gone for all others."""
    client = make_client(make_server())
    fill(client, b"old" * 1_000)
    backup(client, tmp_path / "backup")
    fill(client, b"new" * 1_000)
    stream = client.stream("Iterate")
    seen = [client.parse("Iterate", next(stream)).value]
    restore(client, tmp_path / "backup")
    assert values(client) == {b"old" * 1_000}
    seen += [client.parse("Iterate", message).value for message in stream]
    assert (len(seen), set(seen)) == (ROWS, {b"new" * 1_000})


def test_backup_with_a_flipped_bit_in_any_file_is_refused_and_nothing_changes(
    make_server: Start, make_client: Connect, tmp_path: Path
) -> None:
    """DATA_LOSS, naming the file; reads and writes go on; the backup taken next is whole."""
    client = make_client(make_server())
    fill(client, b"old")
    backup(client, tmp_path / "backup")
    fill(client, b"new")
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 4
    for path in files:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
        path.write_bytes(bad)
        code, text = client.refused("Restore", on=PLAIN, restorePath=str(tmp_path / "backup"))
        assert code in (grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNKNOWN), (path, text)
        assert path.name in text
        path.write_bytes(good)
    assert values(client) == {b"new"}
    restore(client, tmp_path / "backup")
    assert values(client) == {b"old"}


def test_server_begins_with_a_backup_in_an_empty_folder_only(
    make_server: Start, make_client: Connect, tmp_path: Path
) -> None:
    """--restore-from: served from the first call on; refused where there are data, and where there is no backup."""
    first = make_server()
    fill(make_client(first), b"old")
    backup(make_client(first), tmp_path / "backup")
    second = make_server("--restore-from", str(tmp_path / "backup"), folder="second")
    assert values(make_client(second)) == {b"old"}
    assert second.stop() == 0
    with pytest.raises(AssertionError, match="has data already; nothing was changed"):
        second.start()
    with pytest.raises(AssertionError, match="no such file or directory"):
        make_server("--restore-from", str(tmp_path / "none"), folder="third")
    third = make_server(folder="third")
    assert values(make_client(third)) == set()


def test_service_manager_is_asked_for_patience_while_a_server_begins_with_a_backup(
    make_server: Start, make_client: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that restores may take longer than a start may."""
    backup(make_client(make_server()), tmp_path / "backup")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        make_server("--restore-from", str(tmp_path / "backup"), folder="second")
        assert [manager.recv(100) for _ in range(2)] == [b"EXTEND_TIMEOUT_USEC=60000000", b"READY=1"]


@pytest.mark.timeout(3_600)
def test_kill_in_the_middle_of_backups_and_restores_leaves_old_or_new(
    make_server: Start, make_client: Connect, tmp_path: Path, soak_minutes: float
) -> None:
    """Whatever the moment: the data are all of one kind, the backup is whole, and no work of the dead one is left."""
    server = make_server("--backup-bytes-per-second", "0")
    client = make_client(server)
    fill(client, b"1")
    backup(client, tmp_path / "backup")
    for round_number in range(int(KILLS_A_SOAK_MINUTE * soak_minutes) or KILLS):
        is_restore = bool(round_number % 2)
        fill(client, b"%d" % (round_number + 2))
        before = values(client)
        job = ("Restore", {"restorePath": str(tmp_path / "backup")}) if is_restore else (
            "Backup", {"backupPath": str(tmp_path / "backup")})  # fmt: skip
        open_call = client.stream(job[0], on=PLAIN, **job[1])
        time.sleep(random.random() * 0.3)
        server.kill()
        with suppress(grpc.RpcError):  # it may have been over before
            list(open_call)
        client = make_client(server.start())
        after = values(client)
        assert len(after) == 1
        assert is_restore or after == before
        restore(client, tmp_path / "backup")
        assert len(values(client)) == 1
        assert len(client.all("Iterate")) == ROWS
    assert server.stop() == 0
    assert list((server.folder / "snap").iterdir()) == []
