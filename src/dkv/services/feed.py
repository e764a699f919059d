"""dkv.v1.Feed: the stream of changes.

A message holds whole entries of the log, so what was committed together arrives together. A reader without a prefix
gets every number; one with a prefix learns from the position in each message how far it is. The stream has no memory on
the server: (history id, next number) is all that is needed to resume.
"""

from collections.abc import Sequence

from dkv.model.commands import Delete, DeleteRange, Put
from dkv.model.errors import InvalidRequest
from dkv.model.limits import Limits
from dkv.services.calls import Accept, parse_each
from dkv.services.checks import check_key
from dkv.services.turn import HistoryRequest, Turn, View
from dkv.vbucket.history import Change, EntryChanges
from dkv.vbucket.rows import ts_of_expires_at
from dkv.wire import feed, methods
from dkv.wire import messages as wire

MESSAGE_BYTES = 256 << 10
"""A message is closed when it has so many: about 2,000 short changes, or one entry."""
PROGRESS_INTERVAL_MS = 1_000
PROGRESS_INTERVAL_MS_MIN = 100
"""The node looks at its readers at least as often."""


class FeedService:
    """Stateless but for its limits. Never raises for what a caller sent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.accepts: dict[int, Accept] = {methods.STREAM_CHANGES: self.stream_changes}
        """By method number."""

    def stream_changes(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """StreamChangesRequest."""
        ids, requests = parse_each(self._parse, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            first = None if request.fromNow else request.fromChangeNumber or 1
            turn.histories.append(HistoryRequest(call_id, first, request.historyId, FeedJob(call_id, request)))

    def _parse(self, message: bytes) -> wire.StreamChangesRequest:
        request = wire.StreamChangesRequest.FromString(message)
        if request.fromNow and (request.fromChangeNumber or request.historyId):
            raise InvalidRequest("fromNow excludes fromChangeNumber and historyId")
        if request.keyPrefix:
            check_key(request.keyPrefix, self._limits)
        return request


class FeedJob:
    """One reader's stream."""

    is_stream = True

    def __init__(self, call_id: int, request: wire.StreamChangesRequest) -> None:
        self._call_id = call_id
        self._prefix = request.keyPrefix
        self._through = request.throughChangeNumber
        self._interval_ms = max(request.progressIntervalMs or PROGRESS_INTERVAL_MS, PROGRESS_INTERVAL_MS_MIN)
        self._sent_ms: int | None = None
        self._parts: list[bytes] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= MESSAGE_BYTES

    def add(self, entry: EntryChanges, next_number: int) -> int:
        data, behind = entry.encoded or encode(entry)
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

    def send(self, turn: Turn, next_number: int, view: View, monotonic_ms: int) -> int:
        """A message, when there are changes, at the beginning, and when nothing was said for a while."""
        if not self._parts and self._sent_ms is not None and monotonic_ms - self._sent_ms < self._interval_ms:
            return 0
        self._parts.append(
            feed.position(next_number, view.change_number, view.oldest_change, view.log_time, view.history_id)
        )
        message = b"".join(self._parts)
        turn.items.append((self._call_id, [message]))
        self._parts, self._bytes, self._sent_ms = [], 0, monotonic_ms
        return len(message)

    def is_over(self, next_number: int) -> bool:
        return 0 < self._through < next_number

    def finish(self, turn: Turn, next_number: int, view: View) -> None:
        turn.finished.append((self._call_id, 0, "", b"", -1))


def encode(entry: EntryChanges) -> tuple[bytes, int]:
    """(all changes of an entry as they stand in a message, the number behind them); kept in the entry."""
    changes = entry.changes()
    data = feed.plain_puts(entry.first_number, changes, entry.log_time)
    if data is None:
        numbers = enumerate(changes, entry.first_number)
        data = b"".join([encode_change(number, change, entry.log_time) for number, change in numbers])
    entry.encoded = data, entry.first_number + len(changes)
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
