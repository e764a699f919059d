"""Real servers become a cluster: by either way to ask for it, from data or from nothing, and never by mistake."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import ROOT, Client, Server, Wire, free_port

from dkv.cluster.display import display_id

UPSTREAM = "dkv.serverpb.DKVCluster"
SECONDS_MAX = 30
REFUSAL_SECONDS_MAX = 20


class Town:
    """The servers of one test, by what they were asked for."""

    def __init__(self, folder: Path, wire: Wire) -> None:
        self._folder, self._wire = folder, wire
        self.servers: list[Server] = []
        self.clients: list[Client] = []

    def server(self, *flags: str, folder: str = "") -> Server:
        """One that is not started yet."""
        made = Server(self._folder / (folder or f"node-{len(self.servers)}"), *flags)
        self.servers.append(made)
        return made

    def three(self, name: str = "prod") -> list[Server]:
        """The first nodes of a cluster, launched."""
        servers = [self.server() for _ in range(3)]
        peers = ",".join(server.address for server in servers)
        for server in servers:
            server.flags = ("--cluster", name, "--peers", peers)
            server.launch()
        return [server.wait_for("serves gRPC on") for server in servers]

    def client(self, server: Server) -> Client:
        self.clients.append(Client(self._wire, server.address))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for server in self.servers:
            server.kill()


@pytest.fixture
def town(tmp_path: Path, wire: Wire) -> Iterator[Town]:
    made = Town(tmp_path, wire)
    yield made
    made.close()


def eventually(call: Callable[[], Any], is_wanted: Callable[[Any], bool] = lambda found: True) -> Any:
    """What `call` gives once it is what is wanted: elections take their time."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        try:
            if is_wanted(found := call()):
                return found
            problem: object = found
        except Exception as error:
            problem = error
        assert time.monotonic() < deadline, problem
        time.sleep(0.05)


def refusal(server: Server) -> str:
    """What a server says that ends at its start."""
    server.launch()
    assert server.process is not None
    assert server.process.wait(REFUSAL_SECONDS_MAX) == 1, server.output()
    return server.output()


def urls(client: Client) -> set[str]:
    (reply,) = client.all("ListNodes", on=UPSTREAM)
    assert reply.leader in reply.nodes, "no leader is known"
    assert all(display_id(node.nodeUrl) == shown == node.nodeId for shown, node in reply.nodes.items())
    return {node.nodeUrl for node in reply.nodes.values()}


