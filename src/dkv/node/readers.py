"""Open readers of the history: streams of the feed, and GetChanges calls under way.

All together get one slice of work a turn, those first who have waited longest: a crowd holds up a call no longer than
one reader does. What a reader has not taken waits at the edge, not here, and a full one is passed over. While the node
has other work, each gets a slice every few milliseconds at most, a little more than was applied since the last, and an
entry that is larger counts against later ones: who is behind comes nearer, and writers lose little. Otherwise who is up
to date gets a change in the turn that applied it, from a tail that all share.
"""

from dataclasses import dataclass

from dkv.model.errors import Code, DkvError, HistoryPurged, NoLeader, Overloaded, ShuttingDown, StaleRead
from dkv.model.limits import Limits
from dkv.node.history import History, Place
from dkv.node.scans import STREAM_BUFFER_BYTES
from dkv.ports.clock import Now
from dkv.services.calls import fail
from dkv.services.turn import HistoryJob, HistoryRequest, Turn, View

TURN_CHANGES_MAX = 1_000
"""Of all readers together: about 1 ms of a turn, which is what a call beside any number of them waits for."""
BUSY_CHANGES_MIN = 16
BUSY_CHANGES_PER_MS = 25
"""For all readers together, a twentieth of the node's thread; or, for each, if that is more ..."""
BUSY_SHARE = 1.1
"""... of what was applied since the last slice."""
LATELY_MS = 10
"""Who is far behind waits for so long after other work: whoever was just answered comes again."""
BUSY_INTERVAL_MS = 5
"""Between two slices for one reader then: each costs a message, here and at the reader."""
BUSY_WAIT_MS = 1
"""Until the next slice when nothing else happens: other work comes first."""
REFUSALS = (HistoryPurged, NoLeader, Overloaded, StaleRead)
"""What a reader may be told instead of being opened. Damage is not among them: it ends the node."""
LOOK_INTERVAL_MS = 100
"""Progress marks and stuck readers are looked for so often."""


@dataclass(slots=True)
class Reader:
    """One open call."""

    call_id: int
    job: HistoryJob
    place: Place
    buffered_bytes: int
    progress_ms: int
    fed_ms: int
    fed_number: int
    """The latest change when it was given its last slice."""
    owed: int = 0
    """Changes it was given beyond its slices: entries are never divided, and may be larger."""

    @property
    def has_room(self) -> bool:
        return self.buffered_bytes < STREAM_BUFFER_BYTES


