"""make cluster: three nodes on loopback in one terminal, to look at a cluster and to break it. Ctrl-C stops them.

Their lines come out with the name of the node in front. A node that is killed is started again after a while, on its
own folder, so that one can watch it catch up.
"""

import argparse
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODES = 3
AGAIN_SECONDS = 5.0
WAIT_SECONDS = 0.1
STOP_SECONDS_MAX = 30

HOW = """\
{nodes}
Once they say that they serve, in another terminal:
    ./bin/dkvctl -a {first} --set hello world
    ./bin/dkvctl -a {second} --get hello
    ./bin/dkvctl -a {first} status
    ./bin/dkvctl -a {first} top
A failover: kill the leader that status names, and go on writing to any of the others.
    kill -9 PID      it is started again after {seconds:.0f} seconds, and catches up
    ./bin/dkvctl -a {second} status
An orderly one: ./bin/dkvctl -a {first} leader transfer {second}
Ctrl-C stops all; the data stay in {folder}/, so that the next start goes on with them.
"""


class Node:
    """One process on one folder."""

    def __init__(self, number: int, folder: Path, port: int, peers: Sequence[str]) -> None:
        self.name, self.address = f"node {number}", f"127.0.0.1:{port}"
        http = f"127.0.0.1:{port + 100}"
        listen = ["--listen-addr", self.address, "--http-listen-addr", http]
        cluster = ["--cluster", "try", "--peers", ",".join(peers)]
        self._command = [str(ROOT / "bin" / "dkvsrv"), "--db-folder", str(folder), *listen, *cluster]
        self._rest = b""
        self.process = self._started()
        self.ended_at: float | None = None

    def _started(self) -> subprocess.Popen[bytes]:
        """In a group of its own: a Ctrl-C of the terminal is ours to hand on, once."""
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def lines(self) -> list[str]:
        """What it has said since the last time."""
        assert self.process.stdout is not None
        said = self._rest + (self.process.stdout.read() or b"")
        *whole, self._rest = said.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def look(self, now: float) -> str:
        """What there is to say of the process itself. A refusal is final: starting again would not help."""
        code = self.process.poll()
        if code is None:
            return ""
        if self.ended_at is None:
            self.ended_at = now
            return f"ended with {code}" + ("; it is started again soon" if code < 0 else "")
        if code < 0 and now - self.ended_at >= AGAIN_SECONDS:
            self.process, self.ended_at = self._started(), None
            return f"is started again, process {self.process.pid}"
        return ""


def say(node: Node, *lines: str) -> None:
    for line in lines:
        print(f"{node.name} | {line}", flush=True)


def serve(nodes: Sequence[Node]) -> None:
    """Until Ctrl-C or SIGTERM, or until every node has ended by itself."""
    while any(node.process.poll() is None or node.process.returncode < 0 for node in nodes):
        with selectors.DefaultSelector() as ready:
            for node in nodes:
                if node.process.poll() is None and node.process.stdout is not None:
                    ready.register(node.process.stdout, selectors.EVENT_READ)
            ready.select(WAIT_SECONDS) if ready.get_map() else time.sleep(WAIT_SECONDS)
        for node in nodes:
            say(node, *node.lines())
            if news := node.look(time.monotonic()):
                say(node, news)


def stop(nodes: Sequence[Node]) -> None:
    for node in nodes:
        if node.process.poll() is None:
            node.process.terminate()
    deadline = time.monotonic() + STOP_SECONDS_MAX
    for node in nodes:
        try:
            node.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            node.process.kill()
            node.process.wait()
        say(node, *node.lines())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(".data"), help="their folders are below it [.data]")
    parser.add_argument("--port", type=int, default=9091, help="the first of three; 100 above each is its HTTP [9091]")
    asked = parser.parse_args()
    folder = asked.data / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    for stops in (signal.SIGINT, signal.SIGTERM):  # also where the shell has said to ignore Ctrl-C
        signal.signal(stops, signal.default_int_handler)
    ports = range(asked.port, asked.port + NODES)
    peers = [f"127.0.0.1:{port}" for port in ports]
    nodes: list[Node] = []
    try:
        for number, port in enumerate(ports, 1):
            nodes.append(Node(number, folder / str(number), port, peers))
        listed = "\n".join(f"{node.name}: {node.address}, process {node.process.pid}" for node in nodes)
        how = HOW.format(nodes=listed, first=peers[0], second=peers[1], seconds=AGAIN_SECONDS, folder=folder)
        print(how, flush=True)
        serve(nodes)
    except KeyboardInterrupt:
        print(flush=True)
    finally:
        stop(nodes)
    return 0 if all(node.process.returncode == 0 for node in nodes) else 1


if __name__ == "__main__":
    sys.exit(main())
