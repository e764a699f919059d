"""Get, MultiGet and Iterate: keys wanted of the turn's one multi-get, and rows to replies.

A row whose expiry is at or below the log time of the view is gone, whether or not it was swept (INVARIANTS 8). A
damaged row raises Corrupt: that is the engine's failure, not the caller's, and ends the node.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from dkv.model.errors import DkvError, LimitExceeded, NoLeader, StaleRead
from dkv.model.limits import Limits
from dkv.services.calls import fail, parse_each
from dkv.services.checks import check_consistency, check_key, check_payload
from dkv.services.turn import LINEARIZABLE, SEQUENTIAL, PointRead, ReadTerms, ScanRequest, Slices, Turn, View
from dkv.vbucket.rows import decode_row, ts_of_expires_at
from dkv.wire import messages as wire
from dkv.wire.kv import (
    STATUS_OK,
    get_replies,
    get_reply,
    iterate_reply,
    missing_reply,
    pair,
    plain_get_key,
    plain_pairs,
    read_token,
)
from dkv.wire.requests import LINEARIZABLE_STRICT

PLAIN_KEY_BYTES_MAX = 127
NOT_READABLE = "no leader is known for this vBucket, try again"
WRONG_START = "StartKey must have the same prefix as PrefixKey"


LINEARIZABLE_ENDINGS = (LINEARIZABLE_STRICT, b"\x10\x01")
"""How GetRequest asks for it, behind the key: our clients and the original's. Here nothing weaker is ever served."""