class Readers:
    """Owns the open readers of a node, by call id."""

    def __init__(self, history: History, limits: Limits) -> None:
        self._history, self._limits = history, limits
        self._open: dict[int, Reader] = {}
        self._applied_number = 0
        self._looked_ms = 0
        self._busy_ms = -LATELY_MS
        self._has_news = False
        self._may_give = False
        self.patience_ms: int = 0
        """How long the node may wait for other news while there is more."""

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def has_more(self) -> bool:
        """Some reader can be given more right now."""
        return self._may_give and bool(self._open)

    def open(self, turn: Turn, view: View, now: Now) -> None:
        """Take in the requests of the turn; refuse those that ask for what is not kept."""
        if not self._open:
            self._applied_number = view.change_number
        for request in turn.histories:
            try:
                reader = self._reader(request, view, now)
            except REFUSALS as refusal:
                fail(turn, request.call_id, refusal)
            else:
                self._open[request.call_id] = reader
                self._has_news = True

    def _reader(self, request: HistoryRequest, view: View, now: Now) -> Reader:
        if not view.is_readable:
            raise NoLeader("no leader is known for this vBucket, try again")
        if len(self._open) >= self._limits.history_readers_max:
            raise Overloaded(f"{len(self._open)} readers of the history are open already", 1_000)
        place = self._history.place(request.first_number, request.history_id)
        if request.job.is_stream:
            self._history.open_tail()
        long_ago_ms = now.monotonic_ms - BUSY_INTERVAL_MS
        return Reader(request.call_id, request.job, place, 0, now.monotonic_ms, long_ago_ms, view.change_number)

    def drained(self, progress: list[tuple[int, int]], now: Now) -> None:
        for call_id, buffered_bytes in progress:
            if (reader := self._open.get(call_id)) is not None:
                reader.buffered_bytes, reader.progress_ms = buffered_bytes, now.monotonic_ms
                self._has_news = True

    def forget(self, closed: list[int]) -> None:
        """The callers have gone."""
        for call_id in closed:
            self._open.pop(call_id, None)
        self._close_tail()

    def feed(self, turn: Turn, view: View, now: Now, is_busy: bool) -> None:
        """A slice for every reader with room, when there is anything to give or to say."""
        if not self._open:
            return
        if is_busy:
            self._busy_ms = now.monotonic_ms
        is_lately = now.monotonic_ms - self._busy_ms < LATELY_MS
        applied = view.change_number - self._applied_number
        self._applied_number = view.change_number
        is_time = now.monotonic_ms - self._looked_ms >= LOOK_INTERVAL_MS
        if not (self._history.collect() or self._has_news or self._may_give or applied or is_time):
            return
        self._looked_ms = now.monotonic_ms if is_time else self._looked_ms
        self._has_news = self._may_give = False
        self.patience_ms = BUSY_WAIT_MS if is_lately else 0
        left = TURN_CHANGES_MAX
        for reader in list(self._open.values()):
            gives_way = is_busy or (is_lately and view.change_number - reader.place.next_number > TURN_CHANGES_MAX)
            waited_ms = now.monotonic_ms - reader.fed_ms
            if not reader.has_room:
                self._end_if_stuck(reader, turn, now)
            elif left > 0 and not (gives_way and waited_ms < BUSY_INTERVAL_MS):
                share = self._small_share(reader, view, waited_ms) - reader.owed if gives_way else left
                reader.fed_ms, reader.fed_number = now.monotonic_ms, view.change_number
                if share > 0:
                    taken = self._give(reader, turn, view, now, min(share, left))
                    left -= taken
                    reader.owed = max(0, taken - share) if gives_way else 0
                else:
                    reader.owed, self._may_give = -share, True
                if reader.call_id in self._open:  # behind those whose turn did not come
                    self._open[reader.call_id] = self._open.pop(reader.call_id)
            else:
                self._may_give = True
        self._close_tail()

    def _small_share(self, reader: Reader, view: View, waited_ms: int) -> int:
        """What a reader gets beside other work."""
        applied = int((view.change_number - reader.fed_number) * BUSY_SHARE)
        return BUSY_CHANGES_MIN + max(applied, BUSY_CHANGES_PER_MS * waited_ms // len(self._open))

    def _give(self, reader: Reader, turn: Turn, view: View, now: Now, changes_max: int) -> int:
        """What is at hand, up to a slice; returns how many changes that were looked at."""
        job, place, taken = reader.job, reader.place, 0
        try:
            self._history.check(place)
        except HistoryPurged as refusal:
            self._end(reader, turn, refusal)
            return 0
        for entry in self._history.entries(place):
            before, place.next_number = place.next_number, job.add(entry, place.next_number)
            taken += max(len(entry.commands), place.next_number - before)
            if taken >= changes_max or job.is_full:
                self._may_give = True
                break
        reader.buffered_bytes += job.send(turn, place.next_number, view, now.monotonic_ms)
        if job.is_over(place.next_number):
            job.finish(turn, place.next_number, view)
            del self._open[reader.call_id]
        return taken

    def _end_if_stuck(self, reader: Reader, turn: Turn, now: Now) -> None:
        idle_ms_max = self._limits.iterate_idle_ms_max
        if now.monotonic_ms - reader.progress_ms > idle_ms_max:
            number = reader.place.next_number
            text = f"the reader made no progress for {idle_ms_max // 1000} s; resume at change {number}"
            turn.finished.append((reader.call_id, int(Code.ABORTED), text, b"", -1))
            del self._open[reader.call_id]

    def shut_down(self, turn: Turn) -> None:
        """Streams have no end of their own; calls that wait for one reply get it."""
        for reader in [reader for reader in self._open.values() if reader.job.is_stream]:
            self._end(reader, turn, ShuttingDown("the server stops"))

    def _end(self, reader: Reader, turn: Turn, error: DkvError) -> None:
        fail(turn, reader.call_id, error)
        del self._open[reader.call_id]

    def _close_tail(self) -> None:
        if not any(reader.job.is_stream for reader in self._open.values()):
            self._history.tail.close()
