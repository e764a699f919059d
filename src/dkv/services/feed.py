"""dkv.v1.Feed: the stream of changes.

A message holds whole entries of the log, so what was committed together arrives together. A reader without a prefix
gets every number; one with a prefix learns from the position in each message how far it is. The stream has no memory on
the server: (history id, next number) of each vBucket is all that is needed to resume.

A stream of several vBuckets is one stream to its caller, and to the node as many readers that share its room: each of
its messages has changes of one vBucket. How far all of them are is said at the beginning, and in progress marks.
"""

from collections.abc import Callable, Sequence

from dkv.model.commands import Delete, DeleteRange, Put
from dkv.model.errors import InvalidRequest
from dkv.model.limits import Limits
from dkv.services.calls import Accept, parse_each
from dkv.services.checks import check_key
from dkv.services.turn import HistoryRequest, Start, Turn
from dkv.vbucket.history import Change, EntryChanges
from dkv.vbucket.rows import ts_of_expires_at
from dkv.wire import feed, methods
from dkv.wire import messages as wire
from dkv.wire.feed import Position

MESSAGE_BYTES = 256 << 10
"""A message is closed when it has so many: about 2,000 short changes, or one entry."""
PROGRESS_INTERVAL_MS = 1_000
PROGRESS_INTERVAL_MS_MIN = 100
"""The node looks at its readers at least as often."""
ChangesOfPuts = Callable[[bytes, int, int], tuple[bytes, int] | None]
"""(an entry of the log, its first number, its time) as `encode` has it; None unless it is puts that stay for ever."""


