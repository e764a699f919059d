"""The clients' own spelling of the wire: a second, independent reading of the table in COMPATIBILITY 1.2 and 1.7.

On purpose not `dkv.wire`: a mistake there would otherwise be made on both sides and cancel out. Only what simulated
clients need; proto3 has two wire types in these messages, varint (0) and length-delimited (2).
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from dkv.model.commands import Session
from dkv.testing.edge import Reply
from dkv.testing.history import Call, Entry, History, Kind

MS = 1000
AFTER_SLASH = bytes([ord("/") + 1])
"""Ends the range of keys that begin with `group/`."""


class Terms(NamedTuple):
    """What a read asks for beyond its keys."""

    is_linearizable: bool = False
    number_min: int = 0
    staleness_ms_max: int = 0


NO_TERMS = Terms()
BY_ALL = 1
"""Acknowledgement by every voter."""
STALENESS_UNKNOWN = (1 << 64) - 1


class Method(StrEnum):
    """Paths of the calls that simulated clients make."""

    PUT = "/dkv.serverpb.DKV/Put"
    DELETE = "/dkv.serverpb.DKV/Delete"
    CAS = "/dkv.serverpb.DKV/CompareAndSet"
    MULTI_PUT = "/dkv.serverpb.DKV/MultiPut"
    GET = "/dkv.serverpb.DKV/Get"
    MULTI_GET = "/dkv.serverpb.DKV/MultiGet"
    ITERATE = "/dkv.serverpb.DKV/Iterate"
    DELETE_RANGE = "/dkv.v1.KV/DeleteRange"


Fields = dict[int, list[int | bytes]]


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def field(number: int, value: int | bytes) -> bytes:
    """One field; nothing for a zero or empty value, as proto3 has it."""
    if not value:
        return b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def parse(message: bytes) -> Fields:
    """All fields of a message, by number. ValueError for other wire types or a message cut short."""
    found: Fields = {}
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        size, position = _read_varint(message, position)
        value: int | bytes = size
        if tag & 7 == 2:
            value, position = message[position : position + size], position + size
        elif tag & 7 != 0:
            raise ValueError(f"unexpected wire type {tag & 7}")
        if position > len(message):
            raise ValueError("the message is cut short")
        found.setdefault(tag >> 3, []).append(value)
    return found


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise ValueError("the message is cut short")


def request(
    method: Method,
    entries: tuple[Entry, ...],
    session: Session | None,
    terms: Terms = NO_TERMS,
    *,
    by_all: bool = False,
) -> bytes:
    """The message of a call."""
    first, end = entries[0], _session(session) + field(113, BY_ALL if by_all else 0)
    match method:
        case Method.PUT:
            return _put(first) + end
        case Method.MULTI_PUT:
            return b"".join(field(1, _put(entry)) for entry in entries) + end
        case Method.DELETE:
            return field(1, first.key) + end
        case Method.CAS:
            message = field(1, first.key) + field(2, first.expected) + field(3, first.value)
            return message + field(4, first.expires_at // MS) + end
        case Method.GET:
            return field(1, first.key) + _terms(terms, 2, 100, 102)
        case Method.MULTI_GET:
            return b"".join(field(1, entry.key) for entry in entries) + _terms(terms, 2, 100, 102)
        case Method.ITERATE:
            return field(1, common_prefix(entries)) + _terms(terms, 100, 103, 104)
        case Method.DELETE_RANGE:
            prefix = common_prefix(entries)
            return field(1, prefix) + field(2, prefix[:-1] + AFTER_SLASH) + end


def record(history: History, call: Call, method: Method, reply: Reply) -> None:
    """Ends `call` with what a reply of code OK says."""
    if call.kind is Kind.GET:
        fields = parse(reply.message) if method is not Method.ITERATE else {}
        applied, staleness_ms = _one(fields, 102), fields.get(104, [STALENESS_UNKNOWN])[-1]
        assert isinstance(applied, int)
        assert isinstance(staleness_ms, int)
        told_ms = None if staleness_ms == STALENESS_UNKNOWN else staleness_ms
        history.ok(call, seen=tuple(_seen(call, method, reply)), applied=applied, staleness_ms=told_ms)
        return
    fields = parse(reply.message)
    took_effect = method is not Method.CAS or bool(_one(fields, 2))
    number = _one(fields, 100)
    assert isinstance(number, int)
    history.ok(call, took_effect=took_effect, change_number=number)


def common_prefix(entries: tuple[Entry, ...]) -> bytes:
    """Keys of a group are `group/member`."""
    return entries[0].key.split(b"/")[0] + b"/"


def _put(entry: Entry) -> bytes:
    times = field(3, entry.expires_at // MS) + field(100, entry.ttl_ms)
    return field(1, entry.key) + field(2, entry.value) + times


def _terms(terms: Terms, consistency: int, number_min: int, staleness: int) -> bytes:
    """By the numbers of the fields."""
    levels = field(consistency, terms.is_linearizable) + field(number_min, terms.number_min)
    return levels + field(staleness, terms.staleness_ms_max)


def _session(session: Session | None) -> bytes:
    if session is None:
        return b""
    return field(110, session.session) + field(111, session.sequence) + field(112, session.lowest_outstanding)


def _one(fields: Fields, number: int) -> int | bytes:
    return fields.get(number, [0])[-1]


def _seen(call: Call, method: Method, reply: Reply) -> Iterator[bytes | None]:
    if method is Method.GET:
        fields = parse(reply.message)
        yield _bytes(fields, 2) if _one(fields, 100) else None
        return
    if method is Method.MULTI_GET:
        pairs = [parse(pair) for pair in parse(reply.message).get(2, []) if isinstance(pair, bytes)]
        found = {_bytes(pair, 1): _bytes(pair, 2) for pair in pairs}
    else:
        found = {_bytes(pair, 2): _bytes(pair, 3) for pair in map(parse, reply.items)}
    for entry in call.entries:
        yield found.pop(entry.key, None)
    if found:
        raise ValueError(f"keys that were not asked for: {sorted(found)}")


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    assert isinstance(value, bytes)
    return value
