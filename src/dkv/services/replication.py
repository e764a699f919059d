"""dkv.serverpb.DKVReplication, of a master: changes for slaves that poll, and the registry of slaves.

GetChanges keeps COMPATIBILITY 1.4: a record is what one command did, from the one *containing* the number asked for; at
most so many records and 16 MiB, but never none when there is one; `status` always present. Records carry their change
twice, for the two kinds of slave of the original: as a RocksDB write batch, and as a list of operations.
"""

from collections.abc import Sequence
from functools import partial

from dkv.model.commands import Delete, DeleteRange, Put
from dkv.model.errors import HistoryPurged, InvalidRequest, NoLeader
from dkv.model.limits import CHANGES_REPLY_BYTES_MAX
from dkv.services.calls import Accept, fail, parse_each
from dkv.services.slave_registry import SlaveRegistry
from dkv.services.turn import HistoryRequest, PointRead, Slices, Start, Turn, View
from dkv.vbucket.history import Change, EntryChanges
from dkv.vbucket.rows import ts_of_expires_at
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.feed import Position
from dkv.wire.kv import field
from dkv.wire.write_batch import write_batch

SLICE_BYTES = 256 << 10
"""Work on a long reply per turn."""
SERVERS_ENCODING, SINGLE, PAIR, OPERATIONS_ONLY = range(4)
_CHANGES = b"\x22"
"""Tag of a record within its reply."""


class ReplicationService:
    """Stateless. Never raises for what a caller sent."""

    def __init__(self) -> None:
        self.accepts: dict[int, Accept] = {methods.GET_CHANGES: self.get_changes, **SlaveRegistry().accepts}
        """By method number."""

    def get_changes(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetChangesRequest. What it gets depends on what is applied in this turn."""
        ids, requests = parse_each(parse, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            turn.reads.append(PointRead([], partial(answer, call_id, request)))


def parse(message: bytes) -> wire.GetChangesRequest:
    request = wire.GetChangesRequest.FromString(message)
    if request.encoding == PAIR:
        raise InvalidRequest("encoding 2 (pair) is not available, ask for 1 (single) or 3 (operations only)")
    if request.encoding > OPERATIONS_ONLY:
        raise InvalidRequest(f"unknown encoding {request.encoding}, must be 1 (single) or 3 (operations only)")
    return request


def answer(call_id: int, request: wire.GetChangesRequest, turn: Turn, rows: Slices, view: View) -> None:
    """Ends the call when there is nothing to read, or makes it a reader of the history up to the latest change."""
    number, latest = request.fromChangeNumber or 1, view.change_number
    if request.vBucket not in (0, turn.vbucket):
        fail(turn, call_id, InvalidRequest(f"there is no vBucket {request.vBucket} here"))
    elif not view.is_readable:
        fail(turn, call_id, NoLeader("no leader is known for this vBucket, try again"))
    elif request.historyId and request.historyId != view.history_id:
        fail(turn, call_id, HistoryPurged(number, view.oldest_change, latest))
    elif not request.maxNumberOfChanges or number > latest:
        at = Position(turn.vbucket, number, latest, view.oldest_change, view.log_time, view.history_id)
        ChangesJob(call_id, request, latest).finish(turn, at)
    else:
        job = ChangesJob(call_id, request, latest)
        turn.histories.append(HistoryRequest(call_id, turn.vbucket, Start(number, view.history_id), job))


class ChangesJob:
    """One GetChanges call, of one vBucket: gathers records until there are enough."""

    is_stream = False

    def __init__(self, call_id: int, request: wire.GetChangesRequest, through: int) -> None:
        self._call_id, self._through = call_id, through
        self._records_max = request.maxNumberOfChanges
        self._has_batches = request.encoding != OPERATIONS_ONLY
        self._records: list[bytes] = []
        self._bytes = self._slice_bytes = 0
        self._is_cut = False

    def job(self, vbucket: int) -> "ChangesJob":
        return self

    @property
    def is_full(self) -> bool:
        return self._is_cut or self._slice_bytes >= SLICE_BYTES

    def add(self, entry: EntryChanges, next_number: int) -> int:
        for first, changes in entry.records():
            behind = first + len(changes)
            if behind <= next_number:
                continue
            framed = field(_CHANGES, record(first, changes, entry.log_time, self._has_batches))
            if self._records and self._bytes + len(framed) > CHANGES_REPLY_BYTES_MAX:
                self._is_cut = True
                return next_number
            self._records.append(framed)
            self._bytes += len(framed)
            self._slice_bytes += len(framed)
            next_number = behind
            if len(self._records) == self._records_max:
                self._is_cut = True
                return next_number
        return next_number

    def send(self, turn: Turn, at: Position, monotonic_ms: int) -> int:
        """Nothing leaves before the end."""
        self._slice_bytes = 0
        return 0

    def begin(self, turn: Turn, at: Sequence[Position], monotonic_ms: int) -> int:
        return 0

    def is_mark_due(self, monotonic_ms: int) -> bool:
        return False

    def mark(self, turn: Turn, at: Sequence[Position], moved: Sequence[Position], monotonic_ms: int) -> int:
        return 0

    def is_over(self, next_number: int) -> bool:
        return self._is_cut or next_number > self._through

    def finish(self, turn: Turn, at: Position) -> None:
        head = wire.GetChangesResponse(
            status=wire.Status(), masterChangeNumber=at.latest, numberOfChanges=len(self._records)
        )
        tail = wire.GetChangesResponse(historyId=at.history_id, oldestChangeNumber=at.oldest)
        turn.reply_ids.append(self._call_id)
        turn.replies.append(b"".join((head.SerializeToString(), *self._records, tail.SerializeToString())))


def record(first: int, changes: Sequence[Change], log_time: int, has_batch: bool) -> bytes:
    """One ChangeRecord: what one command did."""
    timed = [(each, ts_of_expires_at(each.expires_at) if isinstance(each, Put) else 0) for each in changes]
    return wire.ChangeRecord(
        serialisedForm=write_batch(first, timed) if has_batch else b"",
        changeNumber=first,
        numberOfTrxns=len(changes),
        trxns=[operation(*each) for each in timed],
        leaderTime=log_time,
    ).SerializeToString()


def operation(change: Change, expire_ts: int) -> wire.TrxnRecord:
    """A delete-range is Unknown to the original, with the first key and the end where key and value stand."""
    match change:
        case Put(key, value):
            return wire.TrxnRecord(type=wire.TrxnRecord.Put, key=key, value=value, expireTS=expire_ts)
        case Delete(key):
            return wire.TrxnRecord(type=wire.TrxnRecord.Delete, key=key)
        case DeleteRange(start, end):
            return wire.TrxnRecord(type=wire.TrxnRecord.Unknown, key=start, value=end)
