"""One node, one thread, one turn at a time.

    poll -> services accept -> hear peers -> propose -> advance (log, quorum) -> apply -> read -> scan -> feed -> emit
      -> look after

A turn shares one parse loop, one log entry, one sync, one multi-get and one reply call among everything that arrived.
Nothing here may be per call that can be per turn. The node never waits but in `edge.poll`, never syncs in line, and
owns no policy: services say what calls mean, the replica says what entries mean, upkeep says what is due.

Invariant kept here: a failed write or sync of log or engine leaves as `StorageFailed` and is never retried (6).
"""

from collections.abc import Callable, Mapping

from dkv.jobs.restore import Target
from dkv.model.errors import StorageFailed
from dkv.model.limits import Limits
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.forwarding import Forwarding
from dkv.node.hosted import Hosted
from dkv.node.jobs import Jobs
from dkv.node.meter import Meter
from dkv.node.peering import Peering
from dkv.node.snapshots import Snapshots
from dkv.node.throttle import Throttle
from dkv.node.upkeep import Upkeep
from dkv.ports.backups import Backups
from dkv.ports.clock import Clock, Now, Random
from dkv.ports.consensus import Consensus
from dkv.ports.edge import CallBatch, Edge
from dkv.ports.peers import Peers
from dkv.ports.store import Store
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