class KvReads:
    """Stateless but for its limits. Never raises for what a caller sent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._plain_allowed = limits.key_bytes_max >= PLAIN_KEY_BYTES_MAX

    def get(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetRequest. Calls with the same terms share one read; those with nothing but a key are the fast path."""
        found = list(map(plain_get_key, messages)) if self._plain_allowed else [None] * len(messages)
        keys = [key for key in found if key is not None]
        if len(keys) < len(found):
            others = [at for at, key in enumerate(found) if key is None]
            self._get_others([call_ids[at] for at in others], [messages[at] for at in others], turn)
            call_ids = [call_id for call_id, key in zip(call_ids, found, strict=True) if key is not None]
        if keys:
            turn.reads.append(PointRead(keys, partial(answer_gets, call_ids), call_ids))

    def _get_others(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        ending = next((each for each in LINEARIZABLE_ENDINGS if messages[0].endswith(each)), None)
        if self._plain_allowed and ending is not None:
            cut = -len(ending)
            plain = (plain_get_key(message[:cut]) for message in messages if message.endswith(ending))
            keys = [key for key in plain if key is not None]
            if len(keys) == len(messages):
                answer = partial(answer_gets, call_ids, terms=LINEARIZABLE)
                turn.reads.append(PointRead(keys, answer, call_ids, LINEARIZABLE))
                return
        ids, requests = parse_each(self._parse_get, call_ids, messages, turn)
        groups: dict[ReadTerms, tuple[list[int], list[bytes]]] = {}
        for call_id, (key, terms) in zip(ids, requests, strict=True):
            group_ids, keys = groups.setdefault(terms, ([], []))
            group_ids.append(call_id)
            keys.append(key)
        for terms, (group_ids, keys) in groups.items():
            turn.reads.append(PointRead(keys, partial(answer_gets, group_ids, terms=terms), group_ids, terms))

    def _parse_get(self, message: bytes) -> tuple[bytes, ReadTerms]:
        request = wire.GetRequest.FromString(message)
        terms = read_terms(request)
        return check_key(request.key, self._limits), terms

    def multi_get(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """MultiGetRequest: one view for all keys of a call."""
        ids, requests = parse_each(self._parse_multi_get, call_ids, messages, turn)
        for call_id, (keys, terms) in zip(ids, requests, strict=True):
            answer = partial(answer_multi_get, call_id, keys, terms, self._limits.reply_bytes_max)
            turn.reads.append(PointRead(keys, answer, [call_id], terms))

    def _parse_multi_get(self, message: bytes) -> tuple[list[bytes], ReadTerms]:
        request = wire.MultiGetRequest.FromString(message)
        keys = list(request.keys)
        if len(keys) > self._limits.multi_get_keys_max:
            raise LimitExceeded("keys", self._limits.multi_get_keys_max, len(keys))
        lengths = list(map(len, keys))
        if lengths and not 0 < min(lengths) <= max(lengths) <= self._limits.key_bytes_max:
            for index, key in enumerate(keys):
                check_key(key, self._limits, index)
        check_payload(sum(lengths), self._limits)
        return keys, read_terms(request)

    def iterate(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """IterateRequest. A start that lacks the prefix is told in the stream, as the original does."""
        ids, requests = parse_each(self._parse_iterate, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            if is_wrong_start(request):
                refuse_start(turn, call_id)
                continue
            scan = scan_of(call_id, request)
            if (terms := read_terms(request)) == SEQUENTIAL:
                turn.scans.append(scan)
            else:
                turn.reads.append(PointRead([], partial(open_scan, scan, terms), [call_id], terms))

    @staticmethod
    def _parse_iterate(message: bytes) -> wire.IterateRequest:
        request = wire.IterateRequest.FromString(message)
        check_consistency(request.readConsistency)
        return request


class HasTerms(Protocol):
    """The requests that read."""

    readConsistency: int  # noqa: N815 (the name on the wire)
    minChangeNumber: int  # noqa: N815
    maxStalenessMs: int  # noqa: N815


def read_terms(request: HasTerms) -> ReadTerms:
    """What a request asks for. Raises InvalidRequest for a level that nobody knows."""
    level = check_consistency(request.readConsistency)
    return ReadTerms(level == wire.ReadConsistency.LINEARIZABLE, request.minChangeNumber, request.maxStalenessMs)


def is_wrong_start(request: wire.IterateRequest) -> bool:
    return bool(request.startKey) and not request.startKey.startswith(request.keyPrefix)


def refuse_start(turn: Turn, call_id: int) -> None:
    """In the stream, as the original does."""
    refusal = wire.IterateResponse(status=wire.Status(code=-1, message=WRONG_START))
    turn.items.append((call_id, [refusal.SerializeToString()]))
    turn.finished.append((call_id, 0, "", b"", -1))


def scan_of(call_id: int, request: wire.IterateRequest) -> ScanRequest:
    """Keys with the prefix, from the start key on; backwards, from the start key down."""
    prefix, first = request.keyPrefix, request.startKey
    start, end = prefix, after_prefix(prefix)
    if first and request.reverse:
        end = first + b"\x00"
    elif first:
        start = first
    return ScanRequest(call_id, start, end, request.reverse, request.limit, encode_pair)


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key above all keys that begin with `prefix`; empty when there is none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes((trimmed[-1] + 1,)) if trimmed else b""


def encode_pair(key: bytes, value: bytes, expires_at: int) -> bytes:
    """One message of an Iterate stream."""
    return iterate_reply(key, value, ts_of_expires_at(expires_at))


def live(row: bytes, log_time: int) -> tuple[bytes, int] | None:
    """(value, expiry in seconds on the wire) of a row, or None when it has expired. Raises Corrupt."""
    value, expires_at = decode_row(row)
    if not expires_at:
        return value, 0
    return (value, ts_of_expires_at(expires_at)) if expires_at > log_time else None


def refusal(terms: ReadTerms, view: View) -> DkvError | None:
    """Why this view may not answer; None when it may."""
    if not view.is_readable:
        return NoLeader(NOT_READABLE)
    if terms.change_number_min > view.change_number:
        return StaleRead.behind(terms.change_number_min, view.change_number)
    return None


def answer_gets(call_ids: Sequence[int], turn: Turn, slices: Slices, view: View, terms: ReadTerms = SEQUENTIAL) -> None:
    """GetResponses of calls with the same terms."""
    if (error := refusal(terms, view)) is not None:
        for call_id in call_ids:
            fail(turn, call_id, error)
        return
    token = read_token(view.change_number, terms.is_linearizable, view.staleness_ms)
    start = 0
    for rows in slices:
        replies = get_replies(rows, token)
        if None in replies:
            replies = [
                reply if reply is not None else _expiring(row, view.log_time, token)
                for reply, row in zip(replies, rows, strict=True)
            ]
        end = start + len(rows)
        turn.reply_ids += call_ids[start:end]
        turn.replies += replies  # type: ignore[arg-type]  # no None is left, and a copy would cost
        start = end


def _expiring(row: bytes | None, log_time: int, token: bytes) -> bytes:
    found = live(row, log_time) if row is not None else None
    return missing_reply(token) if found is None else get_reply(*found, token)


def answer_multi_get(
    call_id: int,
    keys: list[bytes],
    terms: ReadTerms,
    reply_bytes_max: int,
    turn: Turn,
    slices: Slices,
    view: View,
) -> None:
    """One MultiGetResponse; ends with LimitExceeded at the part that makes it too long."""
    if (error := refusal(terms, view)) is not None:
        fail(turn, call_id, error)
        return
    parts = [STATUS_OK]
    start = reply_bytes = 0
    for rows in slices:
        end = start + len(rows)
        for part in _pairs(keys[start:end], rows, view.log_time):
            parts.append(part)
            reply_bytes += len(part)
            if reply_bytes > reply_bytes_max:
                fail(turn, call_id, LimitExceeded("reply bytes", reply_bytes_max, reply_bytes))
                return
        start = end
    parts.append(read_token(view.change_number, terms.is_linearizable, view.staleness_ms))
    turn.reply_ids.append(call_id)
    turn.replies.append(b"".join(parts))


def _pairs(keys: Sequence[bytes], rows: Sequence[bytes | None], log_time: int) -> Iterator[bytes]:
    """The pairs of those that are there, encoded: plain ones as one part, else one by one as they are taken."""
    parts = plain_pairs(keys, rows)
    if parts is not None:
        yield b"".join(parts)
        return
    for key, row in zip(keys, rows, strict=True):
        if row is not None and (found := live(row, log_time)) is not None:
            yield pair(key, *found)


def open_scan(scan: ScanRequest, terms: ReadTerms, turn: Turn, slices: Slices, view: View) -> None:
    """Hands the scan to the turn when the view is new enough."""
    if (error := refusal(terms, view)) is not None:
        fail(turn, scan.call_id, error)
    else:
        turn.scans.append(scan)
