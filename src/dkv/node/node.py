"""One node, one thread, one turn at a time.

    poll -> services accept -> propose -> advance (log, quorum) -> apply -> read -> scan -> feed -> emit

A turn shares one parse loop, one log entry, one sync, one multi-get and one reply call among everything that arrived.
Nothing here may be per call that can be per turn. The node never waits but in `edge.poll`, never syncs in line, and
owns no policy: services say what calls mean, the replica says what entries mean, upkeep says what is due.

Invariants kept here: nothing is read before the first entry of the own term is applied (5); a failed write or sync of
log or engine leaves as `StorageFailed` and is never retried (6); batches given to the engine are at most 1 MiB or one
entry, and under pressure applying waits (17).
"""

from collections.abc import Iterator

from dkv.jobs.restore import Target
from dkv.model.errors import Corrupt, NoLeader, Overloaded, ShuttingDown, StorageFailed
from dkv.model.limits import Limits
from dkv.node.history import History
from dkv.node.jobs import Jobs
from dkv.node.meter import Meter
from dkv.node.readers import Readers
from dkv.node.scans import Scans
from dkv.node.throttle import Throttle
from dkv.node.upkeep import Upkeep
from dkv.node.writes import Writes
from dkv.ports.backups import Backups
from dkv.ports.clock import Clock, Now, Random
from dkv.ports.consensus import Consensus, EntryTuple
from dkv.ports.edge import Edge
from dkv.ports.store import Store
from dkv.services.calls import fail
from dkv.services.registry import Services
from dkv.services.turn import Turn, View
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

CALLS_PER_TURN_MAX = 1024
"""Large enough that 1,024 calls in flight share one sync, small enough that a turn stays below 5 ms."""
WAIT_MS = 100
"""The longest a node sleeps: signals are seen within it."""
STALL_WAIT_MS = 5
"""Until the engine is asked again whether it takes writes."""
APPLY_BYTES_MAX = 1 << 20
READ_KEYS = 32
"""Rows that are read at once: few enough to fit into memory whatever they weigh, enough to share a crossing."""
EMIT_BYTES = 8 << 20
"""Replies of so many bytes do not wait for the end of the turn."""
LEADER = 2
DEFAULT_RETENTION = Retention()


