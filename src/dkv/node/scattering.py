"""Calls that concern several vBuckets: asked of each as calls of its own, and answered when all have answered.

The parts have ids of their own, far below those of other nodes' calls; they are served, forwarded and refused like any
call, and what becomes of them is taken out of the turn here. So one vBucket without a leader holds up what needs it,
and nothing else.

| call | of several vBuckets |
|---|---|
| MultiGet | one view of each vBucket; the pairs in the order of the request |
| MultiPut | refused: it is atomic, and no two vBuckets are |
| DeleteRange | each its part; not atomic. If some parts failed, and some may not have: the outcome is unknown |
| GetChanges | refused, unless it names one: numbers are of a vBucket |
| Iterate | a merged scan, opened when all vBuckets can be read on the terms that were asked for |
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Self

from google.protobuf.message import DecodeError

from dkv.model.errors import DkvError, InvalidRequest, LimitExceeded, OutcomeUnknown
from dkv.model.limits import Limits
from dkv.ports.edge import CallBatch, Finish
from dkv.services.calls import MALFORMED, fail
from dkv.services.kv_reads import is_wrong_start, read_terms, refusal, refuse_start, scan_of
from dkv.services.turn import PointRead, ReadTerms, ScanRequest, Slices, Turn, View
from dkv.vbucket.routing import group_by_vbucket, vbucket_of
from dkv.wire import messages as wire
from dkv.wire.kv import STATUS_OK, plain_get_key, plain_put
from dkv.wire.methods import (
    COMPARE_AND_SET,
    DELETE,
    DELETE_RANGE,
    GET,
    GET_CHANGES,
    ITERATE,
    METHODS,
    MULTI_GET,
    MULTI_PUT,
    PUT,
)

FIRST_ID = -(1 << 60)
"""Ids of parts begin here and go down; those of other nodes' calls stay above."""
BY_KEY: dict[str, type["HasKey"]] = {
    METHODS[PUT][0]: wire.PutRequest,
    METHODS[GET][0]: wire.GetRequest,
    METHODS[DELETE][0]: wire.DeleteRequest,
    METHODS[COMPARE_AND_SET][0]: wire.CompareAndSetRequest,
}
"""Paths whose requests are about one key."""
SEVERAL = "the keys of a MultiPut must lie in one vBucket, as it is atomic; these lie in {}"
UNNAMED = "this database has {} vBuckets, each with change numbers of its own: name one in vBucket (102)"
Routed = tuple[int, CallBatch]
"""(vBucket, calls of one method)"""


class HasKey(Protocol):
    """A message about one key."""

    key: bytes

    @classmethod
    def FromString(cls, message: bytes) -> Self: ...  # noqa: N802 (protobuf's name)


@dataclass(slots=True)
class Scattered:
    """One call in parts."""

    call_id: int
    merge: Callable[[Turn, "Scattered"], None]
    """Answers the call when all parts have answered well."""
    left: int
    replies: list[bytes] = field(default_factory=list)
    failures: list[Finish] = field(default_factory=list)
    is_write: bool = False
    reply_bytes: int = 0

    def take(self, reply: bytes, reply_bytes_max: int) -> None:
        """The answer to a part. What makes all together too long is counted and not kept."""
        self.reply_bytes += len(reply)
        self.replies.append(reply if self.reply_bytes <= reply_bytes_max else b"")


