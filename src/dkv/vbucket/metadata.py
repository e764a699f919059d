"""The metadata row: everything about a replica that must change together with its rows (INVARIANTS 4).

It is in every batch that apply returns, so after any crash the engine holds the state of exactly one applied index and
says which; the log is replayed from there. Layout in docs/formats/rows.md.
"""

from struct import Struct, pack
from struct import error as struct_error
from typing import NamedTuple

from dkv.model.errors import Corrupt
from dkv.ports.consensus import Conf

VERSION = 1
_FIXED = Struct(">BIQIQQQQQ16sB")
_COUNT = Struct(">H")


class Metadata(NamedTuple):
    """One metadata row, read; in the order of its fields there."""

    vbucket: int
    replica: int
    """The random Raft id of this replica (INVARIANTS 1)."""
    space: int
    """First of the block of spaces that holds the rows."""
    applied_index: int
    applied_term: int
    change_number: int
    """The latest that was taken."""
    earliest_change: int
    """The oldest change still in the history of this replica; `change_number + 1` when none is."""
    log_time: int
    history_id: bytes
    """16 bytes (INVARIANTS 12)."""
    members: Conf


def encode_metadata(metadata: Metadata, conf: bytes | None = None) -> bytes:
    """`conf`: the members, encoded before."""
    *numbers, members = metadata
    head = _FIXED.pack(VERSION, *numbers, members[4])
    return head + (encode_conf(members) if conf is None else conf)


def encode_conf(members: Conf) -> bytes:
    """The end of a row, the same as long as the members are."""
    return b"".join([pack(f">H{len(ids)}Q", len(ids), *ids) for ids in members[:4]])


def decode_metadata(row: bytes) -> Metadata:
    """Raises Corrupt, naming the offset."""
    if not row or row[0] != VERSION:
        raise Corrupt(f"metadata: version {row[0] if row else 'missing'} at offset 0 is not known to this release")
    at = 0
    try:
        _, vbucket, replica, space, index, term, change, earliest, log_time, history, leave = _FIXED.unpack_from(row)
        at = _FIXED.size
        groups: list[list[int]] = []
        for _ in range(4):
            ids = Struct(f">{_COUNT.unpack_from(row, at)[0]}Q")
            groups.append(list(ids.unpack_from(row, at + 2)))
            at += 2 + ids.size
    except struct_error:
        raise Corrupt(f"metadata: ends at offset {len(row)}, inside the field at offset {at}") from None
    if at != len(row):
        raise Corrupt(f"metadata: {len(row) - at} bytes too many from offset {at}")
    if leave > 1:
        raise Corrupt(f"metadata: auto leave is {leave} at offset {_FIXED.size - 1}")
    voters, learners, outgoing, learners_next = groups
    members: Conf = (voters, learners, outgoing, learners_next, bool(leave))
    return Metadata(vbucket, replica, space, index, term, change, earliest, log_time, history, members)
