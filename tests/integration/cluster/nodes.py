"""A cluster of real processes, and how it is looked at: who leads, who has what. The client is the independent one."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from tests.integration.conftest import Client, Server, Wire

SECONDS_MAX = 30
CLUSTER = "dkv.v1.Cluster"
LINEARIZABLE = 1


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


class Cluster:
    """Its servers, and a client of each. Whoever has given the servers away, stopped or paused, gets them back."""

    def __init__(self, folder: Path, wire: Wire, *flags: str) -> None:
        self._folder, self._wire, self._flags = folder, wire, flags
        self._clients: dict[str, Client] = {}
        self._made = 0
        self.servers: list[Server] = []

    def form(self, count: int = 3, make: Callable[[Path], Server] = Server) -> "Cluster":
        """The first nodes, once they answer."""
        self.servers = [make(self._next_folder()) for _ in range(count)]
        peers = ",".join(server.address for server in self.servers)
        for server in self.servers:
            server.flags = ("--cluster", "faults", "--peers", peers, *self._flags)
            server.launch()
        for server in self.servers:
            server.wait_for("serves gRPC on")
        self.settle()
        return self

    def newcomer(self, by: Server) -> Server:
        """A server that asks `by` to be let in, not started yet."""
        made = Server(self._next_folder(), "--join", by.address, *self._flags)
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
        return next((each for each in self.servers if each.address == address), None)

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
        """Every node answers a read that must see everything, and takes a write."""
        for server in self.servers:
            client = self.client(server)
            eventually(lambda: client("Get", key=b"settled", readConsistency=LINEARIZABLE, timeout=2))  # noqa: B023
            eventually(lambda: client("Put", key=b"settled", value=b"", timeout=2))  # noqa: B023

    def rows(self, server: Server) -> Mapping[bytes, bytes]:
        """What this node has by itself."""
        return {pair.key: pair.value for pair in self.client(server).all("Iterate")}

    def applied(self, server: Server) -> tuple[int, bytes]:
        """How far its first vBucket is: number and history."""
        (status,) = self.client(server).all("GetNodeStatus", on="dkv.v1.Status")
        return status.vBuckets[0].changeNumber, status.vBuckets[0].historyId

    def check_equal_at_rest(self) -> None:
        """All replicas come to have the same rows under the same numbers. Nobody may write meanwhile."""
        first, *others = self.servers
        for other in others:
            eventually(lambda: self.applied(first) == self.applied(other))  # noqa: B023
            eventually(lambda: self.rows(first) == self.rows(other))  # noqa: B023

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        for server in self.servers:
            server.kill()
