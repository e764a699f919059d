"""Every operation, once for both clients: a generator that yields calls, is sent their replies, and returns the result.

    operation = get(b"key", terms)
    call = next(operation)              # what to ask
    operation.send(reply)               # raises StopIteration, which carries the result, or yields another call

The one who drives it retries and keeps the time; nothing here waits, and nothing here knows sessions.
"""

from collections.abc import Generator, Iterable, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError

from dkv.client.acknowledgements import Acknowledgement, OnDisk, write
from dkv.client.exchange import EVERYWHERE, Call
from dkv.client.values import Data, Item, Pairs, Stats, as_bytes, counter, counter_bytes, ttl_ms
from dkv.model.errors import InvalidRequest
from dkv.wire import messages as wire
from dkv.wire import methods, replies, requests

T = TypeVar("T")
Operation = Generator[Call, bytes, T]


def get(key: Data, terms: bytes) -> Operation[bytes | None]:
    """The value, or None."""
    return replies.value_of((yield Call(methods.GET_PATH, requests.get(as_bytes(key), terms))))


def get_item(key: Data, terms: bytes) -> Operation[Item | None]:
    """The value with its expiry, and the change number as of which it was read."""
    got = yield from _got(as_bytes(key), terms)
    return None if got is None else Item(got.value, got.applied_change_number, got.expire_ts or None)


def exists(key: Data, terms: bytes) -> Operation[bool]:
    return (yield from _got(as_bytes(key), terms)) is not None


def get_many(keys: Iterable[Data], terms: bytes) -> Operation[dict[bytes, bytes]]:
    """The pairs that are there, all of one moment."""
    asked = [as_bytes(key) for key in keys]
    return replies.multi_get((yield Call(methods.MULTI_GET_PATH, requests.multi_get(asked, terms))))


def put(
    key: Data, value: Data, ttl: float | None, if_absent: bool, acknowledgement: Acknowledgement
) -> Operation[bool]:
    """Whether it was written: always, unless `if_absent`."""
    key, value, ms = as_bytes(key), as_bytes(value, "value"), ttl_ms(ttl)
    if if_absent:
        return (yield from _compare_and_set(key, requests.compare_and_set(key, b"", value, ttl_ms=ms), acknowledgement))
    request = requests.put(key, value, ttl_ms=ms)
    replies.updated((yield write(methods.PUT_PATH, key, request, acknowledgement, may_be_fast=True)))
    return True


def put_many(pairs: Pairs, ttl: float | None, acknowledgement: OnDisk) -> Operation[None]:
    """All of them or none."""
    ms = ttl_ms(ttl)
    listed: Iterable[tuple[Data, Data]] = pairs.items() if isinstance(pairs, Mapping) else pairs
    written = [(as_bytes(key), as_bytes(value, "value")) for key, value in listed]
    puts = [requests.put(key, value, ttl_ms=ms) for key, value in written]
    key = written[0][0] if written else EVERYWHERE
    replies.updated((yield write(methods.MULTI_PUT_PATH, key, requests.multi_put(puts), acknowledgement)))


def compare_and_set(
    key: Data, expected: Data | None, value: Data, ttl: float | None, acknowledgement: OnDisk
) -> Operation[bool]:
    key, old = as_bytes(key), b"" if expected is None else as_bytes(expected, "value")
    request = requests.compare_and_set(key, old, as_bytes(value, "value"), ttl_ms=ttl_ms(ttl))
    return (yield from _compare_and_set(key, request, acknowledgement))


def add(key: Data, by: int, ttl: float | None, acknowledgement: OnDisk) -> Operation[int]:
    """The counter after it: a loop of read and compare-and-set. `ttl` is for a counter that begins."""
    key, ms = as_bytes(key), ttl_ms(ttl)
    while True:
        got = yield from _got(key, requests.LINEARIZABLE_STRICT)
        old, expire_ts = (got.value, got.expire_ts) if got is not None else (b"", 0)
        number = counter(old) + by
        new = counter_bytes(number)
        expiry = {"expire_ts": expire_ts} if got is not None else {"ttl_ms": ms}
        request = requests.compare_and_set(key, old, new, **expiry)
        if (yield from _compare_and_set(key, request, acknowledgement)):
            return number


def touch(key: Data, ttl: float | None, acknowledgement: OnDisk) -> Operation[bool]:
    """Whether there was a key whose expiry to set; None: it never expires. The value stays as others write it."""
    key, ms = as_bytes(key), ttl_ms(ttl)
    while (got := (yield from _got(key, requests.LINEARIZABLE_STRICT))) is not None:
        request = requests.compare_and_set(key, got.value, got.value, ttl_ms=ms)
        if (yield from _compare_and_set(key, request, acknowledgement)):
            return True
    return False


def delete(key: Data, acknowledgement: Acknowledgement) -> Operation[None]:
    key = as_bytes(key)
    request = requests.delete(key)
    replies.updated((yield write(methods.DELETE_PATH, key, request, acknowledgement, may_be_fast=True)))


def delete_range(start: Data, end: Data | None, acknowledgement: OnDisk) -> Operation[None]:
    """Every key in [start, end); None: to the last key."""
    first, behind = as_bytes(start), b"" if end is None else as_bytes(end)
    if end is not None and not behind:
        raise InvalidRequest("an empty end would mean the last key: say None for that")
    request = requests.delete_range(first, behind)
    replies.updated((yield write(methods.DELETE_RANGE_PATH, EVERYWHERE, request, acknowledgement)))


def stats() -> Operation[Stats]:
    message = yield Call(methods.GET_NODE_STATUS_PATH, b"")
    try:
        reply = wire.GetNodeStatusResponse.FromString(message)
    except DecodeError as error:
        raise replies.MalformedReply("not a GetNodeStatusResponse") from error
    vbucket = reply.vBuckets[0] if reply.vBuckets else wire.VBucketStatus()
    return Stats(
        version=reply.version,
        role=reply.role,
        is_serving=reply.isServing,
        uptime_s=reply.uptimeMs / 1_000,
        engine=reply.storage.engine,
        keys_estimate=reply.storage.rowsEstimate,
        disk_bytes=reply.storage.filesBytes + reply.log.diskBytes,
        free_bytes=reply.storage.freeBytes,
        change_number=vbucket.changeNumber,
        oldest_change_number=vbucket.oldestChangeNumber,
        history_id=vbucket.historyId,
        calls=sum(method.calls for method in reply.edge.methods),
        connections=reply.edge.connections,
    )


def _got(key: bytes, terms: bytes) -> Operation[replies.Got | None]:
    return replies.get((yield Call(methods.GET_PATH, requests.get(key, terms))))


def _compare_and_set(key: bytes, request: bytes, acknowledgement: Acknowledgement) -> Operation[bool]:
    return replies.updated((yield write(methods.COMPARE_AND_SET_PATH, key, request, acknowledgement)))
