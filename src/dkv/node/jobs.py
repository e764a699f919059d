"""The one backup or restore that a node runs, a slice a turn, and the call that waits for it.

A job is a generator of `dkv.jobs`; it decides what comes next, and this module does what it cannot: let time pass, and
wait (`dkv.node.restoring`). One at a time (COMPATIBILITY 1.6). Who asked may go away: the work goes on, as the deadline
of the original's clients ends their wait and nothing else.

A restore waits while the engine stalls, and ends below the low-water mark of the disk: of all writers it is the one
that can come back later.
"""

import logging
from collections.abc import Iterable, Mapping

from dkv.jobs.backup import back_up
from dkv.jobs.replay import check_time
from dkv.jobs.restore import Answer, Lead, Restoring, Spread, Step, Target, restore
from dkv.model.backups import BackupOrder, Finished, Order, Phase, Progress, RestoreOrder
from dkv.model.errors import Busy, DkvError, InvariantBroken, NoLeader, StorageFailed
from dkv.node.disk import Disk
from dkv.node.history import Place
from dkv.node.hosted import Hosted
from dkv.node.restoring import (
    LeadWait,
    Office,
    ProposalWait,
    SpreadWait,
    Surroundings,
    Wait,
    check_members,
)
from dkv.ports.backups import Backups
from dkv.ports.clock import Now, Random
from dkv.services.turn import JobRequest, Turn
from dkv.vbucket.replica import EntryResult

WAIT_MS = 20
"""Between two looks at work that others do."""
TELL_INTERVAL_MS = 100
WRITING = (Phase.STAGE, Phase.REPLAY)

logger: logging.Logger = logging.getLogger("dkv.jobs")


class Running:
    """A job under way."""

    def __init__(self, order: Order, steps: Restoring, asked_by: JobRequest | None) -> None:
        self.order: Order = order
        self.steps: Restoring = steps
        self.asked_by: JobRequest | None = asked_by
        self.progress: Progress = Progress(Phase.CHECKPOINT if isinstance(order, BackupOrder) else Phase.VERIFY)
        self.bytes_staged: int = 0
        self.waits_for: Wait | None = None
        self.offices: list[Office] = []
        """The lead of the vBuckets that it must not lose; empty when that does not matter."""
        self.was_proposed: bool = False
        """Something of it may be in a log."""
        self.told: tuple[Phase, int] | None = None
        """The phase that was told last, and when."""
        self.outcome: Finished | DkvError | None = None

    @property
    def is_waiting(self) -> bool:
        """Looking again at once would show nothing new."""
        return self.progress.is_waiting

    def now_at(self, progress: Progress) -> None:
        self.progress = progress
        if progress.phase is Phase.STAGE:
            self.bytes_staged = progress.bytes_done


