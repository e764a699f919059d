"""Messages of the change feed by hand: what protobuf's objects would cost a change several times over.

A message is its changes, each framed as an entry of `changes`, and behind them the reader's position. So the changes of
an entry are encoded once, whoever reads them and in whichever message they travel. Property tests hold this to the
message classes, byte for byte.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dkv.model.commands import Command, Put
from dkv.wire import messages
from dkv.wire.kv import field
from dkv.wire.varint import tag, varint

PUT, DELETE, DELETE_RANGE = messages.Change.PUT, messages.Change.DELETE, messages.Change.DELETE_RANGE

_CHANGE = b"\x0a"
_NUMBER = b"\x08"
_KIND = b"\x10"
_KEY, _VALUE, _END_KEY = b"\x1a", b"\x22", b"\x2a"
_EXPIRY, _LOG_TIME = b"\x30", b"\x38"
_NEXT, _LATEST, _OLDEST, _TIME, _HISTORY_ID = tag(2, 0), tag(3, 0), tag(4, 0), tag(5, 0), tag(6, 2)
_VBUCKET, _POSITIONS = tag(7, 0), tag(8, 2)
_POSITION_VBUCKET = tag(1, 0)

_SHORT = 16_384
"""Lengths below it take two bytes at most; nearly all have."""
_LENGTHS = [varint(length) for length in range(_SHORT)]
_NUMBER_LOW = [_NUMBER + bytes((low | 0x80,)) for low in range(128)]
"""Tag and low seven bits of a change number of at least 128."""
_KEYS = [_KIND + varint(PUT) + _KEY + length for length in _LENGTHS]
"""Kind of a put, and the head of its key, by length."""
_VALUES = [_VALUE + length for length in _LENGTHS]
_VALUES[0] = b""


def plain_puts(first_number: int, changes: Iterable[Command], log_time: int) -> bytes | None:
    """Changes that are nothing but puts without expiry, with short keys and values; None: they are not."""
    number = first_number
    if number < 128:
        return None
    high, tail = varint(number >> 7), _LOG_TIME + varint(log_time)
    fixed = len(_NUMBER_LOW[0]) + len(high) + len(tail)
    parts: list[bytes] = []
    for each in changes:
        if type(each) is not Put:
            return None
        key, value, expires_at, _ = each
        key_bytes, value_bytes = len(key), len(value)
        if expires_at or key_bytes >= _SHORT or value_bytes >= _SHORT:
            return None
        low = number & 0x7F
        if not low:
            high = varint(number >> 7)
            fixed = len(_NUMBER_LOW[0]) + len(high) + len(tail)
        key_head, value_head = _KEYS[key_bytes], _VALUES[value_bytes]
        size = fixed + len(key_head) + key_bytes + len(value_head) + value_bytes
        length = _LENGTHS[size] if size < _SHORT else varint(size)
        parts += (_CHANGE, length, _NUMBER_LOW[low], high, key_head, key, value_head, value, tail)
        number += 1
    return b"".join(parts)


def change(number: int, kind: int, key: bytes, value: bytes, end_key: bytes, expire_ts: int, log_time: int) -> bytes:
    """One change of any kind, framed as an entry of `changes`."""
    body = b"".join(
        (
            _NUMBER + varint(number),
            _KIND + varint(kind),
            field(_KEY, key),
            field(_VALUE, value),
            field(_END_KEY, end_key),
            _EXPIRY + varint(expire_ts) if expire_ts else b"",
            _LOG_TIME + varint(log_time) if log_time else b"",
        )
    )
    return _CHANGE + varint(len(body)) + body


class Position(NamedTuple):
    """How far a reader is in one vBucket, and what there is."""

    vbucket: int
    next_number: int
    latest: int
    oldest: int
    """`latest` + 1 when no change is kept."""
    log_time: int
    history_id: bytes


def position(at: Position) -> bytes:
    """What follows the changes in every message; alone it is a progress mark of one vBucket."""
    return _numbers(at) + _VBUCKET + varint(at.vbucket)


def positions(of: Iterable[Position]) -> bytes:
    """A progress mark of several vBuckets."""
    return b"".join([field(_POSITIONS, _POSITION_VBUCKET + varint(at.vbucket) + _numbers(at)) for at in of])


def _numbers(at: Position) -> bytes:
    """The fields that a message and a position have in common, under the same numbers."""
    _, next_number, latest, oldest, log_time, history_id = at
    numbers = ((_NEXT, next_number), (_LATEST, latest), (_OLDEST, oldest), (_TIME, log_time))
    parts = [head + varint(number) for head, number in numbers if number]
    return b"".join(parts) + field(_HISTORY_ID, history_id)
