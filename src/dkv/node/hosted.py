"""One vBucket on this node: its replica, its part in the group, and whoever waits for it.

What a turn does with a vBucket is here, in the order in which `node.Node` calls it; what is there once for all vBuckets
of a node is there.
"""

from collections.abc import Callable, Sequence
from enum import Enum

from dkv.jobs.install_snapshot import Receiving
from dkv.model.errors import DkvError, NoLeader, Overloaded
from dkv.model.limits import Limits
from dkv.node.disk import Disk
from dkv.node.history import History
from dkv.node.lease import Lease, LeaseTerms
from dkv.node.meter import Meter
from dkv.node.opening import find_history, load_replica
from dkv.node.peering import Peering
from dkv.node.reads import Reads
from dkv.node.role import FOLLOWER, NOBODY, Role
from dkv.node.scans import Scans
from dkv.node.throttle import Throttle
from dkv.node.upkeep import Upkeep
from dkv.node.writes import Writes, no_answer
from dkv.ports.clock import Now
from dkv.ports.consensus import NOTHING_BUT_ENTRIES, Consensus, EntryTuple, Ready
from dkv.ports.store import Store
from dkv.services.turn import Turn
from dkv.vbucket.directory import ConfChanged
from dkv.vbucket.replica import Applied, EntryResult, Replica
from dkv.vbucket.rows import block_range
from dkv.wire.peer import Kind, raft_sender

STALL_WAIT_MS = 5
"""Until the engine is asked again whether it takes writes."""


class Installed(Enum):
    """What became of a snapshot that is whole."""

    DONE = 1
    NEEDLESS = 2
    """The own log leads there."""
    NOT_NOW = 3
    """Ask again in the next turn."""


