"""Open readers of the history, of all vBuckets of the node: streams of the feed, and GetChanges calls under way.

All together get one slice of work a turn, those first who have waited longest: a crowd holds up a call no longer than
one reader does. What a reader has not taken waits at the edge, not here, and a full one is passed over. While the node
has other work, each gets a slice every few milliseconds at most, a little more than was applied since the last, and an
entry that is larger counts against later ones: who is behind comes nearer, and writers lose little. Otherwise who is up
to date gets a change in the turn that applied it, from a tail that all share.

A call of several vBuckets has a part in each. Only parts that may get something are looked at in a turn: one reader of
a thousand vBuckets costs what happens in them, not what they are.
"""

from collections.abc import Iterable, Mapping

from dkv.model.errors import (
    Code,
    DkvError,
    HistoryPurged,
    InvalidRequest,
    NoLeader,
    Overloaded,
    ShuttingDown,
    StaleRead,
)
from dkv.model.limits import Limits
from dkv.node.history import vbucket_of
from dkv.node.hosted import Hosted
from dkv.node.reading import Followed, OpenCall, Part
from dkv.node.tail import TAIL_BYTES_MAX, TAIL_BYTES_MIN
from dkv.ports.clock import Now
from dkv.ports.consensus import EntryTuple
from dkv.services.calls import fail
from dkv.services.turn import HistoryRequest, Start, Turn

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
REFUSALS = (HistoryPurged, InvalidRequest, NoLeader, Overloaded, StaleRead)
"""What a reader may be told instead of being opened. Damage is not among them: it ends the node."""
LOOK_INTERVAL_MS = 100
"""Progress marks and stuck readers are looked for so often."""
PARTS_MAX = 20_000
"""Of all readers together, some 30 MB: twenty that follow a thousand vBuckets."""
SEVERAL = "this database has {} vBuckets, each with change numbers of its own: name one, or send positions"
NO_LEADER = "no leader is known for this vBucket, try again"


