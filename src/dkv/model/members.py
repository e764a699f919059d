"""Who holds a replica of a vBucket, and where that node is reached: the value, and its bytes.

The bytes are in rows, in entries of the log and in the charter of a cluster, always as a list. Layout in
docs/formats/rows.md. Every other string of bytes raises Corrupt.
"""

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from dkv.model.errors import Corrupt

VERSION = 1
"""Persisted: do not renumber."""
TEXT_BYTES_MAX = 65_535
_HEAD, _MEMBER = Struct(">BH"), Struct(">QQHH")


class Member(NamedTuple):
    """One entry of a vBucket's directory."""

    replica: int
    """What Raft knows: random, of every replica that is ever made (INVARIANTS 1)."""
    node: int
    """The random id of the process that holds it, drawn with its folder."""
    address: str
    """host:port at which other nodes, and clients, reach that node."""
    url: str
    """What people are shown: http://host:port, from which the displayed id is made."""


def encode_members(members: Iterable[Member]) -> bytes:
    listed = list(members)
    parts = [_HEAD.pack(VERSION, len(listed))]
    for replica, node, address, url in listed:
        texts = address.encode(), url.encode()
        parts += _MEMBER.pack(replica, node, *map(len, texts)), *texts
    return b"".join(parts)


def decode_members(data: bytes) -> list[Member]:
    """Raises Corrupt, naming the offset."""
    at = 0
    try:
        version, count = _HEAD.unpack_from(data)
        if version != VERSION:
            raise Corrupt(f"members: version {version} at offset 0 is not known to this release")
        at, members = _HEAD.size, []
        for _ in range(count):
            replica, node, address_bytes, url_bytes = _MEMBER.unpack_from(data, at)
            at += _MEMBER.size
            texts = data[at : at + address_bytes], data[at + address_bytes : at + address_bytes + url_bytes]
            members.append(Member(replica, node, *(text.decode() for text in texts)))
            at += address_bytes + url_bytes
    except struct_error:
        raise Corrupt(f"members: ends at offset {len(data)}, inside the field at offset {at}") from None
    except UnicodeDecodeError:
        raise Corrupt(f"members: no UTF-8 behind offset {at}") from None
    if at != len(data):
        raise Corrupt(f"members: {len(data)} bytes, not {at}")
    return members
