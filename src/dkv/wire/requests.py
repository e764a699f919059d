"""A client's requests by hand. Each is the bytes that the message classes would write; tests hold them to it.

A command line client would wait longer for protobuf to load than for its answer, and a busy one would pay a microsecond
a call for objects that live for one line.
"""

from collections.abc import Iterable

from dkv.wire.kv import field
from dkv.wire.varint import tag, varint

KEY, VALUE = b"\x0a", b"\x12"
LINEARIZABLE_STRICT = b"\x10\x01" + tag(101, 0) + b"\x01"
"""Of Get and MultiGet, behind the keys: sees every acknowledged write, or is refused."""
ITERATE_LINEARIZABLE = tag(100, 0) + b"\x01"
_MIN_CHANGE, _MAX_STALENESS = tag(100, 0), tag(102, 0)
_ITERATE_MIN_CHANGE, _ITERATE_MAX_STALENESS = tag(103, 0), tag(104, 0)
_EXPIRE_TS_OF_PUT, _EXPIRE_TS_OF_CAS = b"\x18", b"\x20"
_TTL_MS = tag(100, 0)
_LIMIT, _REVERSE = tag(101, 0), tag(102, 0) + b"\x01"
_SESSION, _SEQUENCE, _LOWEST = tag(110, 2), tag(111, 0), tag(112, 0)
ACKNOWLEDGED_BY_ALL, ACKNOWLEDGED_FAST = tag(113, 0) + b"\x01", tag(113, 0) + b"\x02"
"""Of a write, behind its own fields: who has it before it is answered."""
_PUT_REQUEST = b"\x0a"


def _number(head: bytes, number: int) -> bytes:
    return head + varint(number) if number else b""


def get(key: bytes, terms: bytes = b"") -> bytes:
    """GetRequest. `terms`: LINEARIZABLE_STRICT, or of `at_least`."""
    return KEY + varint(len(key)) + key + terms


def at_least(change_number: int, staleness_ms: int) -> bytes:
    """Terms of a Get or MultiGet: as fresh as this change, and no staler than that; 0 for either: no condition."""
    return _number(_MIN_CHANGE, change_number) + _number(_MAX_STALENESS, staleness_ms)


def iterate_at_least(change_number: int, staleness_ms: int) -> bytes:
    """The same of an Iterate."""
    return _number(_ITERATE_MIN_CHANGE, change_number) + _number(_ITERATE_MAX_STALENESS, staleness_ms)


def put(key: bytes, value: bytes, *, ttl_ms: int = 0, expire_ts: int = 0) -> bytes:
    """PutRequest; of the two expiries at most one is not 0."""
    expiry = _number(_EXPIRE_TS_OF_PUT, expire_ts) + _number(_TTL_MS, ttl_ms) if ttl_ms or expire_ts else b""
    return b"".join((KEY, varint(len(key)), key, VALUE, varint(len(value)), value, expiry))


def delete(key: bytes) -> bytes:
    """DeleteRequest."""
    return KEY + varint(len(key)) + key


def compare_and_set(key: bytes, old: bytes, new: bytes, *, ttl_ms: int = 0, expire_ts: int = 0) -> bytes:
    """CompareAndSetRequest."""
    values = field(VALUE, old) + field(b"\x1a", new)
    return field(KEY, key) + values + _number(_EXPIRE_TS_OF_CAS, expire_ts) + _number(_TTL_MS, ttl_ms)


def multi_get(keys: Iterable[bytes], terms: bytes = b"") -> bytes:
    """MultiGetRequest."""
    parts = [b"%b%b%b" % (KEY, varint(len(key)), key) for key in keys]
    parts.append(terms)
    return b"".join(parts)


def multi_put(puts: Iterable[bytes]) -> bytes:
    """MultiPutRequest of encoded PutRequests."""
    return b"".join([field(_PUT_REQUEST, each) or _PUT_REQUEST + b"\0" for each in puts])


def delete_range(start: bytes, end: bytes) -> bytes:
    """DeleteRangeRequest."""
    return field(b"\x0a", start) + field(b"\x12", end)


def iterate(prefix: bytes, start: bytes, *, terms: bytes = b"", limit: int = 0, reverse: bool = False) -> bytes:
    """IterateRequest. `terms`: ITERATE_LINEARIZABLE, or of `iterate_at_least`."""
    order = _REVERSE if reverse else b""
    return field(b"\x0a", prefix) + field(b"\x12", start) + terms + _number(_LIMIT, limit) + order


def session_head(session: bytes) -> bytes:
    """What all writes of a session have in common."""
    return _SESSION + varint(len(session)) + session + _SEQUENCE


def in_session(head: bytes, sequence: int, lowest_outstanding: int) -> bytes:
    """What any write carries behind its own fields, so that a retry applies once (INVARIANTS 15)."""
    return head + varint(sequence) + (_LOWEST + varint(lowest_outstanding) if lowest_outstanding else b"")
