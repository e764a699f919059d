"""Clients of three real nodes while nodes are killed and stopped: no error, nothing lost, nothing applied twice."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from tests.integration.conftest import ROOT, Server

import dkv
import dkv.aio
from dkv.wire import messages as wire
from dkv.wire import methods

COUNTERS = 4
STEPS = 40
OPTIONS = "timeout=30s"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[dict[str, Server]]:
    """Three, by address; they serve."""
    servers = [Server(tmp_path / f"node-{number}") for number in range(3)]
    peers = ",".join(server.address for server in servers)
    try:
        for server in servers:
            server.flags = ("--cluster", "prod", "--peers", peers)
            server.launch()
        for server in servers:
            server.wait_for("serves gRPC on")
        yield {server.address: server for server in servers}
    finally:
        for server in servers:
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
            server.kill()


def url(nodes: dict[str, Server], count: int = 3) -> str:
    return f"dkv://{','.join(list(nodes)[:count])}?{OPTIONS}"


def leader_of(nodes: dict[str, Server]) -> Server:
    """Once there is one, as any node that answers sees it."""
    with dkv.connect(url(nodes)) as client:
        client.get("k")  # answered by a leader that was confirmed
        cluster = wire.GetMembersResponse.FromString(client.call(methods.GET_MEMBERS_PATH, b""))
    (address,) = [node.address for node in cluster.nodes if node.node == cluster.groups[0].leader]
    return nodes[address]


async def count_and_fail(nodes: dict[str, Server], victim: Server, signal_number: int) -> None:
    """Tasks count, each its own counter; in the middle of it the victim gets a signal."""
    async with dkv.aio.connect(url(nodes, 2)) as client:
        await client.put("open", "a session whose first write is lost knows nothing of it")
        is_under_way = asyncio.Event()

        async def count(name: str) -> int:
            last = 0
            for step in range(STEPS):
                last = await client.incr(name)
                if step == STEPS // 4:
                    is_under_way.set()
            return last

        counting = asyncio.gather(*[count(f"n{number}") for number in range(COUNTERS)])
        await is_under_way.wait()
        assert victim.process is not None
        victim.process.send_signal(signal_number)
        assert await counting == [STEPS] * COUNTERS
        assert [await client.incr(f"n{number}", 0) for number in range(COUNTERS)] == [STEPS] * COUNTERS


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
def test_leader_that_is_lost_costs_a_counting_client_nothing(nodes: dict[str, Server], signal_number: int) -> None:
    """Killed, or standing still with its connections open. Two of three addresses are enough."""
    asyncio.run(count_and_fail(nodes, leader_of(nodes), signal_number))


def test_follower_that_is_killed_costs_its_blocking_client_nothing(nodes: dict[str, Server]) -> None:
    """Its reads and writes were there. Both levels that another node can answer see what was written."""
    leader = leader_of(nodes)
    follower = next(server for server in nodes.values() if server is not leader)
    with dkv.connect(f"dkv://{follower.address}?{OPTIONS}&members=learn&consistency=read_your_writes") as client:
        for number in range(2 * STEPS):
            client.put("k", str(number))
            assert client.get("k") == str(number).encode()
            assert client.get("k", level="linearizable") == str(number).encode()
            if number == STEPS:
                follower.kill()
    command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", f"{follower.address},{leader.address}", "get", "k"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT / "src")
    assert (done.returncode, done.stdout) == (0, f"{2 * STEPS - 1}\n")
