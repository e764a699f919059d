"""Changes as the RocksDB write batch that a slave of the original writes as it is (encoding `single`).

    sequence 8 bytes LE (the first change number) | count 4 bytes LE | records

One record a change, all in family 1, where the original keeps what expires: a value is a msgpack map of `t`, its expiry
in seconds (2^64-1 for never), and `d`, the data. The slave's engine allots `count` sequence numbers and takes a batch
whose count is wrong into its log before it finds out, and never opens again: so count is the number of records, always.
"""

from collections.abc import Sequence
from struct import Struct

from dkv.model.commands import Delete, DeleteRange, Put
from dkv.model.limits import KEY_BYTES_MAX
from dkv.model.times import NEVER_EXPIRES_TS
from dkv.wire.varint import varint

_HEAD = Struct("<QI")
_PUT, _DELETE, _DELETE_RANGE = b"\x05\x01", b"\x04\x01", b"\x0e\x01"
"""Tag of the record, and the family."""
_VALUE = Struct(">4sQ2s")
_BIN8, _BIN16, _BIN32 = Struct(">BB"), Struct(">BH"), Struct(">BI")
BEHIND_ALL_KEYS = b"\xff" * (KEY_BYTES_MAX + 1)
"""The end of a range without one: there is no such bound in the format."""


def write_batch(first_number: int, changes: Sequence[tuple[Put | Delete | DeleteRange, int]]) -> bytes:
    """The batch of changes, each with its expiry in seconds, 0 for never."""
    return _HEAD.pack(first_number, len(changes)) + b"".join([_record(*each) for each in changes])


def _record(change: Put | Delete | DeleteRange, expire_ts: int) -> bytes:
    match change:
        case Put(key, value):
            return _PUT + _sized(key) + _sized(ttl_value(value, expire_ts or NEVER_EXPIRES_TS))
        case Delete(key):
            return _DELETE + _sized(key)
        case DeleteRange(start, end):
            # An end before the start is refused by the engine when it is too late.
            return _DELETE_RANGE + _sized(start) + _sized(max(start, end or BEHIND_ALL_KEYS))


def ttl_value(data: bytes, expire_ts: int) -> bytes:
    """How the original keeps a value that expires: {"t": seconds, "d": data} in msgpack."""
    size = len(data)
    if size < 1 << 8:
        length = _BIN8.pack(0xC4, size)
    elif size < 1 << 16:
        length = _BIN16.pack(0xC5, size)
    else:
        length = _BIN32.pack(0xC6, size)
    return _VALUE.pack(b"\x82\xa1t\xcf", expire_ts, b"\xa1d") + length + data


def _sized(data: bytes) -> bytes:
    return varint(len(data)) + data