class Hosted(Role):
    """Owned by the node. `peering` is None where no other node has the vBucket."""

    def __init__(
        self,
        replica: Replica,
        *,
        store: Store,
        consensus: Consensus,
        limits: Limits,
        meter: Meter,
        throttle: Throttle,
        disk: Disk,
        upkeep: Upkeep,
        peering: Peering | None,
        want_snapshot: Callable[[int, int, Now], None],
        first_request_id: int,
        write_timeout_ms: int,
        lease_terms: LeaseTerms | None,
    ) -> None:
        """`want_snapshot` (vBucket, replica, now): it needs what is not in the log any more."""
        super().__init__(replica)
        self._store, self._consensus = store, consensus
        self._throttle, self._disk = throttle, disk
        self._peering = peering
        self._want_snapshot = want_snapshot
        self.upkeep: Upkeep = upkeep
        self.writes: Writes = Writes(replica, consensus, limits, meter, write_timeout_ms)
        self.reads: Reads = Reads(
            self,
            store=store,
            consensus=consensus,
            meter=meter,
            peering=peering,
            lease=Lease(self.vbucket, consensus, lease_terms),
            first_request_id=first_request_id,
        )
        self.scans: Scans = Scans(store, replica, limits)
        self.history: History = History(store, consensus, replica)
        self.unapplied: list[EntryTuple] = []
        """Committed entries that wait for an engine that has stopped taking writes."""
        self.all_matched: int | None = None
        """News: what every voter has on disk."""
        self._space_left: int | None = None
        """The block that a restore has left."""

    @property
    def is_stuck(self) -> bool:
        """The next entry restores what is not staged here: only a snapshot helps (INVARIANTS 22)."""
        return bool(self.unapplied) and self.replica.lacks(self.unapplied[0]) and not self.is_sole_member

    @property
    def can_apply(self) -> bool:
        unapplied = self.unapplied
        return bool(unapplied) and not (self.replica.lacks(unapplied[0]) and self.is_stuck)

    @property
    def is_busy(self) -> bool:
        """Turns look at it though there is no news: somebody waits for more than an entry."""
        return bool(
            self.unapplied
            or self.scans.count
            or self.reads.barriers.has_waiting
            or self.history.is_waiting
            or self.is_awaited
        )

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for what is not applied yet and comes without being asked for: reads, and writes that another
        leader has to decide about now."""
        return self.reads.barriers.has_waiting or not self.is_readable or (self.is_asked and not self.is_leader)

    def patience_ms(self, wait_ms: int) -> int:
        """How long the next turn may wait for news, for all that waits here."""
        if self.scans.has_room:
            return 0
        return min(wait_ms, STALL_WAIT_MS) if self.can_apply else wait_ms

    # What peers say

    def step(self, node: int, message: bytes) -> None:
        self.note_home(raft_sender(message), node)
        self._consensus.step([(self.vbucket, message)])

    # The turn

    def propose(self, turn: Turn, now: Now) -> None:
        """One entry of what the turn's calls want, and of what is due unasked."""
        if self.is_leading and not self.unapplied and (due := self.upkeep.commands_due(now)):
            turn.commands += due
            turn.command_calls += [0] * len(due)
            turn.command_answers += [no_answer] * len(due)
        if turn.commands:
            self.writes.propose(turn, now, self._refusal(now))

    def _refusal(self, now: Now) -> DkvError | None:
        """Why no write may be proposed now; None when it may."""
        if not self.is_leading:
            return NoLeader("no leader is known for this vBucket, try again")
        if self.unapplied and self._throttle.is_full(sum(len(entry[3]) for entry in self.unapplied)):
            return Overloaded("the storage engine cannot keep up with writes")
        return self._disk.full(now)

    def take(self, ready: Ready, now: Now) -> None:
        """What consensus has to say of this vBucket."""
        if ready[2:] != NOTHING_BUT_ENTRIES:
            self._take_news(ready, now)
        self.unapplied += ready.committed
        if self.is_stuck:  # whatever comes behind it is in the log, and comes again behind the snapshot
            del self.unapplied[1:]

    def _take_news(self, ready: Ready, now: Now) -> None:
        if ready.leadership is not None:
            self._lead_or_follow(*ready.leadership, now)
        if ready.messages and self._peering is not None:
            for replica, message in ready.messages:
                self._peering.tell(self.node_of(replica), Kind.RAFT, self.vbucket, message)
        self.reads.take(ready)
        for replica in ready.snapshots_wanted:
            self._want_snapshot(self.vbucket, replica, now)
        self.all_matched = self.all_matched if ready.all_matched is None else ready.all_matched

    def _lead_or_follow(self, leader: int, role: int, term: int, now: Now) -> None:
        was_leader = self.is_leader
        self.note_leader(leader, role, term)
        if self.is_leader:
            self.replica.lead(now)
        elif was_leader:
            self.replica.follow()

    def report_snapshot(self, replica: int, index: int) -> None:
        """A follower has a snapshot as of this entry."""
        if self.is_leader:
            self._consensus.report_snapshot(self.vbucket, replica, index)

    def install(self, receiving: Receiving) -> Installed:
        """Becomes what a snapshot has brought, or says why not."""
        replica, metadata = self.replica, receiving.metadata
        if not self._consensus.begin_install(self.vbucket, metadata.applied_index, metadata.applied_term):
            if not self.is_stuck:
                return Installed.NEEDLESS
            if not self._consensus.begin_install_over_log(self.vbucket):
                return Installed.NOT_NOW
        receiving.flip(replica.replica)
        replica.become(load_replica(self.vbucket, self._store))
        self._consensus.open_group(
            self.vbucket,
            replica.replica,
            replica.members,
            replica.applied_index,
            installed_term=replica.applied_term,
        )
        find_history(replica, self._store, self._consensus.log_bounds(self.vbucket).first_index)
        self.history.tail.close()
        self.unapplied = []
        self.note_leader(NOBODY, FOLLOWER, self.term)
        return Installed.DONE

    def take_unapplied(self, bytes_max: int) -> list[EntryTuple]:
        """Committed entries that one batch may take together: one at least, about `bytes_max`. Only if `can_apply`."""
        entries = self.unapplied
        end = self.replica.applied_together(entries, 0, bytes_max)
        self.unapplied = entries[end:]
        return entries if end == len(entries) else entries[:end]

    def decide(self, entries: Sequence[EntryTuple], values: Sequence[bytes | None]) -> Applied:
        """What the entries do, given the rows that they read. `answer` and `applied` follow, the batch is written in
        between."""
        confs = {index: self._conf_changed(index, data) for index, _, kind, data in entries if kind}
        space = self.replica.space
        applied = self.replica.apply(entries, values, confs)
        if self.replica.space != space:
            self._space_left = space
        return applied

    @property
    def is_asked(self) -> bool:
        """Calls wait for entries."""
        return self.writes.waiting_entries > 0

    def answer(self, results: list[EntryResult], turn: Turn) -> None:
        """Tell whoever waits for it."""
        turn.history_id = self.replica.history_id  # a restore begins another one
        self.writes.answer(results, turn)

    def applied(self, results: list[EntryResult]) -> None:
        """It is in the engine."""
        if self._space_left is not None:
            self._store.request_compaction(*block_range(self._space_left))
            self._space_left = None
        self.history.note(results)

    def _conf_changed(self, index: int, data: bytes) -> ConfChanged:
        self.reads.lease.end()
        _, context = self._consensus.decode_conf_change(data)
        return ConfChanged(self._consensus.apply_conf_change(self.vbucket, index, data), context)

    def release(self, turn: Turn, now: Now) -> None:
        """Reads that waited and need not any more join those of the turn; writes that every voter has are answered."""
        if self.all_matched is not None:
            self.writes.release(self.all_matched, turn)
            self.all_matched = None
        if not self.is_readable and self.is_leading:
            self.is_readable = True
        if self.reads.barriers.has_waiting:
            self.reads.release(turn, now)

    def has_streams(self, turn: Turn) -> bool:
        """Somebody reads rows in a stream, or asks to in this turn."""
        return bool(turn.scans or self.scans.count)

    def scan(self, turn: Turn, now: Now) -> None:
        """A slice for open iterates."""
        self.scans.open(turn, self.is_current, now)
        self.scans.feed(turn, now)

    def forget(self, closed: list[int]) -> None:
        """These callers have gone."""
        self.scans.forget(closed)

    def drained(self, progress: list[tuple[int, int]], now: Now) -> None:
        """Readers of streams have taken what they had."""
        self.scans.drained(progress, now)
