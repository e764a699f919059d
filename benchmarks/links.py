"""The links between two nodes, each in a process of its own on one machine: round trips, also beside bulk, and rest.

The other node sends back every small message that it receives and drops every chunk. A round trip passes two network
threads and two Python threads. Processor time at rest is that of one node with one link, all threads.
"""

import argparse
import resource
import subprocess
import sys
import time
from statistics import median, quantiles

from dkv.edge import Bell, EdgeServer
from dkv.edge.peers import Peers
from dkv.server.clock import SystemClock

HERE, OTHER = 1, 2
SMALL_BYTES_MAX = 64 << 10
CHUNK = bytes(1 << 20)
CASES = ((64, 1, 20_000), (64, 100, 2_000), (1_000, 1_000, 200))
"""Bytes of a message, how many at once, round trips."""
BESIDE_BULK = (64, 1, 2_000)


class Node:
    def __init__(self, node: int) -> None:
        self.server: EdgeServer = EdgeServer(Bell(), [])
        self.address: str = self.server.listen("127.0.0.1:0")
        self.peers: Peers = Peers(self.server, SystemClock(), b"c" * 16, node)


def send_back(address: str) -> None:
    """What the other node does until it is killed."""
    node = Node(OTHER)
    node.peers.know(HERE, address)
    print(node.address, flush=True)
    while True:
        node.server.poll(1000, 1000)
        if small := [each for each in node.peers.receive() if len(each[1]) <= SMALL_BYTES_MAX]:
            node.peers.send(small)


def round_trip(node: Node, messages: list[tuple[int, bytes]], with_bulk: bool) -> float:
    """Seconds until all have come back."""
    began = time.perf_counter()
    node.peers.send(messages)
    missing = len(messages)
    while missing:
        while with_bulk and node.peers.send_bulk(OTHER, CHUNK):
            pass
        node.server.poll(1000, 1000)
        missing -= len(node.peers.receive())
    return time.perf_counter() - began


def report(node: Node, size: int, count: int, rounds: int, with_bulk: bool = False) -> None:
    messages = [(OTHER, bytes(size))] * count
    took = [round_trip(node, messages, with_bulk) for _ in range(rounds)]
    cuts = quantiles(took, n=100)
    beside = ", bulk beside them" if with_bulk else ""
    print(
        f"{count:>5} of {size:>5} bytes{beside}: {rounds * count / sum(took):>9,.0f} messages a second each way; "
        f"a round trip {median(took) * 1e6:,.0f} us, p99 {cuts[-1] * 1e6:,.0f} us",
        flush=True,
    )


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def report_rest(node: Node, seconds: float) -> None:
    before, end = processor_seconds(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        node.server.poll(int(left * 1000) + 1, 1000)
    print(f"at rest: {(processor_seconds() - before) / seconds:.2%} of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--send-back", help="(internal) be the other node of the node at this address")
    parser.add_argument("--rest-seconds", type=float, default=10)
    arguments = parser.parse_args()
    if arguments.send_back:
        send_back(arguments.send_back)
    node = Node(HERE)
    command = [sys.executable, __file__, "--send-back", node.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            node.peers.know(OTHER, other.stdout.readline().strip())
            while not node.peers.links()[OTHER].is_up:
                node.server.poll(10, 1000)
            for case in CASES:
                report(node, *case)
            report(node, *BESIDE_BULK, with_bulk=True)
            report_rest(node, arguments.rest_seconds)
        finally:
            other.kill()
            node.server.close()


if __name__ == "__main__":
    main()
