"""dkvbench as a process, against a real server; also one that goes away, and at a terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Client, Server, free_port

ROOT = Path(__file__).resolve().parents[2]
BENCH = [sys.executable, "-m", "dkv.cli.dkvbench"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
SECONDS_MAX = 60


def bench(server: Any, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*BENCH, "-dkvSvcHost", "127.0.0.1", "-dkvSvcPort", server.address.rpartition(":")[2], *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS_MAX, env={**ENVIRONMENT, **environment}
    )


def test_insert_writes_what_it_says(server: Server, client: Client) -> None:
    """Every key is there with a value of the size, and the report adds up."""
    done = bench(server, "-name", "insert", "-totalNumKeys", "300", "-parallelism", "16", "-valueSizeInBytes", "33")
    assert (done.returncode, done.stderr) == (0, "")
    head, _, report = done.stdout.partition("\n\nAPI: ")
    assert head.splitlines()[0] == "Launching benchmarks with following flags:"
    assert report.startswith("dkv.serverpb.DKV.Put, Value Size: 33 bytes\n\nSummary:\n  Count:        300\n")
    assert sum(map(int, re.findall(r"^ +[\d.]+ \[(\d+)\] +\|", report, re.M))) == 300
    assert len(re.findall(r"^  \d\d % in ", report, re.M)) == 7
    assert report.endswith("Status code distribution:\n  [OK]   300 responses\n")
    pairs = {pair.key: pair.value for pair in client.all("Iterate", keyPrefix=b"NewKey")}
    assert pairs.keys() == {b"NewKey%d" % number for number in range(300)}
    assert {len(value) for value in pairs.values()} == {33}


def test_reads_say_how_many_keys_they_found(make_server: Callable[..., Server]) -> None:
    """None before Update has written them, then all: also those that many callers ask for at once."""
    server = make_server()
    empty = bench(server, "-name", "Get", "-totalNumKeys", "50")
    assert "\n  Keys found:   0 of 50\n" in empty.stdout
    assert empty.stderr == "dkvbench: no key was there: Update with the same -numHotKeys writes them\n"
    assert empty.returncode == 0
    assert bench(server, "-name", "Update", "-totalNumKeys", "20", "-numHotKeys", "20").returncode == 0
    one = bench(server, "-name", "Get", "-totalNumKeys", "500", "-numHotKeys", "20", "-parallelism", "200")
    assert "\n  Keys found:   500 of 500\n" in one.stdout
    many = bench(server, "-name", "GetAll", "-totalNumKeys", "50", "-numHotKeys", "40", "-batchSize", "20")
    assert "\n  Keys found:   500 of 1000\n" in many.stdout
    assert (one.stderr, many.stderr) == ("", "")


def test_calls_the_server_refuses_are_counted_and_end_with_1(server: Server) -> None:
    """A value beyond the limit, in the server's words; no figure is made of refusals."""
    done = bench(server, "-name", "Update", "-totalNumKeys", "3", "-valueSizeInBytes", str((4 << 20) + 1))
    assert done.returncode == 1
    assert (
        "Status code distribution:\n  [InvalidArgument]   3 responses\n\nError distribution:\n  [3]   " in done.stdout
    )
    assert "Latency" not in done.stdout


def test_server_that_is_not_there_is_said_at_once() -> None:
    """On stderr; what would have been measured stands on stdout."""
    port = str(free_port())
    done = subprocess.run(
        [*BENCH, "-dkvSvcPort", port, "-name", "Get"],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"dkvbench: cannot connect to localhost:{port}: ")
    assert "Summary" not in done.stdout


def test_address_that_is_none_is_refused() -> None:
    """As a server that is not there."""
    command = [*BENCH, "-dkvSvcHost", "a b", "-name", "Get"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (1, 'dkvbench: invalid authority "a b:8080"\n')


def test_reader_of_the_report_that_leaves_ends_it_quietly(server: Server) -> None:
    """`dkvbench ... | head -1` shows no traceback."""
    command = [*BENCH, "-dkvSvcHost", "127.0.0.1", "-dkvSvcPort", server.address.rpartition(":")[2], "-name", "Update"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline().startswith(b"Launching")
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_server_that_dies_ends_it_with_what_was_measured(make_server: Callable[..., Server]) -> None:
    """It does not count failures to the last of ten million."""
    server = make_server()
    command = [*BENCH, "-dkvSvcHost", "127.0.0.1", "-dkvSvcPort", server.address.rpartition(":")[2]]
    command += ["-name", "Insert", "-totalNumKeys", "10000000", "-parallelism", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as child:
        try:
            with_rows(server)
            server.kill()
            out, err = child.communicate(timeout=SECONDS_MAX)
        finally:
            child.kill()
    assert child.returncode == 1
    assert "\n  [Unavailable]   " in out
    assert re.search(r"\n  \[OK\] +[1-9]", out)
    assert "gave up, as the server is away: " in err


def with_rows(server: Server) -> None:
    """Waits until the load has written something."""
    command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", server.address, "get", "NewKey0"]
    deadline = time.monotonic() + SECONDS_MAX
    while len(subprocess.run(command, capture_output=True, env=ENVIRONMENT).stdout) < 10:
        assert time.monotonic() < deadline, "nothing was written"


@pytest.mark.parametrize(("encoding", "bar", "other"), [("utf-8", "|∎", "|#"), ("ascii", "|#", "|∎")])
def test_output_that_knows_no_bars_gets_signs(server: Server, encoding: str, bar: str, other: str) -> None:
    """It is no reason to end without a report."""
    done = bench(server, "-name", "Update", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert bar in done.stdout
    assert other not in done.stdout


def test_ctrl_c_at_a_terminal_prints_what_was_measured(server: Server) -> None:
    """The bar shows how far it is, and is wiped; the exit code is that of an interrupt."""
    master, slave = pty.openpty()
    command = [*BENCH, "-dkvSvcHost", "127.0.0.1", "-dkvSvcPort", server.address.rpartition(":")[2]]
    command += ["-name", "Get", "-totalNumKeys", "100000000"]
    child = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env={**ENVIRONMENT, "TERM": "xterm"}, start_new_session=True
    )
    try:
        shown = read_until(master, b" of 100,000,000, ")
        child.send_signal(signal.SIGINT)
        shown += read_until(master, b"responses")
        assert child.wait(SECONDS_MAX) == 130
    finally:
        child.kill()
        child.wait()
        os.close(master)
        os.close(slave)
    assert b"\rmeasuring  [-" in shown
    assert re.search(rb"\r\x1b\[K\r\nSummary:\r\n  Count:        [1-9]", shown)


def read_until(master: int, text: bytes) -> bytes:
    shown = b""
    deadline = time.monotonic() + SECONDS_MAX
    while text not in shown:
        ready, _, _ = select.select([master], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"{text!r} was not shown: {shown.decode(errors='replace')}"
        shown += os.read(master, 65_536)
    return shown