class Jobs:
    """Owns the running job. The node's thread calls it, once a turn."""

    def __init__(self, around: Surroundings, disk: Disk, backups: Backups, random: Random) -> None:
        self._around, self._disk, self._backups, self._random = around, disk, backups, random
        self._store, self._vbuckets = around.store, around.vbuckets
        self._running: Running | None = None
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
        if self._running is not None:
            raise Busy("Another global keyspace mutation is in progress")
        self._around.stagings.is_restoring_here = isinstance(order, RestoreOrder)
        self._running = Running(order, self._steps(order), asked_by)
        return self._running

    def forget(self, closed: Iterable[int]) -> None:
        """The callers have gone; the work goes on."""
        running = self._running
        if running is not None and running.asked_by is not None and running.asked_by.call_id in closed:
            running.asked_by = None

    def take_turn(self, turn: Turn, now: Now) -> None:
        """Starts what was asked for in this turn, and does one slice of what runs."""
        is_readable = all(hosted.is_readable for hosted in self._vbuckets.values()) if self._has_work(turn) else False
        for request in turn.jobs:
            try:
                if not is_readable:
                    raise NoLeader("no leader is known for this vBucket, try again")
                if isinstance(request.order, RestoreOrder):
                    check_members(self._vbuckets)
                    check_time(request.order, turn.log_time)
                self.start(request.order, request)
            except DkvError as error:
                request.fail(turn, error)
        if self._running is not None and is_readable and not self._store.pressure().stopped:
            self._step(self._running, turn, now)

    def _has_work(self, turn: Turn) -> bool:
        return bool(turn.jobs) or self._running is not None

    def close(self) -> None:
        """Stop at once, as a crash would: what is half done is cleared away after the next start."""
        if self._running is not None:
            self._running.steps.close()
            self._running = None

    def note_applied(self, results: Mapping[int, list[EntryResult]]) -> None:
        """What was applied in this turn, by vBucket; the job waits for some of it, if any."""
        if self._running is not None and self._running.waits_for is not None:
            self._running.waits_for.note_applied(results)

    def _steps(self, order: Order) -> Restoring:
        if isinstance(order, BackupOrder):
            free_bytes_min = self._disk.free_bytes_min
            return (yield from back_up(order, sorted(self._vbuckets), self._store, self._backups, free_bytes_min))
        return (yield from restore(order, self._backups, dict(map(self._target, self._vbuckets.values()))))

    def _target(self, hosted: Hosted) -> tuple[int, Target[Place]]:
        return hosted.vbucket, Target(hosted.replica, self._store, hosted.history, self._random, lambda: hosted.term)

    def _step(self, running: Running, turn: Turn, now: Now) -> None:
        """One slice. An error of the engine is the node's end, any other one the job's."""
        try:
            self._go_on(running, now)
            self._tell(running, turn, now)
        except StopIteration as end:
            self._end(running, end.value, turn, now)
        except (StorageFailed, InvariantBroken):
            raise
        except DkvError as error:
            self._end(running, error, turn, now)

    def _go_on(self, running: Running, now: Now) -> None:
        answer: Answer = None
        try:
            for office in running.offices:
                office.check()
            if running.waits_for is not None:
                running.now_at(running.waits_for.progress)
                if (answer := running.waits_for.look(now)) is None:
                    return
            elif running.progress.phase in WRITING and (full := self._disk.full(now)) is not None:
                raise full
        except (StorageFailed, InvariantBroken):
            raise
        except DkvError as error:
            running.waits_for = None
            self._take(running, running.steps.throw(error), now)
            return
        if isinstance(running.waits_for, LeadWait):
            running.offices = running.waits_for.offices
        running.waits_for = None
        self._take(running, running.steps.send(answer), now)

    def _take(self, running: Running, step: Step, now: Now) -> None:
        """What the job wants next."""
        if isinstance(step, Progress):
            running.now_at(step)
            return
        if isinstance(step, Lead):
            running.waits_for = LeadWait(self._around, now)
        elif isinstance(step, Spread):
            running.waits_for = SpreadWait(step, self._around, running.bytes_staged, now)
        else:
            running.waits_for = ProposalWait(step, self._around, running.offices)
            running.was_proposed = True
            running.offices = []  # it looks at them itself, and once they are proposed they may be lost
        running.now_at(running.waits_for.progress)

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
        self._let_go(running)
        what = "backup to" if isinstance(running.order, BackupOrder) else "restore from"
        if isinstance(outcome, Finished):
            if isinstance(running.order, BackupOrder):
                self.backups_taken, self.last_backup_ms = self.backups_taken + 1, now.wall_ms
            else:
                self.restores_done += 1
            logger.info("%s %r is done, change number %d", what, running.order.path, outcome.change_number)
            if running.asked_by is not None:
                running.asked_by.finish(turn, outcome)
        else:
            self.jobs_failed += 1
            logger.warning("%s %r failed: %s", what, running.order.path, outcome)
            if running.asked_by is not None:
                running.asked_by.fail(turn, outcome)

    def _let_go(self, running: Running) -> None:
        """Nobody is sent anything any more; what has come to others and was never proposed may be forgotten there."""
        stagings = self._around.stagings
        if stagings.spreading is not None:
            if isinstance(running.outcome, DkvError) and not running.was_proposed:
                stagings.spreading.drop()
            stagings.spreading.close()
        stagings.spreading, stagings.is_restoring_here = None, False
