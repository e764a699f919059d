"""What callers hand in and get back: keys, values and times to live as they may be written, items and statistics."""

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import NamedTuple

from dkv.model.errors import InvalidRequest

Data = bytes | str
"""A key or value. A `str` is taken as its UTF-8."""
Pairs = Mapping[bytes, Data] | Mapping[str, Data] | Iterable[tuple[Data, Data]]
"""Keys with their values."""

_COUNTER = Struct(">q")
COUNTER_MIN, COUNTER_MAX = -(1 << 63), (1 << 63) - 1
_TTL_S_MAX = 1 << 50


class Item(NamedTuple):
    """A value, and what is known about it."""

    value: bytes
    change_number: int
    """The latest change that the server had applied when it read the value: no later one is in it."""
    expires_at: int | None
    """Seconds since the Unix epoch, rounded up; None: never."""


class Stats(NamedTuple):
    """One server, now."""

    version: str
    role: str
    is_serving: bool
    uptime_s: float
    engine: str
    keys_estimate: int
    """Rows of the engine, expired ones and its own included."""
    disk_bytes: int
    free_bytes: int
    change_number: int
    """The latest change; 0: nothing was ever written."""
    oldest_change_number: int
    """The oldest change still kept for `changes`; `change_number` + 1: none is."""
    history_id: bytes
    calls: int
    """Since the start of the process."""
    connections: int


def as_bytes(data: Data, what: str = "key") -> bytes:
    """The bytes of a key or value. TypeError for anything else: numbers and None are mistakes, not data."""
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    raise TypeError(f"a {what} is bytes or str, not {type(data).__name__}")


def ttl_ms(ttl: float | None) -> int:
    """Milliseconds of a time to live in seconds; None: 0, which means for ever on the wire."""
    if ttl is None:
        return 0
    if not 0 < ttl <= _TTL_S_MAX:
        raise InvalidRequest(f"a time to live is more than 0 seconds, not {ttl}")
    return max(1, round(ttl * 1_000))


def counter(value: bytes) -> int:
    """The number in a counter: 8 bytes, big-endian, signed; an absent or empty value is 0."""
    if not value:
        return 0
    if len(value) != _COUNTER.size:
        raise InvalidRequest(f"not a counter: the value has {len(value)} bytes, a counter has {_COUNTER.size}")
    number: int = _COUNTER.unpack(value)[0]
    return number


def counter_bytes(number: int) -> bytes:
    """The value of a counter."""
    if not COUNTER_MIN <= number <= COUNTER_MAX:
        raise InvalidRequest(f"a counter holds {COUNTER_MIN} to {COUNTER_MAX}, not {number}")
    return _COUNTER.pack(number)
