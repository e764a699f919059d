"""One machine of a simulated cluster: its clock is wrong in its own way, and it knows what was done to it."""

from random import Random

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Standing
from dkv.model.limits import Limits
from dkv.model.node_urls import url_of
from dkv.node.founding import found, read_charter, read_contacts
from dkv.node.snapshots import Snapshots
from dkv.testing.clock import DRIFT_PERMILLE_MAX, START_WALL_MS, SimClock
from dkv.testing.cluster.lines import Lines
from dkv.testing.cluster.newcomer import Newcomer, Wish, address_of
from dkv.testing.edge import SimulatedEdge
from dkv.testing.machine import VBUCKET, Machine
from dkv.testing.network import Network
from dkv.testing.random import SeededRandom, stream
from dkv.vbucket.replica import Replica

ROWS_MAX = 1_000
SKEW_MS_MAX = 2_000


class Member(Machine):
    """Owned by the world; `number` names it in traces and is its address. A process on it is `life`, or `newcomer` as
    long as its folder belongs to no cluster."""

    def __init__(self, number: int, seed: int, limits: Limits, network: Network) -> None:
        rng = stream(seed, f"clock {number}")
        wall_ms = START_WALL_MS + rng.randint(-SKEW_MS_MAX, SKEW_MS_MAX)
        drift = rng.randint(-DRIFT_PERMILLE_MAX, DRIFT_PERMILLE_MAX)
        super().__init__(f"{seed}/{number}", limits, SimClock(wall_ms, drift), network)
        self.number: int = number
        self.url: str = url_of(address_of(number))
        self.wish: Wish | None = None
        """How it is started; None: it is not."""
        self.newcomer: Newcomer | None = None
        self.former_ids: list[int] = []
        """Of the nodes on the disks it has lost."""
        self.is_paused: bool = False
        self.has_slow_disk: bool = False
        self.is_out: bool = False
        """Its disk is damaged: it is not started any more."""
        self.is_refused: bool = False
        """It was told that it must not start, as it is empty and its cluster does not know it."""
        self._turns_since_failure = 0

    def found(self, charter: Charter) -> None:
        """It belongs to the cluster."""
        found(charter, self.node_id, self.store, {})

    def begin(self, lines: Lines) -> None:
        """A process. StorageFailed, OSError or Corrupt as `start`."""
        assert self.wish is not None
        if read_charter(self.store) is not None:
            self.start()
            return
        self._count_life()
        edge = SimulatedEdge(stream(self._seed, f"edge {self.lives}"))
        random = SeededRandom(self._seed, f"newcomer {self.lives}")
        self.newcomer = Newcomer(
            self.number,
            self.node_id,
            self.wish,
            store=self.store,
            lines=lines,
            edge=edge,
            clock=self.clock,
            random=random,
        )

    def become_node(self) -> None:
        """The newcomer has a charter, and goes on as a node."""
        self._close_newcomer()
        self.start()

    def wipe(self) -> None:
        """As that, and it is not known any more for what it was."""
        self.former_ids.append(self.node_id)
        super().wipe()
        self.is_out = self.is_refused = False

    def _standing(self) -> Standing | None:
        charter = read_charter(self.store)
        assert charter is not None
        addresses = tuple(member.address for member in charter.members)
        own = address_of(self.number)
        standing = Standing(self.node_id, own, self.url, charter.name, addresses, charter.vbuckets, charter)
        return standing._replace(members=read_contacts(self.store))

    def _end(self) -> None:
        super()._end()
        self._close_newcomer()

    def _close_newcomer(self) -> None:
        if self.newcomer is not None:
            self.newcomer.close()
            self.newcomer = None

    @property
    def is_running(self) -> bool:
        return self.life is not None or self.newcomer is not None

    @property
    def is_damaged(self) -> bool:
        """Something on its disk is not what was written, whether it has met that or not."""
        return bool(self.store.damaged) or bool(self.log_disk.flipped_at)

    @property
    def leads(self) -> bool:
        """Some vBucket, as it sees itself."""
        if self.life is None or self.is_paused:
            return False
        return any(hosted.is_leader for hosted in self.life.node.vbuckets.values())

    @property
    def _transfers(self) -> Snapshots | None:
        duties = self.life.node.duties if self.life is not None else None
        return duties.snapshots if duties is not None else None

    @property
    def snapshots(self) -> int:
        """Installed in this life."""
        return self._transfers.arrivals.installed if self._transfers is not None else 0

    @property
    def has_snapshot_under_way(self) -> bool:
        """Out or in."""
        transfers = self._transfers
        return transfers is not None and bool(transfers.outgoing_count or transfers.arrivals.vbuckets)

    def any_row(self, rng: Random) -> bytes | None:
        """The key of some row that a client could read; None: there is none."""
        row = self.store.get_many([Replica.metadata_key(VBUCKET)])[0]
        scan = self.store.scan(*Replica.ranges(row).data) if row is not None else None
        rows = scan.take(ROWS_MAX, 1 << 20) if scan is not None else []
        return rng.choice(rows)[0] if rows else None

    def goes_on_after_failure(self) -> bool:
        """INVARIANTS 6: a log that failed once is the end of the process, at the next turn that looks. Asked after each
        turn."""
        has_failed = self.life is not None and self.life.log.has_failed
        self._turns_since_failure = self._turns_since_failure + 1 if has_failed else 0
        return self._turns_since_failure > 1

    def be_as_new(self) -> None:
        """No process, and nothing that is wrong with the machine."""
        self.heal()
        self.appended.clear()
        self.is_paused = self.has_slow_disk = False
        self._turns_since_failure = 0