CALLS_PER_TURN_MAX = 1024
"""Large enough that 1,024 calls in flight share one sync, small enough that a turn stays below 5 ms."""
WAIT_MS = 100
"""The longest a node sleeps: signals are seen within it."""
STALL_WAIT_MS = 5
"""Until the engine is asked again whether it takes writes."""
RAFT_TICK_MS = 100
RAFT_TICKS_PER_TURN_MAX = 3
"""A slow turn must not look like a silent leader."""
WRITE_TIMEOUT_MS = 5_000
"""What a write may wait for its quorum: `nexus-repl-timeout`."""
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
        peers: Peers | None = None,
        node_of: Callable[[int], int] = int,
        write_timeout_ms: int = WRITE_TIMEOUT_MS,
    ) -> None:
        """`peers`: the other nodes, None for a server that stands alone. `node_of`: where a replica lives."""
        self.edge: Edge = edge
        self.consensus: Consensus = consensus
        self.store: Store = store
        self.clock: Clock = clock
        self.services: Services = services
        self.meter: Meter = meter or Meter()
        self.throttle: Throttle = Throttle(store)
        self.disk: Disk = Disk(store, free_bytes_min)
        self.engine_sync: EngineSync = EngineSync(store)
        self.peering: Peering | None = None
        if peers is not None:
            numbers = {path: number for number, (path, _) in enumerate(services.methods)}
            self.peering = Peering(peers, Forwarding(_draw(random), write_timeout_ms), numbers)
        self.sole: Hosted = Hosted(
            replica,
            store=store,
            consensus=consensus,
            limits=limits,
            meter=self.meter,
            throttle=self.throttle,
            disk=self.disk,
            upkeep=Upkeep(store, consensus, replica, self.meter, retention),
            note_applied=self._note_applied,
            peering=self.peering,
            node_of=node_of,
            want_snapshot=self._want_snapshot,
            first_request_id=_draw(random),
            write_timeout_ms=write_timeout_ms,
        )
        """The one vBucket that is hosted."""
        self.snapshots: Snapshots | None = None
        if self.peering is not None:
            self.snapshots = Snapshots(store, self.engine_sync, self.peering, random, self._hosted)
        self.jobs: Jobs = Jobs(consensus, self.disk, backups, Target(replica, store, self.sole.history, random))
        services.node_status.observe(edge, consensus, store, replica)
        self.draining: bool = False
        self._raft_ticked_ms: int | None = None
        self._looked_ms = 0

    def turn(self, wait_ms: int = WAIT_MS) -> None:
        """One round. Raises StorageFailed or InvariantBroken when the node must end."""
        calls, closed, progress, requests = self.edge.poll(self._patience_ms(wait_ms), CALLS_PER_TURN_MAX)
        now, meter, hosted = self.clock.now(), self.meter, self.sole
        meter.begin(sum(len(call_ids) for _, call_ids, _ in calls))
        # Times to live count from the time that decides expiry, also behind a wall clock that was set back.
        turn = Turn(hosted.replica.clock.peek(now), history_id=hosted.replica.history_id)
        if self.peering is not None:
            calls = self._hand_over(calls, self.peering, now) + self._hear(self.peering, turn, now)
        for method, call_ids, messages in calls:
            self.services.accept(method, call_ids, messages, turn)
        if requests:
            self.services.accept_http(requests, turn)
        if closed:
            self._forget(closed)
        hosted.drained(progress, now)
        meter.lap()
        try:
            self._serve(turn, now, is_busy=bool(calls))
        except StorageFailed:
            self._emit(turn)  # what it has answered is true, or says why there is no more
            raise
        self._emit(turn)
        if self.peering is not None:
            self.peering.send()
        meter.end()

    def _serve(self, turn: Turn, now: Now, is_busy: bool) -> None:
        """Everything that a turn does with what it has taken in."""
        meter, hosted = self.meter, self.sole
        hosted.propose(turn, now)
        hosted.hold_back(turn, now)
        meter.lap()
        self._advance(turn, now)
        meter.lap()
        hosted.release(turn, now)
        hosted.read(turn, now, self._emit)
        if hosted.scans.count or hosted.readers.count:
            self._emit(turn)  # who asked for a row does not wait for those who read many
        meter.lap()
        hosted.scan(turn, now)
        hosted.feed(turn, now, is_busy or hosted.writes.waiting_entries > 0, self.draining)
        self.jobs.take_turn(turn, hosted.is_readable, now)
        meter.lap()
        self._emit(turn)  # nobody waits for what the node does unasked
        self._look_after(turn, now)
        self.services.beat(turn, now.monotonic_ms, hosted.is_serving)

    def _patience_ms(self, wait_ms: int) -> int:
        """How long this turn may wait for news: not at all with work at hand, briefly for an engine that stalls."""
        hosted = self.sole
        if hosted.scans.has_room or self.services.has_work:
            return 0
        if hosted.readers.has_more:
            return hosted.readers.patience_ms
        if self.snapshots is not None and self.snapshots.patience_ms is not None:
            wait_ms = min(wait_ms, self.snapshots.patience_ms)
        return min(wait_ms, STALL_WAIT_MS) if hosted.unapplied else self.jobs.patience_ms(wait_ms)

    def _hand_over(self, calls: list[CallBatch], peering: Peering, now: Now) -> list[CallBatch]:
        """Writes are the leader's to answer, if it is another node that can be reached; the rest is ours."""
        hosted = self.sole
        leader = hosted.leader_node
        if hosted.is_leader or not peering.is_linked(leader):
            return calls
        ours: list[CallBatch] = []
        for batch in calls:
            if batch[0] in self.services.writes:
                peering.hand_over(leader, hosted.vbucket, batch, now)
            else:
                ours.append(batch)
        return ours

    def _hear(self, peering: Peering, turn: Turn, now: Now) -> list[CallBatch]:
        assert self.snapshots is not None
        return peering.receive(self._hosted, self.snapshots, turn, now)

    def _hosted(self, vbucket: int) -> Hosted | None:
        return self.sole if vbucket == self.sole.vbucket else None

    def _want_snapshot(self, vbucket: int, replica: int, now: Now) -> None:
        assert self.snapshots is not None
        self.snapshots.want(vbucket, replica, now)

    def _forget(self, closed: list[int]) -> None:
        """These callers have gone."""
        self.sole.forget(closed)
        self.services.forget(closed)
        self.jobs.forget(closed)
        if self.peering is not None:
            self.peering.forwarding.forget(closed)

    def _advance(self, turn: Turn, now: Now) -> None:
        """Let consensus move and apply what it has committed."""
        hosted = self.sole
        for ready in self.consensus.advance():
            hosted.take(ready, turn, now)
        if hosted.unapplied and self.throttle.may_apply(now):
            self.jobs.note_applied(hosted.apply(turn))

    def _look_after(self, turn: Turn, now: Now) -> None:
        """What is due unasked."""
        self._tick_raft(now)
        synced: Mapping[int, int] = self.engine_sync.take_synced()
        for vbucket, index in synced.items():
            assert vbucket == self.sole.vbucket
            self.sole.upkeep.cut(index)
        self.engine_sync.request_if_due(now)
        if now.monotonic_ms - self._looked_ms >= WAIT_MS:
            self._looked_ms = now.monotonic_ms
            self.sole.writes.give_up(turn, now)
        if self.peering is not None and self.snapshots is not None:
            self.snapshots.take_turn(now)
            self.peering.after_turn(turn, now)

    def _tick_raft(self, now: Now) -> None:
        if self._raft_ticked_ms is None:
            self._raft_ticked_ms = now.monotonic_ms
        ticks = (now.monotonic_ms - self._raft_ticked_ms) // RAFT_TICK_MS
        if ticks > 0:
            self._raft_ticked_ms += ticks * RAFT_TICK_MS
            self.consensus.tick(min(ticks, RAFT_TICKS_PER_TURN_MAX))

    def _note_applied(self, vbucket: int, index: int, applied_bytes: int) -> None:
        self.engine_sync.note_applied(vbucket, index, applied_bytes)
        self.disk.note_applied(applied_bytes)
        self.throttle.note_applied(applied_bytes)

    def _emit(self, turn: Turn) -> None:
        """Hand over what the turn has answered so far."""
        if self.peering is not None:
            self.peering.divert(turn)
        if turn.replies or turn.items or turn.finished or turn.http:
            self.edge.emit(turn.reply_ids, turn.replies, turn.items, turn.finished, turn.http)
            turn.clear_answers()

    def recover(self) -> None:
        """Stand for election (a group of one wins at once) and apply the log until reads are safe. Blocks."""
        self.consensus.campaign(self.sole.vbucket)
        while not self.sole.is_readable:
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
        self.sole.scans.close()
        if self.snapshots is not None:
            self.snapshots.close()
        try:
            self.consensus.close()
        finally:
            self.store.close()


def _draw(random: Random) -> int:
    """A number that no other life of this node has begun to count from, or will."""
    return int.from_bytes(random.bytes(8), "big")