class Scattering:
    """Owned by a node with several vBuckets."""

    def __init__(self, methods: Sequence[str], vbuckets: Sequence[int], limits: Limits) -> None:
        """`methods`: the paths of what is served, by number. `limits` hold for a call, not for each of its parts."""
        self._limits = limits
        self._methods, self._vbuckets, self._count = methods, vbuckets, len(vbuckets)
        self._spread = {
            METHODS[MULTI_GET][0]: self._multi_get,
            METHODS[MULTI_PUT][0]: self._multi_put,
            METHODS[DELETE_RANGE][0]: self._delete_range,
            METHODS[GET_CHANGES][0]: self._get_changes,
        }
        self._parts: dict[int, Scattered] = {}
        self._last_id = FIRST_ID
        self._scans: list[ScanRequest] = []
        """To be opened in the next turn, over all vBuckets."""

    @property
    def has_work(self) -> bool:
        return bool(self._scans)

    def route(
        self, calls: Iterable[CallBatch], turns: MutableMapping[int, Turn], home_vbucket: int
    ) -> Iterator[Routed]:
        """The calls by the vBucket that answers them. What is wrong is refused in the home's turn."""
        home = turns[home_vbucket]
        home.scans += self._scans
        self._scans = []
        for method, call_ids, messages in calls:
            path = self._methods[method]
            if path in BY_KEY:
                keys = [_key_of(message, BY_KEY[path]) for message in messages]
                for vbucket, places in group_by_vbucket(keys, self._count).items():
                    yield vbucket, (method, [call_ids[at] for at in places], [messages[at] for at in places])
            elif path == METHODS[ITERATE][0]:
                for call_id, message in zip(call_ids, messages, strict=True):
                    self._iterate(call_id, message, turns, home)
            elif path in self._spread:
                yield from self._spread_each(self._spread[path], method, call_ids, messages, home)
            else:
                yield home_vbucket, (method, call_ids, messages)

    def _spread_each(
        self,
        spread: Callable[[int, int, bytes], list[Routed]],
        method: int,
        call_ids: Sequence[int],
        messages: Sequence[bytes],
        home: Turn,
    ) -> Iterator[Routed]:
        for call_id, message in zip(call_ids, messages, strict=True):
            try:
                yield from spread(method, call_id, message)
            except DecodeError:
                fail(home, call_id, MALFORMED)
            except DkvError as error:
                fail(home, call_id, error)

    def _part(self, scattered: Scattered) -> int:
        self._last_id -= 1
        self._parts[self._last_id] = scattered
        return self._last_id

    def _multi_get(self, method: int, call_id: int, message: bytes) -> list[Routed]:
        keys = list(wire.MultiGetRequest.FromString(message).keys)
        if len(keys) > self._limits.multi_get_keys_max:
            raise LimitExceeded("keys", self._limits.multi_get_keys_max, len(keys))
        groups = group_by_vbucket(keys, self._count)
        if len(groups) <= 1:
            return [(next(iter(groups), self._vbuckets[0]), (method, [call_id], [message]))]
        scattered = Scattered(call_id, partial(merge_multi_gets, keys, self._limits.reply_bytes_max), len(groups))
        routed: list[Routed] = []
        for vbucket, places in groups.items():
            part = wire.MultiGetRequest.FromString(message)
            del part.keys[:]
            part.keys.extend(keys[at] for at in places)
            routed.append((vbucket, (method, [self._part(scattered)], [part.SerializeToString()])))
        return routed

    def _multi_put(self, method: int, call_id: int, message: bytes) -> list[Routed]:
        keys = [put.key for put in wire.MultiPutRequest.FromString(message).putRequest]
        vbuckets = {vbucket_of(key, self._count) for key in keys} or {self._vbuckets[0]}
        if len(vbuckets) > 1:
            raise InvalidRequest(SEVERAL.format(len(vbuckets)))
        return [(vbuckets.pop(), (method, [call_id], [message]))]

    def _get_changes(self, method: int, call_id: int, message: bytes) -> list[Routed]:
        vbucket = wire.GetChangesRequest.FromString(message).vBucket
        if not vbucket:
            raise InvalidRequest(UNNAMED.format(self._count))
        if vbucket not in self._vbuckets:
            raise InvalidRequest(f"there is no vBucket {vbucket} here")
        return [(vbucket, (method, [call_id], [message]))]

    def _delete_range(self, method: int, call_id: int, message: bytes) -> list[Routed]:
        scattered = Scattered(call_id, merge_delete_ranges, self._count, is_write=True)
        return [(vbucket, (method, [self._part(scattered)], [message])) for vbucket in self._vbuckets]

    def _iterate(self, call_id: int, message: bytes, turns: MutableMapping[int, Turn], home: Turn) -> None:
        """Asks every vBucket whether it can be read on these terms, by a read of no key."""
        try:
            request = wire.IterateRequest.FromString(message)
            if is_wrong_start(request):
                refuse_start(home, call_id)
                return
            terms = read_terms(request)
        except DecodeError:
            fail(home, call_id, MALFORMED)
            return
        except DkvError as error:
            fail(home, call_id, error)
            return
        scattered = Scattered(call_id, partial(self._open, scan_of(call_id, request)), self._count)
        for vbucket in self._vbuckets:
            part = self._part(scattered)
            turns[vbucket].reads.append(PointRead([], partial(_arrive, part, terms), [part], terms))

    def _open(self, scan: ScanRequest, turn: Turn, scattered: Scattered) -> None:
        self._scans.append(scan)

    def collect(self, turn: Turn) -> None:
        """Takes the answers to parts out of the turn, also where their caller has gone, and puts in those of the calls
        that are whole."""
        if not turn.reply_ids and not turn.finished:
            return
        whole: list[Scattered] = []
        if min(turn.reply_ids, default=0) < FIRST_ID:
            replies = list(zip(turn.reply_ids, turn.replies, strict=True))
            turn.reply_ids = [call_id for call_id, _ in replies if call_id > FIRST_ID]
            turn.replies = [reply for call_id, reply in replies if call_id > FIRST_ID]
            for call_id, reply in replies:
                if call_id < FIRST_ID and (scattered := self._parts.pop(call_id, None)) is not None:
                    scattered.take(reply, self._limits.reply_bytes_max)
                    _count_down(scattered, whole)
        if any(finish[0] < FIRST_ID for finish in turn.finished):
            finished, turn.finished = turn.finished, [each for each in turn.finished if each[0] > FIRST_ID]
            for finish in finished:
                if finish[0] < FIRST_ID and (scattered := self._parts.pop(finish[0], None)) is not None:
                    scattered.failures.append(finish)
                    _count_down(scattered, whole)
        for scattered in whole:
            _end(scattered, turn)

    def forget(self, closed: Iterable[int]) -> None:
        """These callers have gone; the parts of their calls go on, and nobody is told."""
        gone = set(closed)
        self._parts = {part: each for part, each in self._parts.items() if each.call_id not in gone}
        self._scans = [scan for scan in self._scans if scan.call_id not in gone]


