"""What a node does unasked: Raft ticks, clock ticks and sweeps, engine syncs, cutting the log, watching the disk.

The log is cut only behind what the engine has synced (INVARIANTS 17): the applied index is noted before the sync is
requested and the cut happens when that mark comes back. In memory Raft then needs nothing of it any more; on disk it is
the history, and goes when `Retention` says so (INVARIANTS 14).
"""

from dkv.jobs.sweep import sweep_command
from dkv.model.commands import Command, Tick
from dkv.model.errors import Overloaded
from dkv.node.meter import Meter
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.ports.store import Store
from dkv.vbucket.outcomes import OutcomesAt, decode_outcomes_at
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

RAFT_TICK_MS = 100
RAFT_TICKS_PER_TURN_MAX = 3
"""A slow turn must not look like a silent leader."""
CLOCK_TICK_INTERVAL_MS = 50
SWEEP_INTERVAL_MS = 200
SWEEP_ROWS_MAX = 200
"""About 1 ms of a turn: calls beside a million keys that expire together wait no longer than that."""
SWEEP_MORE_INTERVAL_MS = 4
"""While all that a sweep finds is due: 50,000 keys a second, or more may expire than are ever removed."""
SYNC_INTERVAL_MS = 1_000
SYNC_BYTES = 32 << 20
"""Applied bytes after which the engine is synced without waiting for the interval: bounds the replay at start."""
DISK_CHECK_INTERVAL_MS = 200
LOG_TIME_LAG_MS_MAX = 600_000
"""An idle log still notes the time this often, so that a restart does not take an idle day for a clock that jumped."""


class Upkeep:
    """Owns the due times. Decides nothing about keys."""

    def __init__(
        self,
        store: Store,
        consensus: Consensus,
        replica: Replica,
        free_bytes_min: int,
        meter: Meter,
        retention: Retention,
    ) -> None:
        self._store, self._consensus, self._replica, self._meter = store, consensus, replica, meter
        self.free_bytes_min: int = free_bytes_min
        self._retention = retention
        self._raft_ticked_ms = -1
        self._ticked_ms = self._swept_ms = self._synced_ms = self._disk_checked_ms = -1_000_000
        self._sweep_proposed_ms = -1_000_000
        self._bytes_since_sync = self._bytes_since_disk_check = 0
        self._sweep_interval_ms = SWEEP_INTERVAL_MS
        self._swept_first: tuple[int, bytes] | None = None
        self._swept_space = replica.space
        self._index_at_sync = replica.applied_index
        self._index_cut = replica.earliest_index - 1
        self._is_disk_full = False

    def commands_due(self, now: Now) -> list[Command]:
        """A tick when an expiry is due and not yet visible or the log is idle for long; a sweep of what has expired."""
        due: list[Command] = []
        if now.monotonic_ms - self._ticked_ms >= CLOCK_TICK_INTERVAL_MS and self._is_tick_due(now):
            self._ticked_ms = now.monotonic_ms
            due.append(Tick())
        if now.monotonic_ms - self._swept_ms >= self._sweep_interval_ms and self._replica.sweep_due():
            self._swept_ms = now.monotonic_ms
            due += self._sweep(now)
        return due

    def _is_tick_due(self, now: Now) -> bool:
        replica = self._replica
        return replica.tick_due(now) or replica.clock.peek(now) - replica.log_time >= LOG_TIME_LAG_MS_MAX

    def _sweep(self, now: Now) -> list[Command]:
        if self._swept_space != self._replica.space:  # a restore: nothing was swept of this index yet
            self._swept_space, self._swept_first = self._replica.space, None
        scan = self._store.scan(*self._replica.expired_range(self._swept_first))
        try:
            rows = scan.take(SWEEP_ROWS_MAX, 1 << 20)
        finally:
            scan.close()
        command = sweep_command(self._replica, rows)
        self._sweep_interval_ms = SWEEP_INTERVAL_MS
        if command is None:
            return []
        if len(command.candidates) == len(rows):
            self._sweep_interval_ms = SWEEP_MORE_INTERVAL_MS
        first = command.candidates[0]
        if first == self._swept_first:
            # That sweep is not applied yet: a slow disk gets no more of them, only the same again after a while.
            if now.monotonic_ms - self._sweep_proposed_ms < SWEEP_INTERVAL_MS:
                return []
        else:
            self._meter.rows_swept += len(command.candidates)
        self._swept_first, self._sweep_proposed_ms = first, now.monotonic_ms
        return [command]

    def note_applied(self, applied_bytes: int) -> None:
        self._bytes_since_sync += applied_bytes
        self._bytes_since_disk_check += applied_bytes

    def after_turn(self, now: Now) -> None:
        self._tick_raft(now)
        self._sync_and_cut(now)

    def _tick_raft(self, now: Now) -> None:
        if self._raft_ticked_ms < 0:
            self._raft_ticked_ms = now.monotonic_ms
        ticks = (now.monotonic_ms - self._raft_ticked_ms) // RAFT_TICK_MS
        if ticks > 0:
            self._raft_ticked_ms += ticks * RAFT_TICK_MS
            self._consensus.tick(min(ticks, RAFT_TICKS_PER_TURN_MAX))

    def _sync_and_cut(self, now: Now) -> None:
        if (synced := self._store.take_synced()) is not None:
            self._consensus.release(self._replica.vbucket, synced)
            self._cut_history(synced)
        applied = self._replica.applied_index
        due = now.monotonic_ms - self._synced_ms >= SYNC_INTERVAL_MS or self._bytes_since_sync >= SYNC_BYTES
        if due and applied > self._index_at_sync:
            self._index_at_sync, self._synced_ms, self._bytes_since_sync = applied, now.monotonic_ms, 0
            self._store.request_sync(applied)

    def _cut_history(self, synced: int) -> None:
        """Log and outcomes go together: what a reader may still ask for has both."""
        replica = self._replica
        indexes = replica.earliest_index, synced
        first = self._retention.first_kept(
            replica.history_bytes, replica.log_bytes, replica.change_number, indexes, self._outcomes_at
        )
        if first is not None:
            self._store.write(replica.cut_history(first.log_index - 1, first.outcomes))
        index = replica.earliest_index - 1
        if self._index_cut < index <= synced:  # also behind a restore, which ends a history
            self._index_cut = index
            self._consensus.cut(replica.vbucket, index)

    def _outcomes_at(self, index: int) -> OutcomesAt | None:
        scan = self._store.scan(*self._replica.outcomes_after(index - 1))
        try:
            rows = scan.take(1, 1)
        finally:
            scan.close()
        return decode_outcomes_at(rows[0]) if rows else None

    def disk_full(self, now: Now) -> Overloaded | None:
        """Refuse writes before either store meets a full disk; reads go on, writes resume by themselves."""
        wrote_much = self._bytes_since_disk_check > self.free_bytes_min // 16
        if wrote_much or now.monotonic_ms - self._disk_checked_ms >= DISK_CHECK_INTERVAL_MS:
            self._disk_checked_ms, self._bytes_since_disk_check = now.monotonic_ms, 0
            self._is_disk_full = self._store.free_bytes() < self.free_bytes_min
        if not self._is_disk_full:
            return None
        return Overloaded(f"the disk has less than {self.free_bytes_min >> 20} MiB left, writes are refused", 1_000)
