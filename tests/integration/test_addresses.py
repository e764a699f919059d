"""Where a server listens, and what it says of that."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DISCOVERY = "dkv.serverpb.DKVDiscoveryNode"


def test_port_zero_is_told_as_the_port_that_it_became(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """A node that picked its ports says which, to people and to other nodes."""
    server = make_server()
    server.stop()
    server.process = subprocess.Popen(
        [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", server.folder, "--listen-addr", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
    )
    line = server.process.stderr.readline()
    found = re.search(r"gRPC on (127\.0\.0\.1:[1-9][0-9]*)", line)
    assert found, line
    server.address = found[1]
    (region,) = make_client(server).all("GetStatus", on=DISCOVERY)
    assert region.nodeAddress == server.address
    server.kill()
    server.process.stderr.close()


def test_unix_socket_is_served_to_dkvctl(tmp_path: Path) -> None:
    """The path is given as it is given to clients, and the socket goes with the server."""
    path = tmp_path / "s"
    command = [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", str(tmp_path / "db"), "--listen-addr"]
    with subprocess.Popen([*command, f"unix:{path}"], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert f"gRPC on unix:{path}" in line
        for words, shown in ((["--set", "k", "v"], "OK\n"), (["--get", "k"], "v\n")):
            done = subprocess.run(
                [sys.executable, "-m", "dkv.cli.dkvctl", "-a", f"unix:{path}", *words],
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert (done.stdout, done.returncode) == (shown, 0), done.stderr
        server.terminate()
    assert not path.exists()