def _key_of(message: bytes, request: type[HasKey]) -> bytes:
    """The key as the service will read it; nothing of a message that it will refuse."""
    if (key := plain_get_key(message)) is not None:
        return key
    if (pair := plain_put(message)) is not None:
        return pair[0]
    try:
        return request.FromString(message).key
    except DecodeError:
        return b""


def _count_down(scattered: Scattered, whole: list[Scattered]) -> None:
    scattered.left -= 1
    if not scattered.left:
        whole.append(scattered)


def _end(scattered: Scattered, turn: Turn) -> None:
    unknown = [finish for finish in scattered.failures if finish[1] == OutcomeUnknown.code]
    if not scattered.failures:
        scattered.merge(turn, scattered)
    elif scattered.is_write and (scattered.replies or unknown):
        reason = (unknown or scattered.failures)[0][2]
        text = f"done in {len(scattered.replies)} vBuckets, not in {len(scattered.failures)}: {reason}"
        fail(turn, scattered.call_id, OutcomeUnknown(text))
    else:
        _, *why = scattered.failures[0]
        turn.finished.append((scattered.call_id, *why))  # type: ignore[arg-type]  # the rest of a Finish


def _arrive(part: int, terms: ReadTerms, turn: Turn, slices: Slices, view: View) -> None:
    """A vBucket can be read on these terms, or says why not."""
    if (error := refusal(terms, view)) is not None:
        fail(turn, part, error)
    else:
        turn.reply_ids.append(part)
        turn.replies.append(b"")


def merge_multi_gets(keys: Sequence[bytes], reply_bytes_max: int, turn: Turn, scattered: Scattered) -> None:
    """The pairs in the order of the request. Change numbers of several vBuckets are no one's: they are left out."""
    if scattered.reply_bytes > reply_bytes_max:
        fail(turn, scattered.call_id, LimitExceeded("reply bytes", reply_bytes_max, scattered.reply_bytes))
        return
    parts = [wire.MultiGetResponse.FromString(reply) for reply in scattered.replies]
    found = {pair.key: pair for part in parts for pair in part.keyValues}
    served = min((part.servedConsistency for part in parts), default=0)
    stale_ms = max((part.stalenessMs for part in parts), default=0)
    merged = wire.MultiGetResponse(
        status=wire.Status(),
        keyValues=[found[key] for key in keys if key in found],
        servedConsistency=served,
        stalenessMs=stale_ms,
    )
    turn.reply_ids.append(scattered.call_id)
    turn.replies.append(merged.SerializeToString())


def merge_delete_ranges(turn: Turn, scattered: Scattered) -> None:
    """Done everywhere."""
    turn.reply_ids.append(scattered.call_id)
    turn.replies.append(STATUS_OK)
