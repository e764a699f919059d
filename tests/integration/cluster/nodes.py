"""A cluster of real processes, and how it is looked at: who leads, who has what. The client is the independent one."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from tests.integration.conftest import Client, Server, Wire

SECONDS_MAX = 30
NAME = "faults"
CLUSTER = "dkv.v1.Cluster"
UPSTREAM = "dkv.serverpb.DKVCluster"
HEALTH = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2
CHANGE_SECONDS_MAX = 60
"""What a change of members may take, here where two cores carry everything."""
LINEARIZABLE = 1
VOTER = 0


def eventually(call: Callable[[], Any], is_wanted: Callable[[Any], bool] = bool) -> Any:
    """What `call` gives once it is what is wanted: elections take their time."""
    deadline = time.monotonic() + SECONDS_MAX
    while True:
        try:
            if is_wanted(found := call()):
                return found
            problem: object = found
        except grpc.RpcError as error:
            problem = f"{error.code()}: {error.details()}"
        assert time.monotonic() < deadline, f"did not come true, last: {problem}"
        time.sleep(0.02)


@contextmanager
def paused(*servers: Server) -> Iterator[None]:
    """They stand still, with their connections open, as a machine does that swaps or a virtual one that is moved."""
    for server in servers:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for server in servers:
            assert server.process is not None
            server.process.send_signal(signal.SIGCONT)


class Cluster:
    """Its servers, and a client of each. Whoever has given the servers away, stopped or paused, gets them back."""

    def __init__(self, folder: Path, wire: Wire, *flags: str) -> None:
        self._folder, self._wire, self._flags = folder, wire, flags
        self._clients: dict[str, Client] = {}
        self._made = 0
        self.servers: list[Server] = []
        self.gone: list[Server] = []
        """They were members."""

    def form(self, count: int = 3, make: Callable[[Path], Server] = Server) -> "Cluster":
        """The first nodes, once they answer."""
        self.servers = [make(self._next_folder()) for _ in range(count)]
        for server in self.servers:
            server.flags = (*self._first(server), *server.flags, *self._flags)
            server.launch()
        for server in self.servers:
            server.wait_for("serves gRPC on")
        self.settle()
        return self

    def _first(self, server: Server) -> tuple[str, ...]:
        """Flags of one of the first nodes; those of the original where it listens at two addresses."""
        if server.address == server.member_address:
            return ("--cluster", NAME, "--peers", ",".join(each.member_address for each in self.servers))
        return self._nexus(server, self.servers)

    def _joining(self, server: Server, by: Server) -> tuple[str, ...]:
        """Of one that is to be let in; in the original's way it waits for somebody to name it."""
        if server.address == server.member_address:
            return ("--join", by.member_address)
        return self._nexus(server, [by])

    def _nexus(self, server: Server, others: Sequence[Server]) -> tuple[str, ...]:
        urls = ",".join(f"http://{other.member_address}" for other in others)
        own = f"http://{server.member_address}"
        return ("--nexus-cluster-name", NAME, "--nexus-cluster-url", urls, "--nexus-node-url", own)

    def waiting(self, by: Server) -> Server:
        """One that has asked for nothing, and waits until `by` adds it."""
        made = Server(self._next_folder())
        made.flags = (*self._nexus(made, [by]), *self._flags)
        self.servers.append(made)
        return made.launch().wait_for("--addNode")

    def newcomer(self, by: Server) -> Server:
        """A server that asks `by` to be let in, not started yet."""
        made = Server(self._next_folder())
        made.flags = (*self._joining(made, by), *self._flags)
        self.servers.append(made)
        return made

    def _next_folder(self) -> Path:
        self._made += 1
        return self._folder / f"node-{self._made}"

    @property
    def addresses(self) -> list[str]:
        return [server.address for server in self.servers]

    def client(self, server: Server) -> Client:
        if server.address not in self._clients:
            self._clients[server.address] = Client(self._wire, server.address)
        return self._clients[server.address]

    def members(self, server: Server) -> Any:
        (reply,) = self.client(server).all("GetMembers", on=CLUSTER, timeout=2)
        return reply

    def leader_as_seen_by(self, server: Server) -> Server | None:
        """Of the first vBucket."""
        seen = self.members(server)
        addresses = {node.node: node.address for node in seen.nodes}
        address = addresses.get(seen.groups[0].leader) if seen.groups else None
        return next((each for each in self.servers if each.member_address == address), None)

    def leader(self, among: Sequence[Server] = ()) -> Server:
        """The one of these that all of them follow; of all, if none are named."""
        asked = among or self.servers

        def agreed() -> Server | None:
            seen = {self.leader_as_seen_by(server) for server in asked}
            found = seen.pop()
            return found if not seen and found in asked else None

        found: Server = eventually(agreed)
        return found

    def leader_and_followers(self) -> tuple[Server, list[Server]]:
        leader = self.leader()
        return leader, [server for server in self.servers if server is not leader]

    def settle(self) -> None:
        """Every node knows a leader of every vBucket, answers a read that must see everything, and takes a write."""
        for server in self.servers:
            eventually(lambda: all(group.leader for group in self.members(server).groups))  # noqa: B023
            client = self.client(server)
            eventually(lambda: client("Get", key=b"settled", readConsistency=LINEARIZABLE, timeout=2))  # noqa: B023
            eventually(lambda: client("Put", key=b"settled", value=b"", timeout=2))  # noqa: B023

    # Members

    def voters(self, by: Server) -> set[str]:
        """Addresses of the members that vote in the first vBucket, as this one sees them."""
        seen = self.members(by)
        addresses = {node.node: node.address for node in seen.nodes}
        return {addresses[each.node] for each in seen.groups[0].replicas if each.role == VOTER}

    def join(self, by: Server) -> Server:
        """A new node, asked for at `by`; it has its vote."""
        return self._let_in(self.newcomer(by), by)

    def join_again(self, server: Server, by: Server) -> Server:
        """One that is gone, with an empty folder, at its old address."""
        self.gone.remove(server)
        self.servers.append(server)
        server.flags = (*self._joining(server, by), *self._flags)
        return self._let_in(server, by)

    def _let_in(self, server: Server, by: Server) -> Server:
        server.launch()
        if "--join" not in server.flags:
            server.wait_for("--addNode")
            url = f"http://{server.member_address}"
            eventually(lambda: self.client(by)("AddNode", on=UPSTREAM, nodeUrl=url, timeout=CHANGE_SECONDS_MAX))
        server.wait_for("serves gRPC on")
        eventually(lambda: server.member_address in self.voters(by))
        return server

    def remove(self, server: Server, by: Server) -> None:
        """Whoever stays has the word of a member for it."""
        url = f"http://{server.member_address}"
        self.client(by)("RemoveNode", on=UPSTREAM, nodeUrl=url, timeout=CHANGE_SECONDS_MAX)
        self.servers.remove(server)
        self.gone.append(server)

    def replace(self, server: Server, newcomer: Server, by: Server) -> None:
        """At once; the newcomer waits to be added."""
        urls = {"nodeUrl": f"http://{server.member_address}", "newNodeUrl": f"http://{newcomer.member_address}"}
        self.client(by)("ReplaceNode", on=CLUSTER, timeout=CHANGE_SECONDS_MAX, **urls)
        self.servers.remove(server)
        self.gone.append(server)

    def wipe(self, server: Server) -> None:
        """Its folder is lost; it does not run."""
        assert server.process is None or server.process.poll() is not None
        shutil.rmtree(server.folder)

    def health(self, server: Server) -> int:
        (reply,) = self.client(server).all("Check", on=HEALTH, timeout=2)
        return int(reply.status)

    # What they have

    def rows(self, server: Server) -> Mapping[bytes, bytes]:
        """What this node has by itself."""
        return {pair.key: pair.value for pair in self.client(server).all("Iterate")}

    def applied(self, server: Server) -> list[tuple[int, int, bytes]]:
        """How far each of its vBuckets is: change number and history."""
        (page,) = self.client(server).all("GetVBuckets", on="dkv.v1.Status")
        return [(each.number, each.changeNumber, each.historyId) for each in page.vBuckets]

    def check_equal_at_rest(self) -> None:
        """All replicas come to have the same rows under the same numbers. Nobody may write meanwhile."""
        first, *others = self.servers
        for other in others:
            eventually(lambda: self.applied(first) == self.applied(other))  # noqa: B023
            eventually(lambda: self.rows(first) == self.rows(other))  # noqa: B023

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        for server in (*self.servers, *self.gone):
            server.kill()
