"""A client's replies by hand: bytes to what a caller wants to know. MalformedReply for anything that is not protobuf.

Fields that are not known here are passed over, so newer servers may say more.
"""

from collections.abc import Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dkv.wire import messages as wire
from dkv.wire.kv import STATUS_OK
from dkv.wire.varint import tag

_UPDATED = b"\x10\x01"
_FOUND = tag(100, 0) + b"\x01"
UINT64_MAX = (1 << 64) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
Fields = dict[int, int | bytes]


class MalformedReply(ValueError):
    """The bytes are not a message."""


class RequestRefused(ValueError):
    """The server did not like the request, and said so in a reply."""


class Got(NamedTuple):
    """A GetResponse of a key that is present."""

    value: bytes
    expire_ts: int
    applied_change_number: int


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    for byte in data[at : at + 10]:
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & UINT64_MAX, at
        shift += 7
    raise MalformedReply("a number does not end")


def parse(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) in order: an int, or the bytes of a length-delimited field. Fixed fields, of which our
    messages have none, are passed over."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise MalformedReply(f"wire type {kind} is not known")
        if at + size > end:
            raise MalformedReply("a field is longer than its message")
        if kind == _BYTES:
            yield key >> 3, data[at : at + size]
        at += size


def _fields(data: bytes, *, of_bytes: tuple[int, ...]) -> Fields:
    """The last value of each field. Fields in `of_bytes` hold bytes, all others that are asked for hold numbers."""
    found: Fields = {}
    for number, value in parse(data):
        if isinstance(value, bytes) == (number in of_bytes):
            found[number] = value
    return found


def _int(fields: Fields, number: int) -> int:
    value = fields.get(number, 0)
    return value if isinstance(value, int) else 0


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, b"")
    return value if isinstance(value, bytes) else b""


def value_of(reply: bytes) -> bytes | None:
    """The value of a GetResponse; None when the key is absent."""
    if reply[:3] == b"\x0a\x00\x12" and len(reply) > 3 and reply[3] < 0x80:
        end = 4 + reply[3]
        if reply[end : end + 3] == _FOUND:
            return reply[4:end]
    got = get(reply)
    return None if got is None else got.value


def get(reply: bytes) -> Got | None:
    """A GetResponse; None when the key is absent. Servers of the original do not say `found`: there a value says it."""
    fields = _fields(reply, of_bytes=(1, 2))
    value = _bytes(fields, 2)
    if not value and not _int(fields, 100):
        return None
    return Got(value, _int(fields, 101), _int(fields, 102))


def updated(reply: bytes) -> bool:
    """Of a CompareAndSetResponse, whether it took effect. Replies to other writes, which say nothing more than that
    they are there, are checked in the same way."""
    if reply[:2] == STATUS_OK:
        return reply[2:4] == _UPDATED
    return bool(_int(_fields(reply, of_bytes=(1, 101)), 2))


def change_of(reply: bytes) -> tuple[int, bytes]:
    """The change number and history id in a reply to a write; (0, b"") where it has none."""
    fields = _fields(reply, of_bytes=(1, 101))
    return _int(fields, 100), _bytes(fields, 101)


def pairs(messages: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The pairs of IterateResponses. Raises RequestRefused for the one failure that is told inside a stream."""
    found = _plain_pairs(messages)
    if found is not None:
        return found
    try:
        replies = [wire.IterateResponse.FromString(message) for message in messages]
    except DecodeError as error:
        raise MalformedReply("not an IterateResponse") from error
    refusals = [reply.status.message for reply in replies if reply.status.code != 0]
    if refusals:
        raise RequestRefused(refusals[0])
    return [(reply.key, reply.value) for reply in replies]


def _plain_pairs(messages: list[bytes]) -> list[tuple[bytes, bytes]] | None:
    """Pairs in the plain form: a short key, a value of 1 byte to 16 KiB, no expiry. None: there are others."""
    found = []
    for data in messages:
        # status, then the key with its length in one byte, then the value with its length in one or two
        if data[:3] != b"\x0a\x00\x12" or len(data) < 7 or data[3] > 0x7F:
            return None
        key_end = 4 + data[3]
        if len(data) < key_end + 3 or data[key_end] != 0x1A:
            return None
        size, start = data[key_end + 1], key_end + 2
        if size > 0x7F:
            size, start = size + (data[start] << 7) - 0x80, start + 1
            if data[start - 1] > 0x7F:
                return None
        if start + size != len(data):
            return None
        found.append((data[4:key_end], data[start:]))
    return found


def multi_get(reply: bytes) -> dict[bytes, bytes]:
    """The pairs of a MultiGetResponse."""
    try:
        found = wire.MultiGetResponse.FromString(reply).keyValues
    except DecodeError as error:
        raise MalformedReply("not a MultiGetResponse") from error
    return {each.key: each.value for each in found}
