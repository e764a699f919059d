"""What a node does unasked for one vBucket: clock ticks and sweeps while it leads, and cutting the log.

The log is cut only behind what the engine has synced (INVARIANTS 17). In memory Raft then needs nothing of it any more;
on disk it is the history, and goes when `Retention` says so (INVARIANTS 14).
"""

from dkv.jobs.sweep import sweep_command
from dkv.model.commands import Command, Tick
from dkv.node.meter import Meter
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.ports.store import Store
from dkv.vbucket.outcomes import OutcomesAt, decode_outcomes_at
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention

CLOCK_TICK_INTERVAL_MS = 50
SWEEP_INTERVAL_MS = 200
IDLE_LOOK_INTERVAL_MS = 1_000
"""Where nothing expires, the log's age is all there is to look at."""
SWEEP_ROWS_MAX = 200
"""About 1 ms of a turn: calls beside a million keys that expire together wait no longer than that."""
SWEEP_MORE_INTERVAL_MS = 4
"""While all that a sweep finds is due: 50,000 keys a second, or more may expire than are ever removed."""
HELD_BYTES_MAX = 1 << 30
"""Of the log, beyond the history, for a replica that catches up behind a snapshot (INVARIANTS 21)."""
LOG_TIME_LAG_MS_MAX = 600_000
"""An idle log still notes the time this often, so that a restart does not take an idle day for a clock that jumped."""


class Upkeep:
    """Owns the due times. Decides nothing about keys."""

    def __init__(
        self,
        store: Store,
        consensus: Consensus,
        replica: Replica,
        meter: Meter,
        retention: Retention,
    ) -> None:
        self._store, self._consensus, self._replica, self._meter = store, consensus, replica, meter
        self._retention = retention
        self._looked_ms = -1_000_000
        self._ticked_ms = self._swept_ms = self._sweep_proposed_ms = -1_000_000
        self._sweep_interval_ms = SWEEP_INTERVAL_MS
        self._swept_first: tuple[int, bytes] | None = None
        self._swept_space = replica.space
        self._index_cut = replica.earliest_index - 1
        self.held_from: int | None = None
        """See `hold`."""

    def commands_due(self, now: Now) -> list[Command]:
        """A tick when an expiry is due and not yet visible or the log is idle for long; a sweep of what has expired."""
        due: list[Command] = []
        interval_ms = 1 if self._replica.earliest_expiry is not None else IDLE_LOOK_INTERVAL_MS
        if now.monotonic_ms - self._looked_ms < interval_ms:
            return due  # turns may follow each other faster than that
        self._looked_ms = now.monotonic_ms
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

    def cut(self, synced: int) -> None:
        """The engine has everything up to the entry `synced` on disk."""
        self._consensus.release(self._replica.vbucket, synced)
        self._cut_history(synced)

    def hold(self, index: int | None) -> None:
        """Entries behind `index` stay, though the history need not keep them: a replica catches up from there. Up to
        `HELD_BYTES_MAX`; then it needs another snapshot. None: nobody does."""
        self.held_from = index

    def _cut_history(self, synced: int) -> None:
        """Log and outcomes go together: what a reader may still ask for has both."""
        replica = self._replica
        indexes = replica.earliest_index, self._free_to(synced)
        first = self._retention.first_kept(
            replica.history_bytes, replica.log_bytes, replica.change_number, indexes, self._outcomes_at
        )
        if first is not None:
            self._store.write(replica.cut_history(first.log_index - 1, first.outcomes))
        index = replica.earliest_index - 1
        if self._index_cut < index <= synced:  # also behind a restore, which ends a history
            self._index_cut = index
            self._consensus.cut(replica.vbucket, index)

    def _free_to(self, synced: int) -> int:
        """The last entry that may go."""
        if self.held_from is None or self._replica.history_bytes > self._retention.history_bytes_max + HELD_BYTES_MAX:
            return synced
        return min(synced, max(self.held_from, self._replica.earliest_index))

    def _outcomes_at(self, index: int) -> OutcomesAt | None:
        scan = self._store.scan(*self._replica.outcomes_after(index - 1))
        try:
            rows = scan.take(1, 1)
        finally:
            scan.close()
        return decode_outcomes_at(rows[0]) if rows else None
