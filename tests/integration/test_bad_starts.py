"""Folders and ports that a server must not take: exit 1, one line that says why and what to do, nothing changed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFUSAL_SECONDS_MAX = 30


def refusal(folder: Path, *flags: str, address: str = "127.0.0.1:0") -> str:
    """What a server says that refuses to start on `folder`: all it prints is one line on stderr."""
    command = [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", str(folder), "--listen-addr", address, *flags]
    if "--http-listen-addr" not in flags:
        command += ["--http-listen-addr", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, timeout=REFUSAL_SECONDS_MAX
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    return line


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every name below `folder`, and the bytes of the files."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def closed_folder(tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]) -> Path:
    """A folder with one acknowledged write, of a server that has ended well."""
    server = make_server()
    assert make_client(server)("Put", key=b"k", value=b"v").status.code == 0
    assert server.stop() == 0, server.output()
    return tmp_path / "db"


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """An empty tmpfs of its own."""
    place = tmp_path / "db"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], capture_output=True, text=True)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["CURRENT", "MANIFEST-000001", "000004.sst", "LOG"], "RocksDB"),
        (["data/CURRENT", "data/MANIFEST-000001", "sst/000004.sst"], "RocksDB"),
        (["MANIFEST", "KEYREGISTRY", "000001.vlog"], "Badger"),
        (["notes.txt"], "notes.txt"),
        (["data/rows"], "lost its identity file"),
    ],
    ids=["of the original, old", "of the original", "of Badger", "of something else", "without identity"],
)
def test_folder_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, names: list[str], word: str) -> None:
    """Recognised by its names; not a byte is changed, not even a lock file appears."""
    folder = tmp_path / "db"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"precious")
    before = contents(folder)
    line = refusal(folder)
    assert word in line
    assert "nothing was changed" in line
    assert contents(folder) == before


def test_folder_of_a_newer_format_is_refused_and_left_alone(closed_folder: Path) -> None:
    """An older release keeps its hands off, and says which format it met."""
    fields = json.loads((closed_folder / "DKV").read_text())
    (closed_folder / "DKV").write_text(json.dumps(fields | {"format": 2}))
    before = contents(closed_folder)
    line = refusal(closed_folder)
    assert "newer release (format 2" in line
    assert contents(closed_folder) == before


@pytest.mark.parametrize("damage", ["flipped bit", "cut short", "empty", "no JSON"])
def test_folder_with_a_damaged_identity_is_refused_and_left_alone(closed_folder: Path, damage: str) -> None:
    """A node that came back with another id would vote twice."""
    identity = closed_folder / "DKV"
    text = identity.read_bytes()
    position = text.index(b'"node_id"') + 11
    flipped = text[:position] + bytes((text[position] ^ 1,)) + text[position + 1 :]
    identity.write_bytes(
        {"flipped bit": flipped, "cut short": text[: len(text) // 2], "empty": b"", "no JSON": b"hello"}[damage]
    )
    before = contents(closed_folder)
    line = refusal(closed_folder)
    assert f"{identity} is damaged" in line
    assert contents(closed_folder) == before


@pytest.mark.parametrize("name", ["logs", "data"])
def test_folder_that_lost_a_part_is_refused_and_left_alone(closed_folder: Path, name: str) -> None:
    """An engine opened anew beside an old log, or the reverse, would forget writes in silence."""
    shutil.rmtree(closed_folder / name)
    before = contents(closed_folder)
    assert f"has lost its folder {name}" in refusal(closed_folder)
    assert contents(closed_folder) == before


def test_folder_with_an_emptied_log_is_refused(closed_folder: Path) -> None:
    """The engine has applied what the log no longer knows: acknowledged writes may be missing."""
    for path in (closed_folder / "logs").iterdir():
        path.unlink()
    assert "log" in refusal(closed_folder)


def test_folder_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A slip of the finger must not cost a file."""
    (tmp_path / "db").write_bytes(b"precious")
    assert "is not a folder" in refusal(tmp_path / "db")
    assert (tmp_path / "db").read_bytes() == b"precious"


def test_folder_that_is_read_only_is_refused(mounted: Path) -> None:
    """Whoever asks, root too: the disk itself takes no writes."""
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    line = refusal(mounted)
    assert str(mounted) in line
    assert "cannot be written" in line or "read-only" in line


def test_folder_that_became_read_only_is_refused_until_it_is_writable(
    mounted: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """What was acknowledged is there when the disk takes writes again."""
    server = make_server("--min-free-disk-bytes", "1000000")
    client = make_client(server)
    assert client("Put", key=b"k", value=b"v").status.code == 0
    client.close()
    assert server.stop() == 0, server.output()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    line = refusal(mounted)
    assert "cannot be written" in line or "read-only" in line.lower()
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    server.start()
    assert make_client(server)("Get", key=b"k").value == b"v"


@pytest.mark.parametrize("flag", ["--listen-addr", "--http-listen-addr"])
def test_port_in_use_is_refused_and_the_folder_stays_usable(
    closed_folder: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], flag: str
) -> None:
    """The line names the address; two servers never share a port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        line = (
            refusal(closed_folder, address=address)
            if flag == "--listen-addr"
            else refusal(closed_folder, flag, address)
        )
    assert address in line
    assert "in use" in line
    assert make_client(make_server())("Get", key=b"k").value == b"v"


def test_port_of_a_running_server_is_refused_to_a_second(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Also among servers of our own: the first keeps all of its traffic."""
    first = make_server()
    client = make_client(first)
    assert first.address in refusal(tmp_path / "other", address=first.address)
    for number in range(20):
        assert client("Put", key=b"%d" % number, value=b"v").status.code == 0


def test_folder_of_a_running_server_is_refused_to_a_second(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """The line names the process that holds it; the first server does not notice, nor does its restart."""
    first = make_server()
    client = make_client(first)
    assert client("Put", key=b"before", value=b"v").status.code == 0
    for _ in range(2):
        assert f"in use by the process {first.process.pid}" in refusal(tmp_path / "db")
    assert client("Put", key=b"after", value=b"v").status.code == 0
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    client.close()
    client = make_client(first.start())
    assert [client("Get", key=key).value for key in (b"before", b"after")] == [b"v", b"v"]


@pytest.mark.parametrize(
    "mark", ["LOCK", "DKV.new", "DKV", "logs/*.raftlog", "data/CURRENT", "data/MANIFEST-*", "data/OPTIONS-*"]
)
def test_start_killed_at_any_step_leaves_a_folder_that_opens(
    tmp_path: Path, make_server: Callable[..., Any], make_client: Callable[..., Any], mark: str
) -> None:
    """kill -9 as soon as a file of the first start appears; the next start takes the folder as it is."""
    command = [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", str(tmp_path / "db")]
    command += ["--listen-addr", "127.0.0.1:0", "--http-listen-addr", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as first:
        deadline = time.monotonic() + REFUSAL_SECONDS_MAX
        while not any((tmp_path / "db").glob(mark)) and not any((tmp_path / "db").glob("data/OPTIONS-*")):
            assert time.monotonic() < deadline
        first.kill()
    server = make_server()
    assert make_client(server)("Put", key=b"k", value=b"v").status.code == 0
    assert server.stop() == 0, server.output()
