"""One node, one thread, one turn at a time.

    poll -> services accept -> hear peers -> propose -> advance (log, quorum) -> apply -> read -> scan -> feed -> emit
      -> look after

A turn shares one parse loop, one log entry, one sync, one multi-get and one reply call among everything that arrived.
Nothing here may be per call that can be per turn. The node never waits but in `edge.poll`, and for a little write of
the log when nobody but its caller would wait for it; it owns no policy: services say what calls mean, the replica says
what entries mean, upkeep says what is due.

Invariant kept here: a failed write or sync of log or engine leaves as `StorageFailed` and is never retried (6).
"""

from collections.abc import Iterable, Mapping

from dkv.model.errors import StorageFailed
from dkv.node.applying import Applying
from dkv.node.busy import Busy
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted
from dkv.node.jobs import Jobs
from dkv.node.lease import RAFT_TICKS_PER_TURN_MAX
from dkv.node.meter import Meter
from dkv.node.parts import Parts
from dkv.node.peer_duties import PeerDuties
from dkv.node.peering import Peering
from dkv.node.readers import Readers
from dkv.node.readiness import Readiness
from dkv.node.scattering import Scattering
from dkv.node.stagings import Stagings
from dkv.node.throttle import Throttle
from dkv.node.turns import Turns
from dkv.ports.clock import Clock, Now
from dkv.ports.consensus import TICK_MS, Consensus, Ready
from dkv.ports.edge import CallBatch, Edge
from dkv.ports.store import Store
from dkv.services.registry import Services
from dkv.services.turn import Turn

CALLS_PER_TURN_MAX = 1024
"""Large enough that 1,024 calls in flight share one sync, small enough that a turn stays below 5 ms."""
WAIT_MS = 100
"""The longest a node sleeps: signals are seen within it."""