def dkvctl(server: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", server.address, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT / "src")


def test_first_nodes_form_a_cluster_and_a_lost_folder_is_kept_out(town: Town) -> None:
    """INVARIANT 1, from end to end: refused as it is, removed, and added again with what the others have."""
    servers = town.three()
    first, second, third = servers
    clients = [town.client(server) for server in servers]
    eventually(lambda: clients[0]("Put", key=b"k", value=b"v"))
    assert eventually(lambda: urls(clients[1])) == {f"http://{server.address}" for server in servers}
    assert clients[2]("Get", key=b"k", readConsistency=1).value == b"v"

    second.kill()
    wiped = town.server(*second.flags)
    wiped.address = second.address
    assert "which does not know it: remove it from the cluster, then add it again" in refusal(wiped)
    wiped.flags = ("--join", third.address)
    wiped.launch().wait_for(f"{wiped.address} is a member as another node: if its folder was lost, remove it first")
    wiped.kill()
    removed = dkvctl(first, "--removeNode", f"http://{second.address}")
    assert (removed.returncode, removed.stdout) == (0, ""), removed
    wiped.start()
    assert eventually(lambda: urls(clients[0]), lambda found: len(found) == 3)
    again = town.client(wiped)
    assert eventually(lambda: again("Get", key=b"k", readConsistency=1).value) == b"v"
    shown = dkvctl(first, "members").stdout
    assert shown.startswith("cluster prod, vBuckets: 1\n")
    assert wiped.address in shown


def test_server_on_its_own_becomes_the_first_node_without_copying(town: Town) -> None:
    """Its data, its numbers and its history go on; who joins has them too, and leads if it is told to."""
    alone = town.server(folder="alone").start()
    before = town.client(alone)("Put", key=b"old", value=b"data")
    assert alone.stop() == 0
    alone.flags = ("--cluster", "prod")
    alone.start()
    other = town.server("--join", alone.address).start()
    joined = town.client(other)
    assert eventually(lambda: joined("Get", key=b"old", readConsistency=1).value) == b"data"
    after = eventually(lambda: joined("Put", key=b"new", value=b"data"))
    assert (after.historyId, after.changeNumber) == (before.historyId, before.changeNumber + 1)
    moved = eventually(lambda: dkvctl(alone, "leader", "transfer", other.address), lambda done: done.returncode == 0)
    assert moved.stdout == "OK\n"
    assert eventually(lambda: joined("Put", key=b"third", value=b"data"))
    other.stop()
    other.flags = ()
    other.start()  # whoever belongs to a cluster needs no flag
    assert eventually(lambda: town.client(other)("Get", key=b"old", readConsistency=1).value) == b"data"


def test_cluster_outlives_all_of_its_first_members(town: Town) -> None:
    """Grown to six, shrunk to the three that came later: they start again, and take another in."""
    first = town.three()
    writer = town.client(first[0])
    eventually(lambda: writer("Put", key=b"k", value=b"v"))
    later = [town.server("--join", first[0].address).start() for _ in range(3)]
    client = town.client(later[0])
    eventually(lambda: urls(client), lambda found: len(found) == 6)
    for server in first:
        removed = eventually(
            lambda url=f"http://{server.address}": dkvctl(later[0], "--removeNode", url),
            lambda done: done.returncode == 0,
        )
        assert removed.stdout == ""
    eventually(lambda: urls(client), lambda found: found == {f"http://{server.address}" for server in later})
    for server in first:
        server.kill()
    for server in later:
        server.kill()
    for server in later:
        server.launch()
    for server in later:
        server.wait_for("serves gRPC on")
    newcomer = town.server("--join", later[1].address).start()
    again = town.client(newcomer)
    assert eventually(lambda: again("Get", key=b"k", readConsistency=1).value) == b"v"
    newcomer.kill()
    newcomer.start()  # from what it was told
    assert eventually(lambda: town.client(newcomer)("Get", key=b"k", readConsistency=1).value) == b"v"
    assert eventually(lambda: len(urls(client)), lambda count: count == 4)


def test_node_that_comes_back_elsewhere_is_found_there(town: Town) -> None:
    """It says so itself; members, directories and clients know it by its new address."""
    servers = town.three()
    client = town.client(servers[0])
    eventually(lambda: client("Put", key=b"k", value=b"v"))
    moved = servers[2]
    assert moved.stop() == 0
    moved.address = f"127.0.0.1:{free_port()}"
    moved.flags = ()
    moved.start()
    wanted = {f"http://{server.address}" for server in servers}
    for server in servers:
        told = town.client(server)
        eventually(lambda told=told: urls(told), lambda found: found == wanted)
    there = town.client(moved)
    assert eventually(lambda: there("Get", key=b"k", readConsistency=1).value) == b"v"
    shown = eventually(lambda: dkvctl(servers[0], "members").stdout, lambda text: text.count("  up") == 3)
    assert moved.address in shown


def test_options_of_the_original_form_a_cluster_and_add_a_node(town: Town) -> None:
    """Nodes have a URL beside the address of clients; the newcomer waits until an operator adds it."""
    places = [f"http://127.0.0.1:{free_port()}" for _ in range(3)]
    given = ",".join(places[:2])
    servers = [town.server("--nexus-cluster-url", given, "-nexusNodeUrl", place) for place in places]
    for server in servers:
        server.launch()
    for server in servers[:2]:
        server.wait_for("serves gRPC on")
    client = town.client(servers[0])
    assert eventually(lambda: urls(client)) == set(places[:2])
    servers[2].wait_for(f"--addNode {places[2]}")
    added = eventually(lambda: dkvctl(servers[1], "--addNode", places[2]), lambda done: done.returncode == 0)
    assert added.stdout == ""
    servers[2].wait_for("serves gRPC on")
    newcomer = town.client(servers[2])
    eventually(lambda: urls(newcomer), lambda found: found == set(places))
    refused = dkvctl(servers[1], "--addNode", "http://127.0.0.1:1")
    assert refused.returncode == 1
    text = (
        "Unable to add node with URL: http://127.0.0.1:1. Error: rpc error: code = Unavailable desc = unable to verify"
    )
    assert refused.stdout.startswith(text)


def test_cluster_of_many_vbuckets_forms_and_takes_a_node_in(town: Town) -> None:
    """Each vBucket is a group of its own, with a directory of its own."""
    first = town.server()
    first.flags = ("--cluster", "prod", "--vbuckets", "40")
    first.start()
    other = town.server("--join", first.address).start()
    shown = eventually(lambda: dkvctl(first, "members").stdout, lambda text: text.count("of 40") == 2)
    assert shown.startswith("cluster prod, vBuckets: 40\n")
    newcomer = town.client(other)
    eventually(lambda: len(urls(newcomer)), lambda count: count == 2)


def test_node_that_waits_says_for_whom_and_heeds_a_signal(town: Town) -> None:
    """Callers are told to come back, and the folder is as empty as before."""
    missing = f"127.0.0.1:{free_port()}"
    waiting = town.server()
    waiting.flags = ("--cluster", "prod", "--peers", f"{waiting.address},{missing}")
    waiting.launch().wait_for(f"dkvsrv waits for its cluster: {missing} (")
    code, text = town.client(waiting).refused("Put", key=b"k", value=b"v")
    assert (code.name, text) == ("UNAVAILABLE", "this node does not belong to its cluster yet, try again")
    (health,) = town.client(waiting).all("Check", on="grpc.health.v1.Health")
    assert health.status == 2
    assert waiting.stop() == 0
    assert waiting.output().endswith("[WARN] Caught signal: terminated. Shutting down...\n")
    waiting.flags = ()
    waiting.start()


def test_node_does_not_join_a_server_that_is_in_no_cluster(town: Town) -> None:
    """It waits: the server may be started anew as the first node of one."""
    alone = town.server().start()
    town.server("--join", alone.address).launch().wait_for(f"{alone.address} (was started without a cluster)")


def test_node_of_a_cluster_does_not_begin_with_a_backup(town: Town) -> None:
    """Its members would differ: a cluster is restored while it serves."""
    first = town.server("--cluster", "prod", "--restore-from", "/backup")
    assert "--restore-from is for a server on its own" in refusal(first)


def test_folder_in_use_does_not_become_something_else(town: Town) -> None:
    """Neither a member of a cluster that has to be formed of empty nodes, nor one of another cluster."""
    alone = town.server().start()
    assert alone.stop() == 0
    alone.flags = ("--cluster", "prod", "--peers", f"{alone.address},127.0.0.1:1")
    assert "has been served alone; nothing was changed" in refusal(alone)
    alone.flags = ("--join", "127.0.0.1:1")
    assert "has been served alone; nothing was changed" in refusal(alone)
    alone.flags = ("--cluster", "prod")
    assert alone.start().stop() == 0
    alone.flags = ("--cluster", "test")
    assert "this folder belongs to the cluster 'prod', not to 'test'; nothing was changed" in refusal(alone)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--nexus-cluster-url", "http://192.0.2.1:1"), "nexus listen address not provided & auto detection failed"),
        (("--cluster", "c", "--peers", "192.0.2.1:1,192.0.2.2:1"), "none of --peers is this node, 127.0.0.1:"),
    ],
)
def test_node_that_cannot_tell_its_own_address_is_refused(town: Town, flags: tuple[str, ...], text: str) -> None:
    """Others could not reach it."""
    assert text in refusal(town.server(*flags))
