"""Disks that fill up, lie or lose their tail, under a real server: refused, recovered or told, never silently wrong."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30
SMALL = ("--write-buffer-size", str(4 << 20), "--block-cache-size", "0")


def value_of(number: int, size: int = 1000) -> bytes:
    """Bytes that do not compress, so that files are as large as what is in them."""
    return random.Random(number).randbytes(size)


def quiet(server: Any) -> None:
    assert "Traceback" not in server.output(), server.output()
    assert "panicked" not in server.output(), server.output()


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.01)


def put_until_it_fails(client: Any, prefix: bytes, size: int, count_max: int = 5_000) -> tuple[int, Any]:
    """(how many were acknowledged, the call that was not)."""
    for number in range(count_max):
        try:
            client("Put", key=prefix + b"%d" % number, value=value_of(number, size), timeout=PATIENCE_SECONDS)
        except grpc.RpcError as failed:
            return number, failed
    raise AssertionError("the disk never filled up")


def ended(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A server that ends by itself at its start."""
    command = [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", str(folder), "--listen-addr", "127.0.0.1:0"]
    command += ["--http-listen-addr", "127.0.0.1:0", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MiB: a tmpfs where the server's folder will be."""
    place = tmp_path / "db"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", place], capture_output=True, text=True)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def free_bytes(disk: Path) -> int:
    stat = os.statvfs(disk)
    return stat.f_bavail * stat.f_frsize


# Full


def test_disk_below_the_low_water_mark_refuses_writes_until_there_is_room(
    disk: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Reads go on, the refusal is typed, writes resume by themselves, and a restart finds all that was acknowledged."""
    server = make_server("--min-free-disk-bytes", str(12 << 20), *SMALL)
    client = make_client(server)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free_bytes(disk) - (16 << 20)))
    count, failed = put_until_it_fails(client, b"a", 4 << 10)
    assert failed.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "the disk has less than 12 MiB left" in failed.details()
    assert count > 0
    for rpc, fields in (("Delete", {"key": b"a0"}), ("CompareAndSet", {"key": b"new", "newValue": b"v"})):
        assert client.refused(rpc, **fields)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    for number in range(count):
        assert client("Get", key=b"a%d" % number).value == value_of(number, 4 << 10)
    assert len(client.all("Iterate", keyPrefix=b"a")) == count
    ballast.unlink()

    def resumes() -> bool:
        try:
            return bool(client("Put", key=b"later", value=b"v").status.code == 0)
        except grpc.RpcError:
            return False

    eventually(resumes)
    quiet(server)
    server.kill()
    client.close()
    again = make_client(server.start())
    assert len(again.all("Iterate", keyPrefix=b"a")) == count
    assert again("Get", key=b"later").value == b"v"


def test_disk_below_the_low_water_mark_at_the_start_is_served_read_only(
    disk: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """A server on a nearly full disk starts, reads, and says why it does not write."""
    server = make_server("--min-free-disk-bytes", "1000000", *SMALL)
    client = make_client(server)
    assert client("Put", key=b"k", value=b"v").status.code == 0
    assert server.stop() == 0
    client.close()
    server.flags = ("--min-free-disk-bytes", str(64 << 20), *SMALL)
    client = make_client(server.start())
    assert client("Get", key=b"k").value == b"v"
    assert client.refused("Put", key=b"k", value=b"w")[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client("Get", key=b"k").value == b"v"
    quiet(server)


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_disk_truly_full_ends_the_server_and_a_restart_finds_every_acknowledged_write(
    disk: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], size: int
) -> None:
    """A mark smaller than one write does not help: the process ends with its reason, exit 1; nothing acknowledged is
    lost."""
    server = make_server("--min-free-disk-bytes", "1", *SMALL)
    client = make_client(server)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free_bytes(disk) - (2 << 20)))
    count, failed = put_until_it_fails(client, b"a", size)
    assert failed.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED), failed.details()
    assert server.process.wait(PATIENCE_SECONDS) == 1, server.output()
    assert "No space left" in server.output() or "nospace" in server.output(), server.output()
    quiet(server)
    ballast.unlink()
    client.close()
    again = make_client(server.start())
    found = {pair.key: pair.value for pair in again.all("Iterate", keyPrefix=b"a")}
    assert [number for number in range(count) if found.get(b"a%d" % number) != value_of(number, size)] == []
    assert len(found) <= count + 1
    assert again("Put", key=b"later", value=b"v").status.code == 0
    quiet(server)


# Bits that flip


def filled(make_server: Callable[..., Any], make_client: Callable[..., Any], count: int, *flags: str) -> Any:
    """A server with `count` acknowledged writes, each in a log entry of its own."""
    server = make_server(*flags)
    client = make_client(server)
    for number in range(count):
        assert client("Put", key=b"%06d" % number, value=value_of(number)).status.code == 0
    client.close()
    return server


def written_bytes(path: Path) -> int:
    """Length of what was written to a file that may have been given room in advance."""
    return len(path.read_bytes().rstrip(b"\x00"))


def flip(path: Path, part: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(written_bytes(path) * part)] ^= 0x10
    path.write_bytes(content)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
def test_bit_flipped_in_the_middle_of_the_log_is_refused_with_the_name_of_the_file(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], part: float
) -> None:
    """What lies behind the damage was acknowledged, so it is no tail to cut off: exit 1, and the files stay."""
    filled(make_server, make_client, 300).kill()
    path = max((tmp_path / "db" / "logs").glob("*.raftlog"), key=written_bytes)
    flip(path, part)
    damaged = path.read_bytes()
    for _ in range(2):
        done = ended(tmp_path / "db")
        assert done.returncode == 1, done.stderr
        assert path.name in done.stderr
        assert path.read_bytes() == damaged


def told(server: Any) -> bool:
    """Whether the server has ended for damage in the rows, which must be what it says."""
    if server.process.poll() is None:
        return False
    assert server.process.returncode == 1, server.output()
    assert ".sst" in server.output(), server.output()
    quiet(server)
    return True


def starts(server: Any) -> bool:
    """False when the server refuses to start for damage in the rows."""
    try:
        server.start()
    except AssertionError:
        server.process.wait(PATIENCE_SECONDS)
        assert told(server), server.output()
        return False
    return True


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_bit_flipped_in_the_rows_is_told_never_a_wrong_value(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], part: float
) -> None:
    """A value is right or the damage is told: in the call, by the process that ends, or at the start."""
    server = make_server("--write-buffer-size", str(256 << 10), "--block-cache-size", "0")
    client = make_client(server)
    for start in range(0, 2_000, 20):
        puts = [{"key": b"%06d" % number, "value": value_of(number)} for number in range(start, start + 20)]
        client("MultiPut", putRequest=puts)
    client.close()
    assert server.stop() == 0
    paths = sorted((tmp_path / "db" / "data").glob("*.sst"))
    assert paths
    for path in paths:
        flip(path, part)
    is_told = False
    for number in range(0, 2_000, 200):
        if not starts(server):
            return
        client = make_client(server)
        is_told |= not reads_well(client, number)
        is_told |= not iterates_well(client, 2_000)
        client.close()
        is_told |= told(server)
        server.kill()
        if is_told:
            return
    raise AssertionError("damage in every file was not told")


@pytest.mark.parametrize("rpc", ["Get", "MultiGet", "Iterate"])
def test_damage_met_by_a_read_is_told_to_its_caller_and_ends_the_server(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], rpc: str
) -> None:
    """DATA_LOSS for who asked, a line that names the file for the operator, and no more answers from damage."""
    server = filled(make_server, make_client, 100, "--block-cache-size", "0")
    assert server.stop() == 0
    assert server.start().stop() == 0  # opened again, what was in memory is a file
    flip(max((tmp_path / "db" / "data").glob("*.sst"), key=written_bytes), 0.5)
    client = make_client(server.start())
    keys = [b"%06d" % number for number in range(100)]
    asked: dict[str, list[dict[str, Any]]] = {
        "Get": [{"key": key} for key in keys],
        "MultiGet": [{"keys": keys}],
        "Iterate": [{}],
    }

    def ask_all() -> None:
        for fields in asked[rpc]:
            client.raw(rpc, **fields)

    with pytest.raises(grpc.RpcError) as caught:
        ask_all()
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS
    assert server.process.wait(PATIENCE_SECONDS) == 1
    assert told(server)


def reads_well(client: Any, number: int) -> bool:
    try:
        assert client("Get", key=b"%06d" % number).value == value_of(number)
    except grpc.RpcError:
        return False
    return True


def iterates_well(client: Any, count: int) -> bool:
    """All pairs came, or an error after right ones: never fewer in silence."""
    pairs = []
    is_well = True
    try:
        for reply in client.stream("Iterate"):
            pairs.append(client.parse("Iterate", reply))
    except grpc.RpcError:
        is_well = False
    expected = [(b"%06d" % number, value_of(number)) for number in range(len(pairs))]
    assert [(pair.key, pair.value) for pair in pairs] == expected
    assert len(pairs) == count or not is_well
    return is_well


# Tails that are lost


def copied(server: Any, target: Path) -> None:
    """The folder of a running server as a power failure at this instant would leave it, page cache included."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        shutil.copytree(server.folder, target)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def lose_tail(path: Path, part: float, zeroed: bool) -> None:
    """Keep `part` of what was written; the rest is missing, or reads as zeros."""
    length, size = int(written_bytes(path) * part), path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(length)
        if zeroed:
            file.truncate(size)


@pytest.mark.parametrize("zeroed", [False, True], ids=["missing", "zeroed"])
def test_copy_of_a_running_folder_without_its_tails_opens_with_a_prefix_or_is_refused(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], zeroed: bool
) -> None:
    """Whatever of log and engine reached the disk: a prefix of the writes, in order, or exit 1. Nothing is invented."""
    count = 200
    server = filled(make_server, make_client, count)
    copied(server, tmp_path / "image")
    server.kill()
    outcomes: dict[tuple[float, float], int] = {}
    for log_part, engine_part in ((1.0, 1.0), (1.0, 0.2), (0.995, 1.0), (0.995, 0.2), (0.4, 1.0), (0.4, 0.2)):
        target = tmp_path / f"image-{log_part}-{engine_part}"
        shutil.copytree(tmp_path / "image", target)
        lose_tail(max((target / "logs").glob("*.raftlog")), log_part, zeroed)
        lose_tail(max((target / "data").glob("*.log")), engine_part, zeroed)
        outcomes[log_part, engine_part] = opened(target, make_server, make_client)
    assert outcomes[1.0, 1.0] == count
    assert outcomes[0.4, 1.0] < count, "what the engine knows and the log does not is refused"
    assert any(found != count for found in outcomes.values()), outcomes


def opened(folder: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]) -> int:
    """How many of the writes a server finds on `folder`, in order from the first; -1 when it refuses to start."""
    try:
        server = make_server(folder=folder.name)
    except AssertionError:
        done = ended(folder)
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("dkvsrv: "), done.stderr
        return -1
    client = make_client(server)
    pairs = client.all("Iterate")
    expected = [(b"%06d" % number, value_of(number)) for number in range(len(pairs))]
    assert [(pair.key, pair.value) for pair in pairs] == expected
    assert client("Put", key=b"z", value=b"v").status.code == 0
    assert server.stop() == 0, server.output()
    quiet(server)
    return len(pairs)
