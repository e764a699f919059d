"""Three nodes of one store on loopback, of DKV and of etcd: how they are started, and who leads."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import bodies
import grpc
from peers import ROOT, Call, Dkv, Etcd, free_port

sys.path.insert(0, str(ROOT / "src"))

from dkv.wire import messages as pb

NODES = 3
CACHE_BYTES = 16 << 20
"""Of the engine, for each node: three of them and a load generator share the machine."""
LEADER_SECONDS_MAX = 30
ASK_SECONDS = 2.0
LEADER = 2


class Standing(NamedTuple):
    """One node, as it sees itself."""

    is_leader: bool
    term: int
    applied: int
    """How far it is: of one trio only to be compared."""


class DkvNode(Dkv):
    calls: ClassVar[dict[str, Call]] = {
        **Dkv.calls,
        "linearizable": Call("/dkv.serverpb.DKV/Get", bodies.data(1, bodies.key(0)) + bodies.number(2, 1)),
    }

    def status(self) -> Any:
        reply = self.ask(Call("/dkv.v1.Status/GetNodeStatus", b""), ASK_SECONDS)
        return pb.GetNodeStatusResponse.FromString(b"".join(reply))

    def members(self) -> Any:
        """Of the cluster, with who leads what."""
        reply = self.ask(Call("/dkv.v1.Cluster/GetMembers", b""))
        return pb.GetMembersResponse.FromString(b"".join(reply))

    def standing(self) -> Standing:
        first = self.status().vBuckets[0]
        return Standing(first.raftRole == LEADER, first.term, first.changeNumber)


class EtcdNode(Etcd):
    durability = "synced before every reply"
    calls: ClassVar[dict[str, Call]] = {
        **Etcd.calls,
        "linearizable": Call("/etcdserverpb.KV/Range", bodies.data(1, bodies.key(0))),
    }

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.peer_url = f"http://127.0.0.1:{free_port()}"
        self.cluster = ""

    def command(self) -> list[str]:
        client = f"http://{self.address}"
        return [
            *("etcd", "--name", self.folder.name, "--data-dir", str(self.folder), "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
            *("--initial-cluster", self.cluster, "--quota-backend-bytes", str(8 << 30)),
        ]

    def standing(self) -> Standing:
        """Maintenance.Status: header 1 (member 2), leader 4, index 5, term 6."""
        reply = fields(b"".join(self.ask(Call("/etcdserverpb.Maintenance/Status", b""), ASK_SECONDS)))
        header = reply[1]
        assert isinstance(header, bytes)
        return Standing(reply.get(4) == fields(header).get(2), int(reply.get(6, 0)), int(reply.get(5, 0)))


N = TypeVar("N", DkvNode, EtcdNode)


class Trio(ABC, Generic[N]):
    """Three nodes. The first row of their keys is there once they have started."""

    name: str

    def __init__(self, folder: Path) -> None:
        self.nodes: Sequence[N] = self.made(folder)

    @abstractmethod
    def made(self, folder: Path) -> Sequence[N]: ...

    def start(self) -> None:
        begun = [node.launch() for node in self.nodes]
        for node, when in zip(self.nodes, begun, strict=True):
            while not node.answers(None):
                node.check_start(when)
                time.sleep(0.05)
        self.leader().ask(self.nodes[0].calls["put"])

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def standing_of(self, node: N) -> Standing | None:
        """None: it does not answer."""
        try:
            return node.standing() if node.process is not None else None
        except (grpc.RpcError, IndexError):
            return None

    def leader(self) -> N:
        """Of the vBucket that holds the keys of the measurements."""
        until = time.monotonic() + LEADER_SECONDS_MAX
        while time.monotonic() < until:
            for node in self.nodes:
                if (standing := self.standing_of(node)) is not None and standing.is_leader:
                    return node
            time.sleep(0.05)
        raise RuntimeError(f"{self.name}: no node leads")

    def follower(self) -> N:
        leader = self.leader()
        return next(node for node in self.nodes if node is not leader)

    def wait_until_level(self, node: N) -> None:
        """Returns when `node` has applied what the leader had by then."""
        until = time.monotonic() + LEADER_SECONDS_MAX
        goal = self.leader().standing().applied
        while (standing := self.standing_of(node)) is None or standing.applied < goal:
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name}: a node does not catch up")
            time.sleep(0.05)


class DkvTrio(Trio[DkvNode]):
    name = "dkv"

    def __init__(self, folder: Path, vbuckets: int = 1, flags: tuple[str, ...] = ()) -> None:
        self.vbuckets, self.flags = vbuckets, flags
        super().__init__(folder)

    def made(self, folder: Path) -> Sequence[DkvNode]:
        nodes = [DkvNode(folder / f"node-{number}") for number in range(NODES)]
        peers = ",".join(node.address for node in nodes)
        for node in nodes:
            node.extra = ("--cluster", "bench", "--peers", peers, "--vbuckets", str(self.vbuckets))
            node.extra += ("--block-cache-size", str(CACHE_BYTES), *self.flags)
        return nodes


class EtcdTrio(Trio[EtcdNode]):
    name = "etcd"

    def made(self, folder: Path) -> Sequence[EtcdNode]:
        nodes = [EtcdNode(folder / f"node-{number}") for number in range(NODES)]
        for node in nodes:
            node.cluster = ",".join(f"{each.folder.name}={each.peer_url}" for each in nodes)
        return nodes


def fields(message: bytes) -> dict[int, int | bytes]:
    """The top-level fields of a protobuf message of varints and length-delimited fields, the last of each number."""
    found: dict[int, int | bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        number = varint()
        if tag & 7 == 2:
            found[tag >> 3] = message[at : at + number]
            at += number
        else:
            found[tag >> 3] = number
    return found
