"""One machine of a simulated cluster: its clock is wrong in its own way, and it knows what was done to it."""

from random import Random

from dkv.model.limits import Limits
from dkv.node.hosted import LEADER
from dkv.testing.clock import DRIFT_PERMILLE_MAX, START_WALL_MS, SimClock
from dkv.testing.log import Appended
from dkv.testing.machine import VBUCKET, Machine
from dkv.testing.network import Network
from dkv.testing.random import stream
from dkv.vbucket.replica import Replica

ROWS_MAX = 1_000
SKEW_MS_MAX = 2_000


class Member(Machine):
    """Owned by the world; `number` names it in traces and is its address."""

    def __init__(self, number: int, seed: int, limits: Limits, network: Network) -> None:
        rng = stream(seed, f"clock {number}")
        wall_ms = START_WALL_MS + rng.randint(-SKEW_MS_MAX, SKEW_MS_MAX)
        drift = rng.randint(-DRIFT_PERMILLE_MAX, DRIFT_PERMILLE_MAX)
        super().__init__(f"{seed}/{number}", limits, SimClock(wall_ms, drift), network)
        self.number: int = number
        self.appended: list[Appended] = []
        self.is_paused: bool = False
        self.has_slow_disk: bool = False
        self.is_out: bool = False
        """Its disk is damaged: it is not started any more."""
        self._turns_since_failure = 0

    @property
    def leads(self) -> bool:
        """As it sees itself."""
        return self.life is not None and not self.is_paused and self.life.raft.status(VBUCKET)["role"] == LEADER

    @property
    def snapshots(self) -> int:
        """Installed in this life."""
        snapshots = self.life.node.snapshots if self.life is not None else None
        return snapshots.installed if snapshots is not None else 0

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
        self.appended = []
        self.is_paused = self.has_slow_disk = False
        self._turns_since_failure = 0
