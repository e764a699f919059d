"""The one backup or restore that a node runs, a slice a turn, and the call that waits for it.

A job is a generator of `dkv.jobs`; it decides what comes next, and this module does what it cannot: let time pass, and
propose. One at a time (COMPATIBILITY 1.6). Who asked may go away: the work goes on, as the deadline of the original's
clients ends their wait and nothing else.

A restore waits while the engine stalls, and ends below the low-water mark of the disk: of all writers it is the one
that can come back later.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dkv.jobs.backup import back_up
from dkv.jobs.replay import check_time
from dkv.jobs.restore import Propose, Restoring, Target, restore
from dkv.jobs.stage import named_spaces
from dkv.model.backups import BackupOrder, Finished, Order, Phase, Progress, RestoreOrder
from dkv.model.errors import BackupFailed, Busy, DkvError, InvariantBroken, NoLeader, StorageFailed
from dkv.node.disk import Disk
from dkv.node.history import Place
from dkv.ports.backups import Backups
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.services.turn import JobRequest, Turn
from dkv.vbucket.replica import EntryResult
from dkv.vbucket.rows import block_range, unnamed_ranges

WAIT_MS = 20
"""Between two looks at work that others do."""
TELL_INTERVAL_MS = 100
WRITING = (Phase.STAGE, Phase.REPLAY)

logger: logging.Logger = logging.getLogger("dkv.jobs")


class LogPlace(NamedTuple):
    """Where in the log the command of a job is, unless another leader has put something else there."""

    term: int
    log_index: int


class Running:
    """A job under way. What it waits for is either its proposal, or told by its progress."""

    def __init__(self, order: Order, steps: Restoring, asked_by: JobRequest | None, space: int) -> None:
        self.order: Order = order
        self.steps: Restoring = steps
        self.asked_by: JobRequest | None = asked_by
        self.space = space
        """That was served when it began."""
        self.progress: Progress = Progress(Phase.CHECKPOINT if isinstance(order, BackupOrder) else Phase.VERIFY)
        self.proposal: Propose | None = None
        self.place: LogPlace | None = None
        """Of the proposal, once the log has it."""
        self.result: EntryResult | None = None
        """What was applied at that place."""
        self.told: tuple[Phase, int] | None = None
        """The phase that was told last, and when."""
        self.outcome: Finished | DkvError | None = None

    @property
    def is_waiting(self) -> bool:
        """Looking again at once would show nothing new."""
        return self.progress.is_waiting or self.proposal is not None

    def take_result(self) -> Finished | None:
        """What the job's command has done; None when it had none, or another entry has taken its place."""
        asked, place, result = self.proposal, self.place, self.result
        self.proposal = self.place = self.result = None
        if asked is None or place is None or result is None or result.term != place.term:
            return None
        return Finished(result.outcomes[0].change_number, asked.command.history_id, result.log_time)


