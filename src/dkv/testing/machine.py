"""One simulated machine: disks that outlive the process, and one life of the real node after the other on them.

A life is put together like the server's (`dkv.server.parts`): log opened and synced, Raft, engine, `open_vbucket`,
services, edge, node. Only the parts differ. A life ends by a crash of the process, a loss of power, or because the node
itself ends with `StorageFailed`, which is a crash that it chose.
"""

from dataclasses import dataclass, field
from typing import Any, cast

from dkv.cluster.formation import Standing
from dkv.edge import Raft, Relay, changes_of_puts
from dkv.edge.consensus import NativeConsensus
from dkv.model.limits import Limits
from dkv.node.founding import vbuckets_here
from dkv.node.lease import LeaseTerms
from dkv.node.making import Given, make_node
from dkv.node.node import Node
from dkv.node.opening import open_vbucket
from dkv.ports.consensus import VOW_TICKS, Conf
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.storage.memory import NO_PRESSURE, MemoryStore
from dkv.testing.backups import Shelf
from dkv.testing.clock import SimClock
from dkv.testing.edge import SimulatedEdge
from dkv.testing.log import Appended, SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.testing.network import Network
from dkv.testing.random import SeededRandom, stream
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

VBUCKET = 1
FREE_BYTES_MIN = 1 << 20
FREE_BYTES = 1 << 40
LAST_FEW = 2
RETENTIONS = (Retention(0, 0), Retention(0, 20), Retention(5_000, 5), Retention())
"""How much history a machine keeps: nothing beyond what is needed, a little, everything."""


@dataclass(slots=True)
class Life:
    """One process."""

    log: SimulatedLog
    raft: Raft
    relay: Relay
    edge: SimulatedEdge
    node: Node
    methods: dict[str, int]
    """Method number by path."""
    looked_at: dict[int, tuple[int, Conf]] = field(default_factory=dict)
    """For a checker, by vBucket: up to here it has looked, and the members it has seen."""

    @property
    def replica(self) -> Replica:
        """Of the first vBucket."""
        return self.node.sole.replica

    @property
    def history_ids(self) -> dict[int, bytes]:
        """By vBucket."""
        return {vbucket: hosted.replica.history_id for vbucket, hosted in self.node.vbuckets.items()}

    def call(self, path: str, message: bytes) -> int:
        """Somebody calls; returns the id of the call."""
        return self.edge.call(self.methods[path], message)


