"""One node, one thread, one turn at a time.

    poll -> services accept -> hear peers -> propose -> advance (log, quorum) -> apply -> read -> scan -> feed -> emit
      -> look after

A turn shares one parse loop, one log entry, one sync, one multi-get and one reply call among everything that arrived.
Nothing here may be per call that can be per turn. The node never waits but in `edge.poll`, and for a little write of
the log when nobody but its caller would wait for it; it owns no policy: services say what calls mean, the replica says
what entries mean, upkeep says what is due.

Invariant kept here: a failed write or sync of log or engine leaves as `StorageFailed` and is never retried (6).
"""

from collections.abc import Iterable, Sequence
from functools import partial

from dkv.model.errors import StorageFailed
from dkv.model.limits import Limits
from dkv.node.applying import Applying
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.forwarding import Forwarding
from dkv.node.hosted import Hosted
from dkv.node.jobs import Jobs
from dkv.node.lease import RAFT_TICKS_PER_TURN_MAX, LeaseTerms
from dkv.node.merged_scan import MergedScan
from dkv.node.meter import Meter
from dkv.node.peer_duties import PeerDuties
from dkv.node.peering import STAGE_KINDS, Peering
from dkv.node.readers import Readers
from dkv.node.readiness import Readiness
from dkv.node.restoring import Surroundings
from dkv.node.scattering import Scattering
from dkv.node.stagings import Stagings
from dkv.node.throttle import Throttle
from dkv.node.turns import Turns
from dkv.node.upkeep import CLOCK_TICK_INTERVAL_MS, Upkeep
from dkv.node.vbucket_looks import VBucketLooks
from dkv.ports.backups import Backups
from dkv.ports.clock import Clock, Now, Random
from dkv.ports.consensus import TICK_MS, Consensus, Ready
from dkv.ports.edge import CallBatch, Edge
from dkv.ports.peers import Peers
from dkv.ports.store import Scan, Store
from dkv.services.registry import Services
from dkv.services.turn import ScanRequest, Turn
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

