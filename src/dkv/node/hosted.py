"""One vBucket on this node: its replica, its part in the group, and whoever waits for it.

What a turn does with a vBucket is here, in the order in which `node.Node` calls it; what is there once for all vBuckets
of a node is there.

Invariants kept here: nothing is read before the first entry of the own term (leader) or the first read index since the
start (follower) is applied (5).
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from struct import Struct

from dkv.jobs.install_snapshot import Receiving
from dkv.model.errors import Corrupt, DkvError, NoLeader, Overloaded
from dkv.model.limits import Limits
from dkv.node.barriers import Barriers
from dkv.node.disk import Disk
from dkv.node.history import History
from dkv.node.lease import Lease, LeaseTerms
from dkv.node.meter import Meter
from dkv.node.opening import find_history, load_replica
from dkv.node.peering import Peering
from dkv.node.readers import Readers
from dkv.node.scans import Scans
from dkv.node.throttle import Throttle
from dkv.node.upkeep import Upkeep
from dkv.node.writes import Writes, no_answer
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus, EntryTuple, Ready
from dkv.ports.store import Store
from dkv.services.calls import fail
from dkv.services.turn import SEQUENTIAL, PointRead, Turn, View
from dkv.vbucket.directory import ConfChanged
from dkv.vbucket.replica import Applied, EntryResult, Replica
from dkv.vbucket.rows import block_range
from dkv.wire.peer import Kind, pack_number, pack_numbers, raft_sender

READ_KEYS = 32
"""Rows that are read at once: few enough to fit into memory whatever they weigh, enough to share a crossing."""
EMIT_BYTES = 8 << 20
"""Replies of so many bytes do not wait for the end of the turn."""
STALL_WAIT_MS = 5
"""Until the engine is asked again whether it takes writes."""
LEADER = 2
NOBODY = 0
STALENESS_UNKNOWN = (1 << 64) - 1
_CONTEXT = Struct(">QQ")
"""Of a read index: the node that asks, 0 for this one, and its request id."""


class Installed(Enum):
    """What became of a snapshot that is whole."""

    DONE = 1
    NEEDLESS = 2
    """The own log leads there."""
    NOT_NOW = 3
    """Ask again in the next turn."""


class Hosted:
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
        self.replica: Replica = replica
        self.vbucket: int = replica.vbucket
        self._store, self._consensus, self._meter = store, consensus, meter
        self._throttle, self._disk = throttle, disk
        self._peering = peering
        self._want_snapshot = want_snapshot
        self.upkeep: Upkeep = upkeep
        self.writes: Writes = Writes(replica, consensus, limits, meter, write_timeout_ms)
        self.barriers: Barriers = Barriers(self._ask_for_index, first_request_id)
        self.lease: Lease = Lease(self.vbucket, consensus, lease_terms)
        self.scans: Scans = Scans(store, replica, limits)
        self.history: History = History(store, consensus, replica)
        self.readers: Readers = Readers(self.history, limits)
        self.unapplied: list[EntryTuple] = []
        """Committed entries that wait for an engine that has stopped taking writes."""
        self._homes: dict[int, int] = {}
        """Nodes of replicas that joined behind what is applied here: one may lead, and waits for answers."""
        self.leader: int = NOBODY
        """The replica that leads, as far as this one knows."""
        self.term: int = 0
        self.is_leader: bool = False
        self.is_readable: bool = False
        """Something newer than what was there at the start is applied: once so, always so."""
        self.is_told_removed: bool = False
        """Another member has seen this replica leave the group. The entry that says so may never come here: whoever
        leads sends a replica nothing more once it is gone."""
        self.all_matched: int | None = None
        """News: what every voter has on disk."""
        self._space_left: int | None = None
        """The block that a restore has left."""

    @property
    def is_leading(self) -> bool:
        """Leads its group and has applied an entry of its own term: it may propose."""
        return self.is_leader and self.replica.applied_term == self.term

    def node_of(self, replica: int) -> int:
        """Where a replica lives: by the directory, or as its messages came. Before there is either, replicas are named
        after their nodes."""
        return self.replica.directory.node_of(replica) or self._homes.get(replica, replica)

    @property
    def leader_node(self) -> int:
        """Where writes can go; 0: nobody knows."""
        return self.node_of(self.leader) if self.leader else NOBODY

    def _leader_address(self) -> str:
        """Where that node is reached; empty: not known, or it is this one."""
        return "" if self.is_leader else self.replica.directory.address_of(self.leader)

    @property
    def other_nodes(self) -> frozenset[int]:
        """Where the other replicas live."""
        others = set().union(*self.replica.members[:4]) - {self.replica.replica}
        return frozenset(self.node_of(replica) for replica in others)

    def has_member(self, replica: int) -> bool:
        """It has a part in the group, if only in one half of a joint state."""
        return any(replica in ids for ids in self.replica.members[:4])

    @property
    def is_alone(self) -> bool:
        """The only voter: what it has applied is all there is."""
        voters, _, outgoing, _, _ = self.replica.members
        return voters == [self.replica.replica] and not outgoing

    @property
    def is_serving(self) -> bool:
        """Calls can be answered."""
        return self.is_current and self.leader != NOBODY

    @property
    def is_removed(self) -> bool:
        """It has seen itself leave the group, or was told so, and will hear of nothing more; a newcomer has yet to see
        itself come."""
        return self.is_told_removed or (
            self.is_readable and not any(self.replica.replica in each for each in self.replica.members[:4])
        )

    @property
    def is_current(self) -> bool:
        """What is applied here may be read."""
        return self.is_readable and not self.is_removed

    @property
    def is_stuck(self) -> bool:
        """The next entry restores what is not staged here: only a snapshot helps (INVARIANTS 22)."""
        return bool(self.unapplied) and self.replica.lacks(self.unapplied[0]) and not self.is_sole_member

    @property
    def is_sole_member(self) -> bool:
        """Nobody else has the vBucket."""
        return not set().union(*self.replica.members[:4]) - {self.replica.replica}

    @property
    def can_apply(self) -> bool:
        return bool(self.unapplied) and not self.is_stuck

    @property
    def is_busy(self) -> bool:
        """Turns look at it though there is no news: somebody waits for more than an entry."""
        return bool(
            self.unapplied
            or self.scans.count
            or self.readers.count
            or self.barriers.has_waiting
            or self.history.is_waiting
            or not self.is_readable
        )

    @property
    def is_awaited(self) -> bool:
        """Somebody waits for what is not applied yet."""
        return bool(self.barriers.has_waiting or self.readers.count or not self.is_readable)

    def patience_ms(self, wait_ms: int) -> int:
        """How long the next turn may wait for news, for all that waits here."""
        if self.scans.has_room:
            return 0
        if self.readers.has_more:
            return self.readers.patience_ms
        return min(wait_ms, STALL_WAIT_MS) if self.can_apply else wait_ms

    # What peers say

    def step(self, node: int, message: bytes) -> None:
        if not self.replica.directory.has_node(node):
            self._homes[raft_sender(message)] = node
        self._consensus.step([(self.vbucket, message)])

    def asked_for_index(self, node: int, request_id: int) -> None:
        assert self._peering is not None
        if not self.lease.is_due and (index := self.lease.index()) is not None:
            self._peering.tell(node, Kind.READ_INDEX_REPLY, self.vbucket, pack_numbers(request_id, index))
        elif not self._ask_quorum(_CONTEXT.pack(node, request_id)):
            self._peering.tell(node, Kind.READ_INDEX_LOST, self.vbucket, pack_number(request_id))

    def told_index(self, request_id: int, index: int) -> None:
        self.barriers.confirmed(request_id, index)

    def told_index_lost(self, request_id: int) -> None:
        self.barriers.lost(request_id)

    def _ask_for_index(self, request_id: int) -> bool:
        if self.is_leader:
            return self._ask_quorum(_CONTEXT.pack(NOBODY, request_id))
        node = self.leader_node
        if not node or self._peering is None:
            return False
        self._peering.tell(node, Kind.READ_INDEX, self.vbucket, pack_number(request_id))
        return True

    def _ask_quorum(self, context: bytes) -> bool:
        self.lease.asks(context)
        is_asked = self._consensus.read_index(self.vbucket, context)
        if not is_asked:
            self.lease.lost(context)
        return is_asked

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

    def hold_back(self, turn: Turn, now: Now) -> None:
        """Takes the reads out of the turn that have to wait, and asks for what they wait for."""
        barriers = self.barriers
        if self.is_removed:
            return  # nothing to wait for: `read` refuses them
        if any(read.terms is not SEQUENTIAL for read in turn.reads):
            reads, turn.reads, must_confirm = turn.reads, [], []
            for read in reads:
                if self._must_confirm(read, now):
                    must_confirm.append(read)
                elif read.terms.change_number_min > self.replica.change_number and self._peering is not None:
                    barriers.wait_for_change(read, now)
                else:
                    turn.reads.append(read)
            if must_confirm:
                self._confirm(must_confirm, now)
        if not self.is_readable and not barriers.has_waiting and self.leader and not self.is_leader:
            barriers.begin([], now)

    def _confirm(self, reads: list[PointRead], now: Now) -> None:
        """These wait until it is known up to where they must see: with a lease it is."""
        if (index := self.lease.index()) is None:
            self.barriers.begin(reads, now)
            return
        self.barriers.begin_at(reads, index, now)
        if self.lease.is_due:
            self.barriers.begin([], now)

    def _must_confirm(self, read: PointRead, now: Now) -> bool:
        """Whether what is applied here may not be new enough, for all that is known without asking."""
        if self.is_alone and self.is_leading:
            return False
        bound = read.terms.staleness_ms_max
        return read.terms.is_linearizable or (bound > 0 and self._staleness_ms(now) > bound)

    def take(self, ready: Ready, now: Now) -> None:
        """What consensus has to say of this vBucket."""
        if ready.leadership is not None:
            self._lead_or_follow(*ready.leadership, now)
        if ready.messages and self._peering is not None:
            for replica, message in ready.messages:
                self._peering.tell(self.node_of(replica), Kind.RAFT, self.vbucket, message)
        for context, index in ready.reads:
            self.lease.confirmed(context)
            node, request_id = _CONTEXT.unpack(context)
            if node and self._peering is not None:
                self._peering.tell(node, Kind.READ_INDEX_REPLY, self.vbucket, pack_numbers(request_id, index))
            else:
                self.barriers.confirmed(request_id, index)
        for context in ready.reads_lost:
            self.lease.lost(context)
            node, request_id = _CONTEXT.unpack(context)
            if node and self._peering is not None:
                self._peering.tell(node, Kind.READ_INDEX_LOST, self.vbucket, pack_number(request_id))
            else:
                self.barriers.lost(request_id)
        for replica in ready.snapshots_wanted:
            self._want_snapshot(self.vbucket, replica, now)
        self.all_matched = self.all_matched if ready.all_matched is None else ready.all_matched
        self.unapplied += ready.committed
        if self.is_stuck:  # whatever comes behind it is in the log, and comes again behind the snapshot
            del self.unapplied[1:]

    def _lead_or_follow(self, leader: int, role: int, term: int, now: Now) -> None:
        self.leader, self.term, was_leader, self.is_leader = leader, term, self.is_leader, role == LEADER
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
        self.unapplied, self.is_leader, self.leader = [], False, NOBODY
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
        self.lease.end()
        _, context = self._consensus.decode_conf_change(data)
        return ConfChanged(self._consensus.apply_conf_change(self.vbucket, index, data), context)

    def release(self, turn: Turn, now: Now) -> None:
        """Reads that waited and need not any more join those of the turn; writes that every voter has are answered."""
        if self.all_matched is not None:
            self.writes.release(self.all_matched, turn)
            self.all_matched = None
        if not self.is_readable and self.is_leading:
            self.is_readable = True
        barriers = self.barriers
        if barriers.has_waiting and self.is_removed:
            turn.reads += barriers.drop()
        if barriers.has_waiting:
            barriers.ask_again(now)
            turn.reads += barriers.passed(self.replica.applied_index, self.replica.change_number)
            barriers.give_up(turn, self.replica.change_number, self._leader_address(), now)
            if barriers.confirmed_ms is not None:
                self.is_readable = True

    def read(self, turn: Turn, now: Now, emit: Callable[[Turn], None]) -> None:
        """The point reads of the turn, on the state just applied."""
        if not turn.reads:
            return
        view = self.view(now)
        for read in turn.reads:
            try:
                read.answer(turn, self._slices(read.keys, turn, emit), view)
            except Corrupt as damage:
                for call_id in set(read.call_ids).difference(turn.reply_ids):
                    fail(turn, call_id, damage)
                raise

    def _slices(self, keys: list[bytes], turn: Turn, emit: Callable[[Turn], None]) -> Iterator[list[bytes | None]]:
        """The rows of `keys`, a few at a time: what a turn holds is bounded (INVARIANTS 20), whatever was asked."""
        row_keys, unsent_bytes = self.replica.row_keys(keys), 0
        for start in range(0, len(row_keys), READ_KEYS):
            rows = self._look_up(row_keys[start : start + READ_KEYS])
            yield rows
            unsent_bytes += sum(map(len, filter(None, rows)))
            if unsent_bytes > EMIT_BYTES:
                emit(turn)
                unsent_bytes = 0

    def _look_up(self, row_keys: list[bytes]) -> list[bytes | None]:
        began = self._meter.stopwatch()
        rows = self._store.get_many(row_keys)
        self._meter.looked_up(len(row_keys), began)
        return rows

    def view(self, now: Now) -> View:
        """What may be known of the state just applied."""
        replica = self.replica
        return View(
            replica.log_time,
            replica.change_number,
            replica.history_id,
            self.is_current,
            replica.earliest_change,
            replica.slaves.addresses,
            0 if self._peering is None else self._staleness_ms(now),
        )

    def _staleness_ms(self, now: Now) -> int:
        if self.is_alone and self.is_leading:
            return 0
        confirmed_ms = self.barriers.confirmed_ms
        return STALENESS_UNKNOWN if confirmed_ms is None else now.monotonic_ms - confirmed_ms

    def has_streams(self, turn: Turn) -> bool:
        """Somebody reads in a stream, or asks to in this turn."""
        return bool(turn.scans or turn.histories or self.scans.count or self.readers.count)

    def scan(self, turn: Turn, now: Now) -> None:
        """A slice for open iterates."""
        self.scans.open(turn, self.is_current, now)
        self.scans.feed(turn, now)

    def feed(self, turn: Turn, now: Now, is_busy: bool, is_draining: bool) -> None:
        """Changes for those who follow, this turn's among them."""
        if turn.histories or self.readers.count:
            view = self.view(now)
            self.readers.open(turn, view, now)
            if is_draining:
                self.readers.shut_down(turn)
            self.readers.feed(turn, view, now, is_busy)

    def forget(self, closed: list[int]) -> None:
        """These callers have gone."""
        self.scans.forget(closed)
        self.readers.forget(closed)

    def drained(self, progress: list[tuple[int, int]], now: Now) -> None:
        """Readers of streams have taken what they had."""
        self.scans.drained(progress, now)
        self.readers.drained(progress, now)
