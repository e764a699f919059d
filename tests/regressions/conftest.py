"""A node on simulated parts, for bugs that need a turn to show."""

import random

import pytest

from dkv.edge import Raft
from dkv.edge.consensus import NativeConsensus
from dkv.model.limits import Limits
from dkv.node.making import Given, make_node
from dkv.node.opening import open_vbucket
from dkv.services.registry import Services
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelf
from dkv.testing.clock import SimClock
from dkv.testing.edge import Reply, SimulatedEdge
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.testing.random import SeededRandom


class House:
    """A node of one vBucket with its parts in reach."""

    def __init__(self, free_bytes_min: int = 0) -> None:
        limits = Limits()
        self.clock, self.store = SimClock(), MemoryStore(auto_sync=True)
        self.log, self.edge = SimulatedLog(LogDisk()), SimulatedEdge(random.Random(1))
        consensus = NativeConsensus(Raft(seed=1), self.log)
        self.node = make_node(
            Given(
                edge=self.edge,
                consensus=consensus,
                store=self.store,
                clock=self.clock,
                replicas=[open_vbucket(1, 77, self.store, consensus, self.clock, SeededRandom(1))],
                services=Services(limits),
                limits=limits,
                backups=Shelf(random.Random(2), self.store),
                random=SeededRandom(2),
                free_bytes_min=free_bytes_min,
            )
        )
        consensus.campaign(1)
        self.settle()

    def settle(self) -> None:
        """Turns and syncs until nothing moves."""
        for _ in range(20):
            self.node.turn(0)
            self.log.step_disk()

    def call(self, method: int, message: bytes) -> Reply:
        """The answer to a call, after as many turns as it takes."""
        call_id = self.edge.call(method, message)
        self.settle()
        (reply,) = (each for each in self.edge.take_replies() if each.call_id == call_id)
        return reply


@pytest.fixture
def house() -> House:
    return House()
