"""make cluster: what a newcomer runs first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.integration.conftest import ROOT, free_port

SECONDS_MAX = 60


def wait_for(log: Path, text: str, count: int, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + SECONDS_MAX
    while (said := log.read_text()).count(text) < count:
        assert process.poll() is None, said
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return said


def test_make_cluster_serves_starts_a_killed_node_again_and_stops(tmp_path: Path) -> None:
    """Three nodes, their lines with their names; Ctrl-C ends all of them, in order."""
    log = tmp_path / "log"
    port = free_port() % 30_000 + 20_000
    command = [sys.executable, str(ROOT / "tools" / "cluster.py"), "--data", str(tmp_path), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT)
    try:
        said = wait_for(log, "serves gRPC on", 3, process)
        killed = int(next(line for line in said.splitlines() if line.startswith("node 2:")).split()[-1])
        os.kill(killed, signal.SIGKILL)
        wait_for(log, "node 2 | is started again", 1, process)
        said = wait_for(log, "serves gRPC on", 4, process)
        assert f"./bin/dkvctl -a 127.0.0.1:{port} status" in said
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS_MAX) == 0, log.read_text()
        assert log.read_text().count("Shutting down...") == 3
    finally:
        process.send_signal(signal.SIGINT) if process.poll() is None else None
        process.wait(SECONDS_MAX)