class FeedService:
    """Stateless but for its limits. Never raises for what a caller sent."""

    def __init__(self, limits: Limits, changes_of_puts: ChangesOfPuts) -> None:
        self._limits, self._changes_of_puts = limits, changes_of_puts
        self.accepts: dict[int, Accept] = {methods.STREAM_CHANGES: self.stream_changes}
        """By method number."""

    def stream_changes(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """StreamChangesRequest."""
        ids, requests = parse_each(self._parse, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            turn.histories.append(history_request(FeedCall(call_id, request, self._changes_of_puts), request))

    def _parse(self, message: bytes) -> wire.StreamChangesRequest:
        request = wire.StreamChangesRequest.FromString(message)
        if request.fromNow and (request.fromChangeNumber or request.historyId):
            raise InvalidRequest("fromNow excludes fromChangeNumber and historyId")
        if request.keyPrefix:
            check_key(request.keyPrefix, self._limits)
        if request.positions:
            check_positions(request)
        return request


def check_positions(request: wire.StreamChangesRequest) -> None:
    """Raises InvalidRequest."""
    if request.historyId or request.fromChangeNumber > 1:
        raise InvalidRequest("positions exclude historyId, and fromChangeNumber above 1: each has its own")
    vbuckets = [each.vBucket for each in request.positions]
    if len(set(vbuckets)) < len(vbuckets):
        raise InvalidRequest("a vBucket has one position")
    if request.vBucket and vbuckets != [request.vBucket]:
        raise InvalidRequest(f"a position of another vBucket than {request.vBucket}, which was asked for")


def history_request(call: "FeedCall", request: wire.StreamChangesRequest) -> HistoryRequest:
    """A reader of what was asked for."""
    number = None if request.fromNow else request.fromChangeNumber or 1
    return HistoryRequest(
        call.call_id,
        request.vBucket,
        Start(number, request.historyId),
        call,
        {each.vBucket: Start(each.nextChangeNumber or 1, each.historyId) for each in request.positions},
        belongs_to_one=bool((number or 0) > 1 or request.historyId or request.throughChangeNumber),
    )


class FeedCall:
    """One caller's stream."""

    is_stream = True

    def __init__(self, call_id: int, request: wire.StreamChangesRequest, changes_of_puts: ChangesOfPuts) -> None:
        self.call_id: int = call_id
        self.changes_of_puts: ChangesOfPuts = changes_of_puts
        self._prefix, self._through = request.keyPrefix, request.throughChangeNumber
        self._interval_ms = max(request.progressIntervalMs or PROGRESS_INTERVAL_MS, PROGRESS_INTERVAL_MS_MIN)
        self._is_merged = False
        self._marked_ms = 0
        self.sent_ms: int = 0
        """When the last message was sent."""

    def job(self, vbucket: int) -> "FeedJob":
        return FeedJob(self, self._prefix, self._through)

    def begin(self, turn: Turn, at: Sequence[Position], monotonic_ms: int) -> int:
        self._is_merged = len(at) > 1
        return self._tell(turn, at, monotonic_ms)

    def is_mark_due(self, monotonic_ms: int) -> bool:
        since_ms = self._marked_ms if self._is_merged else self.sent_ms
        return monotonic_ms - since_ms >= self._interval_ms

    def mark(self, turn: Turn, at: Sequence[Position], moved: Sequence[Position], monotonic_ms: int) -> int:
        """Of several vBuckets some may have much to say while others only have a mark."""
        if not self._is_merged or moved:
            return self._tell(turn, moved or at, monotonic_ms)
        if monotonic_ms - self.sent_ms < self._interval_ms:
            self._marked_ms = monotonic_ms
            return 0
        return self._tell(turn, at[:1], monotonic_ms)

    def _tell(self, turn: Turn, at: Sequence[Position], monotonic_ms: int) -> int:
        self._marked_ms = monotonic_ms
        return self.send(turn, feed.positions(at) if self._is_merged else feed.position(at[0]), monotonic_ms)

    def send(self, turn: Turn, message: bytes, monotonic_ms: int) -> int:
        """Returns its bytes."""
        turn.items.append((self.call_id, [message]))
        self.sent_ms = monotonic_ms
        return len(message)


class FeedJob:
    """What a stream has of one vBucket."""

    def __init__(self, call: FeedCall, prefix: bytes, through: int) -> None:
        self._call, self._prefix, self._through = call, prefix, through
        self._parts: list[bytes] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= MESSAGE_BYTES

    def add(self, entry: EntryChanges, next_number: int) -> int:
        data, behind = entry.encoded or encode(entry, self._call.changes_of_puts)
        if self._prefix or next_number > entry.first_number or 0 < self._through < behind - 1:
            data, behind = self._some(entry, next_number)
        if data:
            self._parts.append(data)
            self._bytes += len(data)
        return behind

    def _some(self, entry: EntryChanges, next_number: int) -> tuple[bytes, int]:
        """As `encode`, of those changes that this reader wants."""
        parts: list[bytes] = []
        behind = next_number
        for number, change in enumerate(entry.changes(), entry.first_number):
            if number < next_number:
                continue
            if 0 < self._through < number:
                break
            if not self._prefix or touches(change, self._prefix):
                parts.append(encode_change(number, change, entry.log_time))
            behind = number + 1
        return b"".join(parts), behind

    def send(self, turn: Turn, at: Position, monotonic_ms: int) -> int:
        if not self._parts:
            return 0
        self._parts.append(feed.position(at))
        message = b"".join(self._parts)
        self._parts, self._bytes = [], 0
        return self._call.send(turn, message, monotonic_ms)

    def is_over(self, next_number: int) -> bool:
        return 0 < self._through < next_number

    def finish(self, turn: Turn, at: Position) -> None:
        turn.finished.append((self._call.call_id, 0, "", b"", -1))


def by_commands(logged: bytes, first_number: int, log_time: int) -> None:
    """Knows no short way: every entry is taken apart."""


def encode(entry: EntryChanges, changes_of_puts: ChangesOfPuts) -> tuple[bytes, int]:
    """(all changes of an entry as they stand in a message, the number behind them); kept in the entry."""
    first, log_time = entry.first_number, entry.log_time
    if (logged := entry.logged) is not None:
        entry.encoded = changes_of_puts(logged, first, log_time)
    if entry.encoded is None:
        changes = entry.changes()
        data = feed.plain_puts(first, changes, log_time)
        if data is None:
            data = b"".join([encode_change(number, change, log_time) for number, change in enumerate(changes, first)])
        entry.encoded = data, first + len(changes)
    return entry.encoded


def encode_change(number: int, change: Change, log_time: int) -> bytes:
    """One change of any kind, as it stands in a message."""
    match change:
        case Put(key, value, expires_at):
            return feed.change(number, feed.PUT, key, value, b"", ts_of_expires_at(expires_at), log_time)
        case Delete(key):
            return feed.change(number, feed.DELETE, key, b"", b"", 0, log_time)
        case DeleteRange(start, end):
            return feed.change(number, feed.DELETE_RANGE, start, b"", end, 0, log_time)


def touches(change: Change, prefix: bytes) -> bool:
    """Whether a change is about keys that begin with `prefix`."""
    if isinstance(change, DeleteRange):
        begins_in_time = change.start < prefix or change.start.startswith(prefix)
        return begins_in_time and (not change.end or change.end > prefix)
    return change.key.startswith(prefix)