class Node:
    """Owns the order of one turn. One thread calls it; the simulation calls the same methods."""

    def __init__(self, parts: Parts) -> None:
        self.edge: Edge = parts.edge
        self.consensus: Consensus = parts.consensus
        self.store: Store = parts.store
        self.clock: Clock = parts.clock
        self.services: Services = parts.services
        self.meter: Meter = parts.meter
        self.throttle: Throttle = parts.throttle
        self.disk: Disk = parts.disk
        self.engine_sync: EngineSync = parts.engine_sync
        self.peering: Peering | None = parts.peering
        self.vbuckets: Mapping[int, Hosted] = parts.vbuckets
        self.sole: Hosted = parts.sole
        self.scattering: Scattering | None = parts.scattering
        self.stagings: Stagings = parts.stagings
        self.duties: PeerDuties | None = parts.duties
        self.readers: Readers = parts.readers
        self.readiness: Readiness = parts.readiness
        self.applying: Applying = parts.applying
        self.jobs: Jobs = parts.jobs
        self.draining: bool = False
        self._busy = Busy(self.vbuckets)
        self._raft_ticked_ms: int | None = None
        self._looked_ms = 0

    def turn(self, wait_ms: int = WAIT_MS) -> None:
        """One round. Raises StorageFailed or InvariantBroken when the node must end."""
        calls, closed, progress, requests = self.edge.poll(self._patience_ms(wait_ms), CALLS_PER_TURN_MAX)
        now, meter = self.clock.now(), self.meter
        meter.begin(sum(len(call_ids) for _, call_ids, _ in calls))
        turns = Turns(self.vbuckets, now)
        home = turns[self.sole.vbucket]
        for vbucket, batch in self._route(calls, turns):
            if not self._hand_over(vbucket, batch, now):
                self.services.accept(*batch, turns[vbucket])
        if self.peering is not None:
            for vbucket, batch in self.peering.receive(self.vbuckets.get, home, now):
                self.services.accept(*batch, turns[vbucket])
        if requests:
            self.services.accept_http(requests, home)
        if closed:
            self._forget(closed)
        if progress:
            for hosted in self._busy.now.values():
                hosted.drained(progress, now)
            self.readers.drained(progress, now)
        meter.lap()
        try:
            self._serve(turns, now, is_busy=bool(calls))
        except StorageFailed:
            self._emit(turns.answers(home))  # what it has answered is true, or says why there is no more
            raise
        self._emit(turns.answers(home))
        if self.peering is not None:
            self.peering.send()
        meter.end()

    def _serve(self, turns: Turns, now: Now, is_busy: bool) -> None:
        """Everything that a turn does with what it has taken in."""
        meter, home = self.meter, turns[self.sole.vbucket]
        self._busy.wake(turns, now)
        for vbucket, hosted in self._busy.now.items():
            turn = turns[vbucket]
            hosted.propose(turn, now)
            if turn.commands:
                self._busy.writing[vbucket] = hosted
            hosted.reads.hold_back(turn, now)
        meter.lap()
        self._advance(turns, now)
        meter.lap()
        for vbucket, hosted in self._busy.now.items():
            turn = turns[vbucket]
            hosted.release(turn, now)
            hosted.reads.answer(turn, now, self._emit)
            if self.scattering is not None:
                self.scattering.collect(turn)  # one vBucket after the other, or all long parts were held
        self._emit(turns.answers(home))  # nobody waits for those who read many, nor for what the node does unasked
        meter.lap()
        self._stream(turns, now, is_busy)
        self.stagings.take_turn(now)
        self.jobs.take_turn(home, now)
        meter.lap()
        self._look_after(turns, now)
        self.services.beat(home, now.monotonic_ms, self.readiness.is_serving, self.sole.is_leader)
        self._busy.settle()

    def _stream(self, turns: Turns, now: Now, is_busy: bool) -> None:
        """A slice for everybody who reads in streams."""
        for vbucket, hosted in self._busy.now.items():
            if hosted.has_streams(turns[vbucket]):
                hosted.scan(turns[vbucket], now)
        readers, home = self.readers, turns[self.sole.vbucket]
        readers.open(turns.values(), home, now)
        if readers.is_fetching or any(hosted.history.is_waiting for hosted in self._busy.now.values()):
            readers.take_fetched(self.consensus.fetched())
        if readers.count:
            if self.draining:
                readers.shut_down(home)
            is_busy = is_busy or any(hosted.writes.waiting_entries for hosted in self._busy.writing.values())
            readers.feed(home, self._busy.now, now, is_busy)

    def _patience_ms(self, wait_ms: int) -> int:
        """How long this turn may wait for news: not at all with work at hand, briefly for an engine that stalls."""
        is_awaited = self.readers.count > 0 or any(hosted.is_awaited for hosted in self._busy.now.values())
        self.consensus.be_patient(not is_awaited)
        if self.services.has_work or (self.scattering is not None and self.scattering.has_work):
            return 0
        if self.duties is not None:
            wait_ms = min(wait_ms, self.duties.patience_ms)
        wait_ms = self.stagings.patience_ms(self.jobs.patience_ms(wait_ms))
        if self.readers.has_more:
            wait_ms = min(wait_ms, self.readers.patience_ms)
        for hosted in self._busy.now.values():
            wait_ms = min(wait_ms, hosted.patience_ms(wait_ms))
        return wait_ms

    def _route(self, calls: list[CallBatch], turns: Turns) -> Iterable[tuple[int, CallBatch]]:
        """The calls by the vBucket that answers them."""
        if self.scattering is not None:
            return self.scattering.route(calls, turns, self.sole.vbucket)
        return [(self.sole.vbucket, batch) for batch in calls]

    def _hand_over(self, vbucket: int, batch: CallBatch, now: Now) -> bool:
        """Writes are the leader's to answer, if it is another node that can be reached; the rest is ours."""
        if self.peering is None or batch[0] not in self.services.writes:
            return False
        hosted = self.vbuckets[vbucket]
        if hosted.is_leader or hosted.is_removed or not self.peering.is_linked(hosted.leader_node):
            return False
        self.peering.hand_over(hosted.leader_node, vbucket, batch, now)
        return True

    def _forget(self, closed: list[int]) -> None:
        """These callers have gone."""
        for hosted in self._busy.now.values():
            hosted.forget(closed)
        self.readers.forget(closed)
        self.services.forget(closed)
        self.jobs.forget(closed)
        if self.scattering is not None:
            self.scattering.forget(closed)
        if self.peering is not None:
            self.peering.forwarding.forget(closed)

    def _advance(self, turns: Turns, now: Now) -> None:
        """Let consensus move and apply what it has committed."""
        self._take(self.consensus.advance(in_line=self.edge.open_calls() <= 1), now)
        if self.peering is not None:
            self.peering.send()  # followers get on while this node applies
        committed = [hosted for hosted in self._busy.now.values() if hosted.can_apply]
        if not committed or not self.throttle.may_apply(now):
            return
        home = turns[self.sole.vbucket]
        done, results = self.applying.apply(committed, turns, lambda: self._emit(turns.answers(home)))
        for vbucket, index, size in done:
            self.engine_sync.note_applied(vbucket, index, size)
            self.disk.note_applied(size)
            self.throttle.note_applied(size)
            self._busy.note_expiring(self.vbuckets[vbucket].replica)
        self.jobs.note_applied(results)

    def _take(self, news: list[Ready], now: Now) -> None:
        for ready in news:
            hosted = self._busy.now[ready.vbucket] = self.vbuckets[ready.vbucket]
            hosted.take(ready, now)

    def _look_after(self, turns: Turns, now: Now) -> None:
        """What is due unasked."""
        if self.duties is not None:
            self.duties.before_tick(now)
        self._tick_raft(now)
        for vbucket, index in self.engine_sync.take_synced().items():
            self.vbuckets[vbucket].upkeep.cut(index)
        self.engine_sync.request_if_due(now)
        if now.monotonic_ms - self._looked_ms >= WAIT_MS:
            self._looked_ms = now.monotonic_ms
            for vbucket, hosted in self._busy.writing.items():
                hosted.writes.give_up(turns[vbucket], now)
            self._busy.forget_written()
        if self.peering is not None and self.duties is not None:
            self.duties.after_turn(now)
            self.peering.after_turn(turns[self.sole.vbucket], now)

    def _tick_raft(self, now: Now) -> None:
        if self._raft_ticked_ms is None:
            self._raft_ticked_ms = now.monotonic_ms
        ticks = (now.monotonic_ms - self._raft_ticked_ms) // TICK_MS
        if ticks > 0:
            self._raft_ticked_ms += ticks * TICK_MS
            self.consensus.tick(min(ticks, RAFT_TICKS_PER_TURN_MAX))

    def _emit(self, turn: Turn) -> None:
        """Hand over what the turn has answered so far."""
        if self.scattering is not None:
            self.scattering.collect(turn)
        if self.peering is not None:
            self.peering.divert(turn)
        if turn.has_answers:
            self.edge.emit(turn.reply_ids, turn.replies, turn.items, turn.finished, turn.http)
            turn.clear_answers()

    def close(self) -> None:
        """Sync and close log and engine, the one even if the other fails. The edge is closed by who made it."""
        self.jobs.close()
        for hosted in self.vbuckets.values():
            hosted.scans.close()
        if self.duties is not None:
            self.duties.close()
        try:
            self.consensus.close()
        finally:
            self.store.close()