class Jobs:
    """Owns the running job. The node's thread calls it, once a turn."""

    def __init__(self, consensus: Consensus, disk: Disk, backups: Backups, target: Target[Place]) -> None:
        self._consensus, self._disk, self._backups, self._target = consensus, disk, backups, target
        self._store, self._replica = target.store, target.replica
        self.is_partial: bool = False
        """The node has other vBuckets, too: a backup of one would pass for one of all."""
        self._running: Running | None = None
        self._is_clean = False
        self.backups_taken: int = 0
        self.restores_done: int = 0
        self.jobs_failed: int = 0
        self.last_backup_ms: int = 0
        """Wall time; 0: none since the start."""

    @property
    def is_running(self) -> bool:
        return self._running is not None

    def patience_ms(self, wait_ms: int) -> int:
        """How long a turn may wait for news, as far as the job is concerned."""
        if self._running is None:
            return wait_ms
        return min(wait_ms, WAIT_MS) if self._running.is_waiting else 0

    def start(self, order: Order, asked_by: JobRequest | None = None) -> Running:
        """Its `outcome` is there once it is over. Raises Busy."""
        if self.is_partial:
            raise BackupFailed("backups and restores of a database with several vBuckets are not there yet")
        if self._running is not None:
            raise Busy("Another global keyspace mutation is in progress")
        self._running = Running(order, self._steps(order), asked_by, self._replica.space)
        return self._running

    def forget(self, closed: Iterable[int]) -> None:
        """The callers have gone; the work goes on."""
        running = self._running
        if running is not None and running.asked_by is not None and running.asked_by.call_id in closed:
            running.asked_by = None

    def take_turn(self, turn: Turn, is_readable: bool, now: Now) -> None:
        """Starts what was asked for in this turn, and does one slice of what runs."""
        for request in turn.jobs:
            try:
                if not is_readable:
                    raise NoLeader("no leader is known for this vBucket, try again")
                if isinstance(request.order, RestoreOrder):
                    self._check_alone()
                    check_time(request.order, turn.log_time)
                self.start(request.order, request)
            except DkvError as error:
                request.fail(turn, error)
        is_idle = self._running is None and self._is_clean
        if is_idle or not is_readable or self._store.pressure().stopped:
            return
        if not self._is_clean:
            self._clean()
        if self._running is not None:
            self._step(self._running, turn, now)

    def _check_alone(self) -> None:
        """Other replicas would have to be given the rows first (INVARIANTS 22)."""
        voters, learners, *_ = self._replica.members
        if len(voters) + len(learners) > 1:
            raise BackupFailed(
                "a vBucket with several replicas cannot be restored yet: restore on a server that stands alone, make "
                "it the first node of a cluster, and let others join"
            )

    def close(self) -> None:
        """Stop at once, as a crash would: what is half done is cleared away after the next start."""
        if self._running is not None:
            self._running.steps.close()
            self._running = None

    def _steps(self, order: Order) -> Restoring:
        if isinstance(order, BackupOrder):
            free_bytes_min = self._disk.free_bytes_min
            return (yield from back_up(order, self._replica.vbucket, self._store, self._backups, free_bytes_min))
        return (yield from restore(order, self._backups, self._target))

    def _clean(self) -> None:
        """Once after a start, when every entry of the log is applied: no restore can want what is staged any more."""
        self._is_clean = True
        left = [each for each in unnamed_ranges(named_spaces(self._store)) if self._has_rows(*each)]
        if left or self._replica.staged is not None:
            self._store.write(self._replica.unstage(left))
        for each in left:
            self._store.request_compaction(*each)

    def _has_rows(self, start: bytes, end: bytes) -> bool:
        scan = self._store.scan(start, end)
        try:
            return bool(scan.take(1, 1))
        finally:
            scan.close()

    def _step(self, running: Running, turn: Turn, now: Now) -> None:
        """One slice. An error of the engine is the node's end, any other one the job's."""
        try:
            if running.proposal is not None and running.place is None:
                self._propose(running, running.proposal, now)
            elif running.proposal is None or running.result is not None:
                self._resume(running, now)
            self._tell(running, turn, now)
        except StopIteration as end:
            self._end(running, end.value, turn, now)
        except (StorageFailed, InvariantBroken):
            raise
        except DkvError as error:
            self._end(running, error, turn, now)

    def _resume(self, running: Running, now: Now) -> None:
        full = self._disk.full(now) if running.progress.phase in WRITING else None
        step = running.steps.send(running.take_result()) if full is None else running.steps.throw(full)
        if isinstance(step, Propose):
            running.proposal = step
            running.progress = Progress(Phase.SWITCH)
        else:
            running.progress = step

    def _propose(self, running: Running, asked: Propose, now: Now) -> None:
        """Once only: while it may still be applied nothing is given up and nothing repeated. Next turn, if not now;
        not at all if another replica has come meanwhile."""
        try:
            self._check_alone()
        except BackupFailed as refusal:
            running.steps.throw(refusal)
        proposal = self._replica.propose([asked.command], now)
        accepted = self._consensus.propose(self._replica.vbucket, proposal.data)
        if accepted is not None:
            term, index = accepted
            self._replica.note_proposed(index, term, proposal)
            running.place = LogPlace(term, index)

    def note_applied(self, results: Sequence[EntryResult]) -> None:
        """What was applied in this turn; the job waits for one of them, if any."""
        running = self._running
        if running is not None and running.place is not None:
            running.result = next((each for each in results if each.index == running.place.log_index), running.result)

    def _tell(self, running: Running, turn: Turn, now: Now) -> None:
        """At the start of a phase and then ten times a second, if somebody listens."""
        if running.asked_by is None:
            return
        phase, told_ms = running.told or (None, 0)
        if phase is not running.progress.phase or now.monotonic_ms - told_ms >= TELL_INTERVAL_MS:
            running.told = running.progress.phase, now.monotonic_ms
            running.asked_by.tell(turn, running.progress)

    def _end(self, running: Running, outcome: Finished | DkvError, turn: Turn, now: Now) -> None:
        self._running, running.outcome = None, outcome
        what = "backup to" if isinstance(running.order, BackupOrder) else "restore from"
        if isinstance(outcome, Finished):
            if isinstance(running.order, BackupOrder):
                self.backups_taken, self.last_backup_ms = self.backups_taken + 1, now.wall_ms
            else:
                self.restores_done += 1
                self._store.request_compaction(*block_range(running.space))
            logger.info("%s %r is done, change number %d", what, running.order.path, outcome.change_number)
            if running.asked_by is not None:
                running.asked_by.finish(turn, outcome)
        else:
            self.jobs_failed += 1
            logger.warning("%s %r failed: %s", what, running.order.path, outcome)
            if running.asked_by is not None:
                running.asked_by.fail(turn, outcome)
