"""Request bodies for the load generator, encoded by hand: they must not depend on the code that is measured."""

import struct
from collections.abc import Iterable

VALUE = b"0123456789" * 10
assert len(VALUE) == 100


def key(number: int) -> bytes:
    """Keys of equal length, in byte order by number."""
    return b"key-%08d" % number


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def data(field: int, content: bytes) -> bytes:
    """A length-delimited field: bytes, or a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def framed(message: bytes) -> bytes:
    """The message as gRPC sends it: uncompressed flag, length, content."""
    return b"\0" + struct.pack(">I", len(message)) + message


def pair(index: int) -> bytes:
    """Key and value, as fields 1 and 2: DKV's PutRequest and etcd's alike."""
    return data(1, key(index)) + data(2, VALUE)


def dkv_multi_get(indexes: Iterable[int]) -> bytes:
    return b"".join(data(1, key(index)) for index in indexes)


def dkv_multi_put(indexes: Iterable[int]) -> bytes:
    return b"".join(data(1, pair(index)) for index in indexes)


def dkv_iterate(limit: int) -> bytes:
    return data(1, b"key-") + number(101, limit)


def etcd_get(index: int) -> bytes:
    """A serializable read: this node's state, which is what DKV's default level and redis give."""
    return data(1, key(index)) + number(7, 1)


def etcd_range(limit: int) -> bytes:
    return data(1, b"key-") + data(2, b"key.") + number(3, limit) + number(7, 1)


def etcd_txn_get(indexes: Iterable[int]) -> bytes:
    return b"".join(data(2, data(1, etcd_get(index))) for index in indexes)


def etcd_txn_put(indexes: Iterable[int]) -> bytes:
    return b"".join(data(2, data(2, pair(index))) for index in indexes)
