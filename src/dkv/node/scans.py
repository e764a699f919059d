"""Open iterates: each pins a view of the engine and is fed one bounded slice a turn, as fast as its reader drains it.

A reader that makes no progress for a minute pins files for nothing: its stream ends with ABORTED and the key to resume
from (INVARIANTS 20). A stream holds at most about two slices beyond what the edge has buffered.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dkv.jobs.iterate import IterateJob
from dkv.model.errors import Code, Corrupt, NoLeader, Overloaded
from dkv.model.limits import Limits
from dkv.ports.clock import Now
from dkv.ports.store import Scan, Store
from dkv.services.calls import fail
from dkv.services.turn import ScanRequest, Turn
from dkv.vbucket.replica import Replica

SLICE_ROWS_MAX = 2_000
"""About 3 ms of a turn: heartbeats and other calls are not held up by a long scan."""
SLICES_PER_TURN_MAX = 4
"""About 12 ms: a hundred readers take their turns, or every call would wait for a hundred slices."""
STREAM_BUFFER_BYTES = 512 << 10


@dataclass(slots=True)
class OpenScan:
    scan: Scan
    job: IterateJob
    buffered_bytes: int
    progress_ms: int


class Scans:
    """Owns the open scans of a node, by call id."""

    def __init__(self, store: Store, replica: Replica, limits: Limits) -> None:
        self._store, self._replica, self._limits = store, replica, limits
        self.open_rows: Callable[[ScanRequest], tuple[Scan, int]] = self._own_rows
        """What a request reads, and the log time that decides what has expired there."""
        self._open: dict[int, OpenScan] = {}

    @property
    def has_room(self) -> bool:
        """Some reader can take more right now."""
        return any(each.buffered_bytes < STREAM_BUFFER_BYTES for each in self._open.values())

    @property
    def count(self) -> int:
        return len(self._open)

    def open(self, turn: Turn, is_readable: bool, now: Now) -> None:
        """Pin a view for each new request of the turn: the state as of this turn."""
        for request in turn.scans:
            if not is_readable:
                fail(turn, request.call_id, NoLeader("no leader is known for this vBucket, try again"))
            elif len(self._open) >= self._limits.iterates_open_max:
                fail(turn, request.call_id, Overloaded(f"{len(self._open)} iterates are open already", 1_000))
            else:
                self._open[request.call_id] = self._start(request, now)

    def _start(self, request: ScanRequest, now: Now) -> OpenScan:
        scan, log_time = self.open_rows(request)
        return OpenScan(scan, IterateJob(request.encode, log_time, request.limit), 0, now.monotonic_ms)

    def _own_rows(self, request: ScanRequest) -> tuple[Scan, int]:
        start, end = self._replica.data_range(request.start, request.end)
        return self._store.scan(start, end, reverse=request.reverse), self._replica.log_time

    def drained(self, progress: list[tuple[int, int]], now: Now) -> None:
        for call_id, buffered_bytes in progress:
            if (each := self._open.get(call_id)) is not None:
                each.buffered_bytes, each.progress_ms = buffered_bytes, now.monotonic_ms

    def forget(self, closed: list[int]) -> None:
        """The callers have gone."""
        for call_id in closed:
            if (each := self._open.pop(call_id, None)) is not None:
                each.scan.close()

    def feed(self, turn: Turn, now: Now) -> None:
        """A slice for the readers with room who have waited longest; ends those that are done, stuck or broken."""
        slices = 0
        for call_id, each in list(self._open.items()):
            if each.buffered_bytes < STREAM_BUFFER_BYTES:
                if slices < SLICES_PER_TURN_MAX:
                    slices += 1
                    self._open[call_id] = self._open.pop(call_id)  # behind all others
                    self._feed_one(call_id, each, turn)
            elif now.monotonic_ms - each.progress_ms > self._limits.iterate_idle_ms_max:
                seconds = self._limits.iterate_idle_ms_max // 1000
                key = each.job.resume_key
                text = f"the reader made no progress for {seconds} s; resume after the key {key!r}"
                self._end(call_id, turn, int(Code.ABORTED), text)

    def _feed_one(self, call_id: int, each: OpenScan, turn: Turn) -> None:
        try:
            rows = each.scan.take(SLICE_ROWS_MAX, self._limits.slice_bytes_max)
            messages = each.job.slice(rows)
        except Corrupt as damage:
            self._end(call_id, turn, int(damage.code), str(damage))
            raise
        if messages:
            turn.items.append((call_id, messages))
            each.buffered_bytes += sum(map(len, messages))
        if not rows or each.job.done:
            self._end(call_id, turn, int(Code.OK), "")

    def _end(self, call_id: int, turn: Turn, code: int, text: str) -> None:
        self._open.pop(call_id).scan.close()
        turn.finished.append((call_id, code, text, b"", -1))

    def close(self) -> None:
        for each in self._open.values():
            each.scan.close()
        self._open.clear()