CALLS_PER_TURN_MAX = 1024
"""Large enough that 1,024 calls in flight share one sync, small enough that a turn stays below 5 ms."""
WAIT_MS = 100
"""The longest a node sleeps: signals are seen within it."""
LOOK_AT_ALL_MS = 10_000
"""Also a vBucket that nobody asks for notes the time in its log, now and then."""
HAND_OVER_MS_MAX = 3_000
"""What an orderly stop takes for having others lead; without it they would miss the leader first."""
HAND_OVER_AGAIN_MS = 500
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
        others: Sequence[Replica] = (),
        peers: Peers | None = None,
        node_id: int = 0,
        write_timeout_ms: int = WRITE_TIMEOUT_MS,
        lease_terms: LeaseTerms | None = None,
    ) -> None:
        """`others`: the replicas of all other vBuckets of the database. `peers`: the other nodes, None for a server
        that stands alone. `node_id`: this one's among them. `lease_terms`: None for a leader that asks its quorum
        for every read."""
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
        self.vbuckets: dict[int, Hosted] = {}
        """Those with a replica here."""
        self._busy: dict[int, Hosted] = {}
        """Those that the next turn looks at even if there is no news."""
        self._writing: dict[int, Hosted] = {}
        """Those with calls that wait for an entry: there is nothing to do for them before there is news."""
        self._expiring: dict[int, None] = {}
        """Those with a row that expires."""
        self._parts = partial(
            Hosted,
            store=store,
            consensus=consensus,
            limits=limits,
            meter=self.meter,
            throttle=self.throttle,
            disk=self.disk,
            peering=self.peering,
            want_snapshot=self._want_snapshot,
            write_timeout_ms=write_timeout_ms,
            lease_terms=lease_terms,
        )
        self._random, self._retention = random, retention
        self.sole: Hosted = self.host(replica)
        """The first, which speaks for the node where only one can."""
        self.scattering: Scattering | None = None
        """Where there are others, too."""
        if others:
            for each in others:
                self.host(each)
            self.scattering = Scattering([path for path, _ in services.methods], sorted(self.vbuckets), limits)
            self.sole.scans.open_rows = self._merged_rows
        self.stagings: Stagings = Stagings(store, self.engine_sync, self.disk, self.peering, self.vbuckets)
        self.duties: PeerDuties | None = self._take_on(self.peering, node_id) if self.peering is not None else None
        self.readers: Readers = Readers(self.vbuckets, limits)
        self.readiness: Readiness = Readiness(self.vbuckets)
        self.applying: Applying = Applying(store, consensus, self.meter)
        membership = self.duties.membership if self.duties is not None else None
        around = Surroundings(self.vbuckets, consensus, store, self.stagings, self.peering, membership)
        self.jobs: Jobs = Jobs(around, self.disk, backups, random)
        incoming = self.duties.snapshots.incoming if self.duties is not None else ()
        looks = VBucketLooks(self.vbuckets, consensus, self.stagings, incoming)
        services.node_status.observe(edge, consensus, store, looks)
        self.draining: bool = False
        self._raft_ticked_ms: int | None = None
        self._looked_ms = self._woke_ms = self._woke_all_ms = 0

    def _take_on(self, peering: Peering, node_id: int) -> PeerDuties:
        """What a node does besides that has peers."""
        cluster = self.services.cluster
        duties = PeerDuties(
            node_id,
            self.vbuckets,
            store=self.store,
            consensus=self.consensus,
            engine_sync=self.engine_sync,
            disk=self.disk,
            peering=peering,
            random=self._random,
            standing=cluster.standing if cluster is not None else None,
        )
        peering.listen(STAGE_KINDS, self.stagings.hear)
        duties.membership.is_restoring = lambda: self.stagings.is_restoring_here
        if cluster is not None:
            cluster.observe(duties.membership)
        return duties

    def host(self, replica: Replica) -> Hosted:
        """Take turns for this replica from now on; its group is open."""
        upkeep = Upkeep(self.store, self.consensus, replica, self.meter, self._retention)
        hosted = self._parts(replica, upkeep=upkeep, first_request_id=_draw(self._random))
        self.vbuckets[replica.vbucket] = self._busy[replica.vbucket] = hosted
        self._note_expiring(replica)
        return hosted

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
            for hosted in self._busy.values():
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
        self._wake(turns, now)
        for vbucket, hosted in self._busy.items():
            turn = turns[vbucket]
            hosted.propose(turn, now)
            if turn.commands:
                self._writing[vbucket] = hosted
            hosted.reads.hold_back(turn, now)
        meter.lap()
        self._advance(turns, now)
        meter.lap()
        for vbucket, hosted in self._busy.items():
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
        if len(self.vbuckets) > 1:  # the only one is looked at in every turn
            self._busy = {vbucket: hosted for vbucket, hosted in self._busy.items() if hosted.is_busy}

    def _wake(self, turns: Turns, now: Now) -> None:
        """The vBuckets that this turn looks at: those that somebody waits for or that have got calls, and now and then
        those with something due."""
        busy = self._busy
        for vbucket in turns:
            busy[vbucket] = self.vbuckets[vbucket]
        if len(busy) < len(self.vbuckets):
            if now.monotonic_ms - self._woke_ms >= CLOCK_TICK_INTERVAL_MS:
                self._woke_ms = now.monotonic_ms
                busy |= {vbucket: self.vbuckets[vbucket] for vbucket in self._expiring}
            if now.monotonic_ms - self._woke_all_ms >= LOOK_AT_ALL_MS:
                self._woke_all_ms = now.monotonic_ms
                busy |= self.vbuckets

    def _stream(self, turns: Turns, now: Now, is_busy: bool) -> None:
        """A slice for everybody who reads in streams."""
        for vbucket, hosted in self._busy.items():
            if hosted.has_streams(turns[vbucket]):
                hosted.scan(turns[vbucket], now)
        readers, home = self.readers, turns[self.sole.vbucket]
        readers.open(turns.values(), home, now)
        if readers.is_fetching or any(hosted.history.is_waiting for hosted in self._busy.values()):
            readers.take_fetched(self.consensus.fetched())
        if readers.count:
            if self.draining:
                readers.shut_down(home)
            is_busy = is_busy or any(hosted.writes.waiting_entries for hosted in self._writing.values())
            readers.feed(home, self._busy, now, is_busy)

    def _patience_ms(self, wait_ms: int) -> int:
        """How long this turn may wait for news: not at all with work at hand, briefly for an engine that stalls."""
        if self.services.has_work or (self.scattering is not None and self.scattering.has_work):
            return 0
        if self.duties is not None:
            wait_ms = min(wait_ms, self.duties.patience_ms)
        wait_ms = self.stagings.patience_ms(self.jobs.patience_ms(wait_ms))
        if self.readers.has_more:
            wait_ms = min(wait_ms, self.readers.patience_ms)
        is_awaited = self.readers.count > 0
        for hosted in self._busy.values():
            wait_ms = min(wait_ms, hosted.patience_ms(wait_ms))
            is_awaited = is_awaited or hosted.is_awaited
        self.consensus.be_patient(not is_awaited)
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

    def _merged_rows(self, request: ScanRequest) -> tuple[Scan, int]:
        """Of all vBuckets, those that have expired left out."""
        scans = []
        for hosted in self.vbuckets.values():
            start, end = hosted.replica.data_range(request.start, request.end)
            scans.append((self.store.scan(start, end, reverse=request.reverse), hosted.replica.log_time))
        return MergedScan(scans, reverse=request.reverse), 0

    def _want_snapshot(self, vbucket: int, replica: int, now: Now) -> None:
        assert self.duties is not None
        self.duties.snapshots.want(vbucket, replica, now)

    def _forget(self, closed: list[int]) -> None:
        """These callers have gone."""
        for hosted in self._busy.values():
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
        committed = [hosted for hosted in self._busy.values() if hosted.can_apply]
        if not committed or not self.throttle.may_apply(now):
            return
        home = turns[self.sole.vbucket]
        done, results = self.applying.apply(committed, turns, lambda: self._emit(turns.answers(home)))
        for vbucket, index, size in done:
            self.engine_sync.note_applied(vbucket, index, size)
            self.disk.note_applied(size)
            self.throttle.note_applied(size)
            self._note_expiring(self.vbuckets[vbucket].replica)
        self.jobs.note_applied(results)

    def _take(self, news: list[Ready], now: Now) -> None:
        for ready in news:
            hosted = self._busy[ready.vbucket] = self.vbuckets[ready.vbucket]
            hosted.take(ready, now)

    def _note_expiring(self, replica: Replica) -> None:
        if replica.earliest_expiry is None:
            self._expiring.pop(replica.vbucket, None)
        else:
            self._expiring[replica.vbucket] = None

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
            for vbucket, hosted in self._writing.items():
                hosted.writes.give_up(turns[vbucket], now)
            self._writing = {vbucket: each for vbucket, each in self._writing.items() if each.writes.waiting_entries}
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

    def recover(self) -> None:
        """Stand for election (a group of one wins at once) and apply the log until reads are safe. Blocks."""
        for vbucket in self.vbuckets:
            self.consensus.campaign(vbucket)
        while not all(hosted.is_readable for hosted in self.vbuckets.values()):
            self.turn(WAIT_MS)

    def drain(self, timeout_ms: int) -> bool:
        """Let others lead, take no new connections, finish the open calls. Returns whether all ended in time."""
        deadline = self.clock.now().monotonic_ms + timeout_ms
        self._hand_leadership_over(min(timeout_ms, HAND_OVER_MS_MAX))
        self.edge.stop_accepting()
        self.draining = True
        while self.edge.open_calls() > 0:
            if self.clock.now().monotonic_ms >= deadline:
                return False
            self.turn(10)
        return True

    def _hand_leadership_over(self, timeout_ms: int) -> None:
        """To the voters that lack least, among those in touch. Calls go on being answered meanwhile."""
        if self.duties is None:
            return
        now_ms = self.clock.now().monotonic_ms
        deadline, ask_ms = now_ms + timeout_ms, now_ms
        while (led := self.duties.membership.to_hand_over()) and now_ms < deadline:
            if now_ms >= ask_ms:
                ask_ms = now_ms + HAND_OVER_AGAIN_MS
                for vbucket, heir in led.items():
                    self.consensus.transfer_leader(vbucket, heir)
            self.turn(10)
            now_ms = self.clock.now().monotonic_ms

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


def _draw(random: Random) -> int:
    """A number that no other life of this node has begun to count from, or will."""
    return int.from_bytes(random.bytes(8), "big")