class Readers:
    """Owns the open readers of a node, by call id."""

    def __init__(self, vbuckets: Mapping[int, Hosted], limits: Limits) -> None:
        """`vbuckets`: those with a replica here."""
        self._vbuckets, self._limits = vbuckets, limits
        self._open: dict[int, OpenCall] = {}
        self._followed: dict[int, Followed] = {}
        self._hungry: dict[Part, None] = {}
        """Those that may lack something, who has waited longest first."""
        self._fetching: set[int] = set()
        """The vBuckets whose log is being read for somebody."""
        self._parts = 0
        self._looked_ms = 0
        self._busy_ms = -LATELY_MS
        self._is_busy = self._is_lately = self._has_news = False
        self._may_give = False
        self.patience_ms: int = 0
        """How long the node may wait for other news while there is more."""

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def has_more(self) -> bool:
        """Some reader can be given more right now."""
        return self._may_give and bool(self._hungry)

    # Beginning

    def open(self, turns: Iterable[Turn], answers: Turn, now: Now) -> None:
        """Take in the requests of the turns; refuse those that ask for what is not kept."""
        for request in [request for turn in turns for request in turn.histories]:
            try:
                call = self._call(request, now)
            except REFUSALS as refusal:
                fail(answers, request.call_id, refusal)
            else:
                self._begin(call, answers, now)

    def _call(self, request: HistoryRequest, now: Now) -> OpenCall:
        if len(self._open) >= self._limits.history_readers_max:
            raise Overloaded(f"{len(self._open)} readers of the history are open already", 1_000)
        wanted = self._wanted(request)
        if self._parts + len(wanted) > PARTS_MAX:
            raise Overloaded(f"{self._parts} vBuckets are followed by readers of the history already", 1_000)
        call = OpenCall(request.call_id, request.call, now.monotonic_ms)
        for hosted in wanted:
            call.parts.append(self._part(call, hosted, request.starts.get(hosted.vbucket, request.start), now))
        return call

    def _wanted(self, request: HistoryRequest) -> list[Hosted]:
        wanted = [request.vbucket] if request.vbucket else sorted(self._vbuckets)
        unknown = {*wanted, *request.starts} - self._vbuckets.keys()
        if unknown:
            raise InvalidRequest(f"there is no vBucket {min(unknown)} here")
        if len(wanted) > 1 and request.belongs_to_one:
            raise InvalidRequest(SEVERAL.format(len(wanted)))
        return [self._vbuckets[vbucket] for vbucket in wanted]

    def _part(self, call: OpenCall, hosted: Hosted, start: Start, now: Now) -> Part:
        if not hosted.is_current:
            raise NoLeader(NO_LEADER)
        try:
            place = hosted.history.place(start.number, start.history_id)
        except (HistoryPurged, StaleRead) as refusal:
            raise self._named(refusal, hosted) from None
        long_ago_ms = now.monotonic_ms - BUSY_INTERVAL_MS
        return Part(call, hosted, call.wish.job(hosted.vbucket), place, long_ago_ms, hosted.replica.change_number)

    def _named(self, refusal: DkvError, hosted: Hosted) -> DkvError:
        """Of one vBucket among several."""
        if len(self._vbuckets) == 1:
            return refusal
        if isinstance(refusal, HistoryPurged):
            return HistoryPurged(refusal.requested, refusal.oldest, refusal.latest, hosted.vbucket)
        if isinstance(refusal, StaleRead):
            return StaleRead(f"vBucket {hosted.vbucket}: {refusal}", refusal.lag, refusal.leader)
        return refusal

    def _begin(self, call: OpenCall, turn: Turn, now: Now) -> None:
        self._open[call.call_id] = call
        self._parts += len(call.parts)
        for part in call.parts:
            hosted, replica = part.hosted, part.hosted.replica
            if hosted.vbucket not in self._followed:
                self._followed[hosted.vbucket] = Followed(hosted, replica.change_number, replica.history_id)
            followed = self._followed[hosted.vbucket]
            followed.parts[part] = None
            if call.wish.is_stream:
                followed.streams += 1
                hosted.history.open_tail(max(TAIL_BYTES_MIN, TAIL_BYTES_MAX // len(self._vbuckets)))
            self._hungry[part] = None
        self._has_news = True
        self._tell(call, call.wish.begin(turn, at := call.positions(), now.monotonic_ms), at)

    def _tell(self, call: OpenCall, size: int, at: Iterable[object]) -> None:
        call.buffered_bytes += size
        for part, position in zip(call.parts, at, strict=True):
            part.told = position  # type: ignore[assignment]

    # News

    def drained(self, progress: list[tuple[int, int]], now: Now) -> None:
        """Readers of streams have taken what they had."""
        for call_id, buffered_bytes in progress:
            if (call := self._open.get(call_id)) is not None:
                call.buffered_bytes, call.progress_ms = buffered_bytes, now.monotonic_ms
                self._has_news = True

    @property
    def is_fetching(self) -> bool:
        """The log is being read for somebody."""
        return bool(self._fetching)

    def take_fetched(self, fetched: Iterable[tuple[int, list[EntryTuple] | str]]) -> None:
        """What was read of the log, or why it could not be."""
        for token, entries in fetched:
            self._vbuckets[vbucket_of(token)].history.take_fetched(token, entries)
            self._has_news = True
        self._fetching = {vbucket for vbucket in self._fetching if self._vbuckets[vbucket].history.is_waiting}

    def feed(self, turn: Turn, seen: Iterable[int], now: Now, is_busy: bool) -> None:
        """A slice for every reader with room, when there is anything to give or to say. `seen`: the vBuckets in which
        something may have been applied since the last time."""
        if not self._open:
            return
        if is_busy:
            self._busy_ms = now.monotonic_ms
        self._is_busy, self._is_lately = is_busy, now.monotonic_ms - self._busy_ms < LATELY_MS
        is_time = now.monotonic_ms - self._looked_ms >= LOOK_INTERVAL_MS
        self._notice(list(self._followed) if is_time else seen)
        if self._has_news or self._may_give:
            self._has_news = self._may_give = False
            self.patience_ms = BUSY_WAIT_MS if self._is_lately else 0
            self._give_all(turn, now)
        if is_time:
            self._looked_ms = now.monotonic_ms
            self._look(turn, now)

    def _notice(self, vbuckets: Iterable[int]) -> None:
        for vbucket in vbuckets:
            if (followed := self._followed.get(vbucket)) is not None and followed.has_news():
                self._hungry.update(followed.parts)
                self._has_news = True

    # Giving

    def _give_all(self, turn: Turn, now: Now) -> None:
        left, hungry = TURN_CHANGES_MAX, list(self._hungry)
        for part in hungry:
            call = part.call
            if call.is_over or not call.has_room or part.must_wait:
                continue
            gives_way = self._is_busy or (self._is_lately and part.behind > TURN_CHANGES_MAX)
            waited_ms = now.monotonic_ms - part.fed_ms
            if left <= 0 or (gives_way and waited_ms < BUSY_INTERVAL_MS):
                self._may_give = True
                continue
            share = self._small_share(part, waited_ms, len(hungry)) - part.owed if gives_way else left
            part.fed_ms, part.fed_number = now.monotonic_ms, part.hosted.replica.change_number
            if share > 0:
                taken = self._give(part, turn, now, min(share, left))
                left -= taken
                part.owed = max(0, taken - share) if gives_way else 0
            else:
                part.owed, self._may_give = -share, True
            if part in self._hungry:  # behind those whose turn did not come
                del self._hungry[part]
                self._hungry[part] = None

    def _small_share(self, part: Part, waited_ms: int, readers: int) -> int:
        """What a reader gets beside other work."""
        applied = int((part.hosted.replica.change_number - part.fed_number) * BUSY_SHARE)
        return max(BUSY_CHANGES_MIN, applied, BUSY_CHANGES_PER_MS * waited_ms // readers)

    def _give(self, part: Part, turn: Turn, now: Now, changes_max: int) -> int:
        """What is at hand, up to a slice; returns how many changes that were looked at."""
        call, job, place, history = part.call, part.job, part.place, part.hosted.history
        try:
            history.check(place)
        except HistoryPurged as refusal:
            self._end(call, turn, self._named(refusal, part.hosted))
            return 0
        taken, is_more = 0, False
        for entry in history.entries(place):
            before, place.next_number = place.next_number, job.add(entry, place.next_number)
            taken += max(len(entry.commands), place.next_number - before)
            if taken >= changes_max or job.is_full:
                is_more = True
                break
        at = part.position()
        if size := job.send(turn, at, now.monotonic_ms):
            part.told = at
            call.buffered_bytes += size
        if job.is_over(place.next_number):
            job.finish(turn, at)
            self._drop(call)
        else:
            self._goes_on(part, is_more)
        return taken

    def _goes_on(self, part: Part, is_more: bool) -> None:
        """Whether it is still hungry, and for what."""
        place = part.place
        if place.is_waiting:
            self._fetching.add(part.hosted.vbucket)
        if place.is_waiting or place.read:
            part.call.from_log.add(part)
        else:
            if part in part.call.from_log:
                part.call.from_log.discard(part)
                self._may_give = True  # another part of the call may read the log now
            if not is_more and not part.behind:
                del self._hungry[part]
        self._may_give = self._may_give or is_more

    # Now and then

    def _look(self, turn: Turn, now: Now) -> None:
        for followed in list(self._followed.values()):
            if not followed.hosted.is_current:
                for part in list(followed.parts):
                    self._end(part.call, turn, NoLeader(NO_LEADER))
        for call in list(self._open.values()):
            if not call.has_room:
                self._end_if_stuck(call, turn, now)
            elif call.wish.is_mark_due(now.monotonic_ms):
                at = call.positions()
                moved = [position for part, position in zip(call.parts, at, strict=True) if position != part.told]
                self._tell(call, call.wish.mark(turn, at, moved, now.monotonic_ms), at)

    def _end_if_stuck(self, call: OpenCall, turn: Turn, now: Now) -> None:
        idle_ms_max = self._limits.iterate_idle_ms_max
        if now.monotonic_ms - call.progress_ms > idle_ms_max:
            where = f" at change {call.parts[0].place.next_number}" if len(call.parts) == 1 else ""
            text = f"the reader made no progress for {idle_ms_max // 1000} s; resume{where}"
            turn.finished.append((call.call_id, int(Code.ABORTED), text, b"", -1))
            self._drop(call)

    # Ending

    def shut_down(self, turn: Turn) -> None:
        """Streams have no end of their own; calls that wait for one reply get it."""
        for call in [call for call in self._open.values() if call.wish.is_stream]:
            self._end(call, turn, ShuttingDown("the server stops"))

    def forget(self, closed: Iterable[int]) -> None:
        """The callers have gone."""
        for call_id in closed:
            if (call := self._open.get(call_id)) is not None:
                self._drop(call)

    def _end(self, call: OpenCall, turn: Turn, error: DkvError) -> None:
        if not call.is_over:
            fail(turn, call.call_id, error)
            self._drop(call)

    def _drop(self, call: OpenCall) -> None:
        call.is_over = True
        del self._open[call.call_id]
        self._parts -= len(call.parts)
        for part in call.parts:
            followed = self._followed[part.hosted.vbucket]
            del followed.parts[part]
            self._hungry.pop(part, None)
            if call.wish.is_stream:
                followed.streams -= 1
                if not followed.streams:
                    part.hosted.history.tail.close()
            if not followed.parts:
                del self._followed[part.hosted.vbucket]