class Machine:
    """Owns the disks and the clock; `life` is None while no process runs. Without a `network` it is alone."""

    def __init__(
        self, seed: int | str, limits: Limits, clock: SimClock | None = None, network: Network | None = None
    ) -> None:
        self._seed, self._limits, self._network = seed, limits, network
        self._rng = stream(seed, "machine")
        self.clock: SimClock = clock or SimClock()
        self.log_disk: LogDisk = LogDisk()
        self.store: MemoryStore = MemoryStore()
        self.shelf: Shelf = Shelf(stream(seed, "backups"), self.store)
        self.life: Life | None = None
        self.lives: int = 0
        self.node_id: int = self._draw_node_id()
        self.appended: list[Appended] = []
        """For a checker that takes it: what its logs were given. Of one alone nothing is noted."""
        self.lease_ms: int | None = None
        """Of a leader here; None: leases are off."""
        self.has_fast_writes: bool = False
        self.retention: Retention = stream(seed, "retention").choice(RETENTIONS)
        self._quick_share = stream(seed, "quick disk").choice((0.0, 0.0, 0.5, 0.9))

    def start(self) -> Life:
        """Open what the disks hold; one alone stands for election. StorageFailed or OSError when a fault hits the
        opening."""
        self._count_life()
        quick = stream(self._seed, f"quick disk {self.lives}")
        log = SimulatedLog(self.log_disk, self.appended, lambda: quick.random() < self._quick_share)
        vow_ticks = 0 if self._network is None else VOW_TICKS
        raft = Raft(seed=self._rng.getrandbits(60), vow_ticks=vow_ticks, asks_for_vows=self.lease_ms is not None)
        consensus = NativeConsensus(raft, cast(Any, log))
        random = SeededRandom(self._seed, f"node {self.lives}")
        first, *others = [
            open_vbucket(vbucket, self.node_id, self.store, consensus, self.clock, random)
            for vbucket in vbuckets_here(self.store) or [VBUCKET]
        ]
        services = Services(
            self._limits,
            NodeIdentity(role="master"),
            self._standing(),
            has_fast_writes=self.has_fast_writes,
            changes_of_puts=changes_of_puts,
        )
        edge = SimulatedEdge(stream(self._seed, f"edge {self.lives}"))
        peers = None
        if self._network is not None:
            peers = self._network.attach(self.node_id, self.clock)
            peers.speak_through(consensus.relay)
        node = make_node(
            Given(
                edge=edge,
                consensus=consensus,
                store=self.store,
                clock=self.clock,
                replicas=[first, *others],
                services=services,
                limits=self._limits,
                backups=self.shelf,
                random=random,
                free_bytes_min=FREE_BYTES_MIN,
                retention=self.retention,
                peers=peers,
                node_id=self.node_id,
                lease_terms=self._lease_terms(),
            )
        )
        if peers is None:
            consensus.campaign(VBUCKET)
        methods = {path: number for number, (path, _) in enumerate(services.methods)}
        self.life = Life(log, raft, consensus.relay, edge, node, methods)
        return self.life

    def _lease_terms(self) -> LeaseTerms | None:
        if self.lease_ms is None:
            return None
        return LeaseTerms(lambda: self.clock.now().monotonic_ms, self.lease_ms)

    def _count_life(self) -> None:
        self.lives += 1

    def _draw_node_id(self) -> int:
        """As a folder does that is made."""
        return self._rng.getrandbits(62) + 1

    def _standing(self) -> Standing | None:
        """What it is in its cluster; None: it has none."""
        return None

    def wipe(self) -> None:
        """Other disks, with nothing on them: a folder is made, and with it the id of the node is drawn. No process
        runs."""
        self.log_disk, self.store = LogDisk(), MemoryStore()
        self.shelf.store = self.store
        self.node_id = self._draw_node_id()

    def crash_process(self) -> None:
        """kill -9: both disks keep what was written."""
        self._end()
        self.log_disk.crash_process(self._rng)
        self.store.crash_process()
        self.make_room()

    def power_loss(self) -> None:
        """Both disks keep what was synced, and each some prefix of the rest; often it is the last few that are lost."""
        self._end()
        self.log_disk.power_loss(self._rng)
        batches = self.store.unsynced_batches
        lost = self._rng.choice([batches, min(batches, LAST_FEW)])
        self.store.power_loss(batches - self._rng.randint(0, lost))
        self.clock.reboot()
        self.make_room()

    def stop(self) -> None:
        """The end of a server's life in order: log and engine are synced and closed."""
        assert self.life is not None
        self.life.node.close()
        self._end()
        self.store.reopen()

    def _end(self) -> None:
        self.life = None
        if self._network is not None:
            self._network.detach(self.node_id)

    @property
    def has_unsynced(self) -> bool:
        """A loss of power now would take something."""
        return bool(self.log_disk.queued or self.log_disk.written or self.store.unsynced_batches)

    def step_disks(self) -> str:
        """One step of one disk."""
        if self.life is not None and self._rng.random() < 0.8:
            return f"log {self.life.log.step_disk()}"
        self.store.complete_sync()
        return "engine sync"

    def heal(self) -> None:
        """No fault is pending any more."""
        self.log_disk.sync_fails = self.log_disk.creation_fails = False
        self.store.fail_next_write = self.store.fail_next_sync = self.store.fail_next_wait = None
        self.store.pressure_now = NO_PRESSURE
        self.shelf.copy_fails = self.shelf.is_damaged = False
        self.make_room()

    def make_room(self) -> None:
        """The disks have space again."""
        self.log_disk.free_bytes = self.store.free_bytes_now = FREE_BYTES