class Node:
    """Owns the order of one turn. One thread calls it; the simulation calls the same methods."""

    def __init__(
        self,
        *,
        edge: Edge,
        consensus: Consensus,
        store: Store,
        clock: Clock,
        replica: Replica,
        services: Services,
        limits: Limits,
        backups: Backups,
        random: Random,
        free_bytes_min: int = 0,
        meter: Meter | None = None,
        retention: Retention = DEFAULT_RETENTION,
    ) -> None:
        self.edge: Edge = edge
        self.consensus: Consensus = consensus
        self.store: Store = store
        self.clock: Clock = clock
        self.replica: Replica = replica
        self.services: Services = services
        self.meter: Meter = meter or Meter()
        self.writes: Writes = Writes(replica, consensus, limits, self.meter)
        self.throttle: Throttle = Throttle(store)
        self.scans: Scans = Scans(store, replica, limits)
        self.history: History = History(store, consensus, replica)
        self.readers: Readers = Readers(self.history, limits)
        self.upkeep: Upkeep = Upkeep(store, consensus, replica, free_bytes_min, self.meter, retention)
        self.jobs: Jobs = Jobs(consensus, self.upkeep, backups, Target(replica, store, self.history, random))
        services.node_status.observe(edge, consensus, store, replica)
        self.draining: bool = False
        self._unapplied: list[EntryTuple] = []
        self._term = 0
        self._is_leader = False

    @property
    def is_readable(self) -> bool:
        """Leads its group and has applied an entry of its own term (INVARIANTS 5)."""
        return self._is_leader and self.replica.applied_term == self._term

    @property
    def unapplied_entries(self) -> int:
        """Committed entries that wait for an engine that has stopped taking writes."""
        return len(self._unapplied)

    def turn(self, wait_ms: int = WAIT_MS) -> None:
        """One round. Raises StorageFailed or InvariantBroken when the node must end."""
        calls, closed, progress, requests = self.edge.poll(self._patience_ms(wait_ms), CALLS_PER_TURN_MAX)
        now, meter = self.clock.now(), self.meter
        meter.begin(sum(len(call_ids) for _, call_ids, _ in calls))
        # Times to live count from the time that decides expiry, also behind a wall clock that was set back.
        turn = Turn(self.replica.clock.peek(now), history_id=self.replica.history_id)
        for method, call_ids, messages in calls:
            self.services.accept(method, call_ids, messages, turn)
        if requests:
            self.services.accept_http(requests, turn)
        if closed:
            self.scans.forget(closed)
            self.readers.forget(closed)
            self.services.forget(closed)
            self.jobs.forget(closed)
        self.scans.drained(progress, now)
        self.readers.drained(progress, now)
        meter.lap()
        try:
            self._serve(turn, now, is_busy=bool(calls))
        except StorageFailed:
            self._emit(turn)  # what it has answered is true, or says why there is no more
            raise
        self._emit(turn)
        meter.end()

    def _serve(self, turn: Turn, now: Now, is_busy: bool) -> None:
        """Everything that a turn does with what it has taken in."""
        meter = self.meter
        self._propose(turn, now)
        meter.lap()
        self._advance(turn, now)
        meter.lap()
        self._read(turn)
        meter.lap()
        self.scans.open(turn, self.is_readable, now)
        self.scans.feed(turn, now)
        self._feed(turn, now, is_busy or self.writes.waiting_entries > 0)
        self.jobs.take_turn(turn, self.is_readable, now)
        meter.lap()
        self.upkeep.after_turn(now)
        self.services.beat(turn, now.monotonic_ms, self.is_readable)

    def _patience_ms(self, wait_ms: int) -> int:
        """How long this turn may wait for news: not at all with work at hand, briefly for an engine that stalls."""
        if self.scans.has_room or self.services.has_work:
            return 0
        if self.readers.has_more:
            return self.readers.patience_ms
        return min(wait_ms, STALL_WAIT_MS) if self._unapplied else self.jobs.patience_ms(wait_ms)

    def _propose(self, turn: Turn, now: Now) -> None:
        if self.is_readable and not self._unapplied:
            turn.commands += (due := self.upkeep.commands_due(now))
            turn.command_calls += [0] * len(due)
            turn.command_answers += [_unasked] * len(due)
        if turn.commands:
            self.writes.propose(turn, now, self._refusal(now))

    def _refusal(self, now: Now) -> NoLeader | Overloaded | ShuttingDown | None:
        """Why no write may be proposed now; None when it may."""
        if not self.is_readable:
            return NoLeader("no leader is known for this vBucket, try again")
        if self._unapplied and self.throttle.is_full(sum(len(entry[3]) for entry in self._unapplied)):
            return Overloaded("the storage engine cannot keep up with writes")
        return self.upkeep.disk_full(now)

    def _advance(self, turn: Turn, now: Now) -> None:
        """Let consensus move and apply what it has committed."""
        for ready in self.consensus.advance():
            if ready.leadership is not None:
                self._lead_or_follow(*ready.leadership, turn, now)
            self._unapplied += ready.committed
        if self._unapplied and self.throttle.may_apply(now):
            self._apply(turn)

    def _lead_or_follow(self, _leader: int, role: int, term: int, turn: Turn, now: Now) -> None:
        self._term, self._is_leader = term, role == LEADER
        if self._is_leader:
            self.replica.lead(now)
        else:
            self.replica.follow()
            self.writes.leadership_lost(turn)

    def _apply(self, turn: Turn) -> None:
        entries, self._unapplied = self._unapplied, []
        start = 0
        while start < len(entries):
            end = self.replica.applied_together(entries, start, APPLY_BYTES_MAX)
            chunk = entries if end - start == len(entries) else entries[start:end]
            keys = self.replica.keys_read(chunk)
            applied = self.replica.apply(chunk, self._look_up(keys) if keys else [])
            began = self.meter.stopwatch()
            self.store.write(applied.batch)
            self.meter.wrote(sum(len(result.outcomes) for result in applied.results), began)
            applied_bytes = sum(len(entry[3]) for entry in chunk)
            self.upkeep.note_applied(applied_bytes)
            self.throttle.note_applied(applied_bytes)
            self.history.note(applied.results)
            turn.history_id = self.replica.history_id  # a restore begins another one
            self.writes.answer(applied.results, turn)
            self.jobs.note_applied(applied.results)
            start = end
        self.consensus.applied([(self.replica.vbucket, entries[-1][0])])

    def _read(self, turn: Turn) -> None:
        """The point reads of the turn, on the state just applied."""
        if turn.reads:
            view = self._view()
            for read in turn.reads:
                try:
                    read.answer(turn, self._slices(read.keys, turn), view)
                except Corrupt as damage:
                    for call_id in set(read.call_ids).difference(turn.reply_ids):
                        fail(turn, call_id, damage)
                    raise

    def _slices(self, keys: list[bytes], turn: Turn) -> Iterator[list[bytes | None]]:
        """The rows of `keys`, a few at a time: what a turn holds is bounded (INVARIANTS 20), whatever was asked."""
        row_keys, unsent_bytes = self.replica.row_keys(keys), 0
        for start in range(0, len(row_keys), READ_KEYS):
            rows = self._look_up(row_keys[start : start + READ_KEYS])
            yield rows
            unsent_bytes += sum(map(len, filter(None, rows)))
            if unsent_bytes > EMIT_BYTES:
                self._emit(turn)
                unsent_bytes = 0

    def _look_up(self, row_keys: list[bytes]) -> list[bytes | None]:
        began = self.meter.stopwatch()
        rows = self.store.get_many(row_keys)
        self.meter.looked_up(len(row_keys), began)
        return rows

    def _view(self) -> View:
        replica = self.replica
        return View(
            replica.log_time,
            replica.change_number,
            replica.history_id,
            self.is_readable,
            replica.earliest_change,
            replica.slaves.addresses,
        )

    def _feed(self, turn: Turn, now: Now, is_busy: bool) -> None:
        """Changes for those who follow, this turn's among them."""
        if turn.histories or self.readers.count:
            view = self._view()
            self.readers.open(turn, view, now)
            if self.draining:
                self.readers.shut_down(turn)
            self.readers.feed(turn, view, now, is_busy)

    def _emit(self, turn: Turn) -> None:
        """Hand over what the turn has answered so far."""
        if turn.replies or turn.items or turn.finished or turn.http:
            self.edge.emit(turn.reply_ids, turn.replies, turn.items, turn.finished, turn.http)
            turn.clear_answers()

    def recover(self) -> None:
        """Stand for election (a group of one wins at once) and apply the log until reads are safe. Blocks."""
        self.consensus.campaign(self.replica.vbucket)
        while not self.is_readable:
            self.turn(WAIT_MS)

    def drain(self, timeout_ms: int) -> bool:
        """Take no new connections, finish the open calls. Returns whether all ended in time."""
        self.edge.stop_accepting()
        self.draining = True
        deadline = self.clock.now().monotonic_ms + timeout_ms
        while self.edge.open_calls() > 0:
            if self.clock.now().monotonic_ms >= deadline:
                return False
            self.turn(10)
        return True

    def close(self) -> None:
        """Sync and close log and engine, the one even if the other fails. The edge is closed by who made it."""
        self.jobs.close()
        self.scans.close()
        try:
            self.consensus.close()
        finally:
            self.store.close()


def _unasked(turn: Turn, call_ids: object, outcomes: object, log_time: int) -> None:
    """Nobody waits for what upkeep proposed."""
