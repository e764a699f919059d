"""Rows that make the install of a snapshot survive a crash at any step (INVARIANTS 4).

*Installing*: a snapshot is on its way into a fresh block. Written in the same batch as each chunk's rows, so it always
says which chunk is next; a receiver that comes back goes on there. The flip of the metadata row deletes it.

*Installed*: which entry the metadata row was at when it was flipped. As long as the metadata row still is there,
nothing was applied behind it, and the log may have to begin anew; later the row means nothing.
"""

from struct import Struct
from typing import NamedTuple

from dkv.model.errors import Corrupt
from dkv.vbucket.metadata import Metadata, decode_metadata
from dkv.vbucket.rows import INSTALLED_KIND, INSTALLING_KIND, Range

VERSION = 1
_INSTALLING, _INSTALLED, _U32 = Struct(">B16sIQ32s"), Struct(">BQQ"), Struct(">I")


class Installing(NamedTuple):
    """How far a snapshot has come in."""

    snapshot_id: bytes
    """16 bytes."""
    space: int
    """The block that it fills."""
    next_chunk: int
    """Chunks before it are in the block."""
    digest: bytes
    """32 bytes, over those chunks."""
    metadata: bytes
    """The sender's metadata row, as of the snapshot."""


class Place(NamedTuple):
    """An entry of the log."""

    log_index: int
    term: int


def installing_key(vbucket: int) -> bytes:
    return INSTALLING_KIND + _U32.pack(vbucket)


def installing_range() -> Range:
    """Those of every vBucket of the folder."""
    return INSTALLING_KIND, INSTALLED_KIND


def installed_key(vbucket: int) -> bytes:
    return INSTALLED_KIND + _U32.pack(vbucket)


def encode_installing(installing: Installing) -> bytes:
    i = installing
    return _INSTALLING.pack(VERSION, i.snapshot_id, i.space, i.next_chunk, i.digest) + i.metadata


def decode_installing(row: bytes) -> Installing:
    """Raises Corrupt."""
    if len(row) <= _INSTALLING.size or row[0] != VERSION:
        raise Corrupt(f"install: a row of {len(row)} bytes, or of a version that is not known to this release")
    _, snapshot_id, space, next_chunk, digest = _INSTALLING.unpack_from(row)
    metadata = row[_INSTALLING.size :]
    decode_metadata(metadata)
    return Installing(snapshot_id, space, next_chunk, digest, metadata)


def encode_installed(index: int, term: int) -> bytes:
    return _INSTALLED.pack(VERSION, index, term)


def decode_installed(row: bytes) -> Place:
    """Which entry the metadata row was at. Raises Corrupt."""
    if len(row) != _INSTALLED.size or row[0] != VERSION:
        raise Corrupt(f"installed: a row of {len(row)} bytes, or of a version not known to this release")
    _, index, term = _INSTALLED.unpack(row)
    return Place(index, term)


def is_as_installed(metadata: Metadata, installed_row: bytes | None) -> bool:
    """Whether nothing was applied since the metadata row was flipped by an install. Raises Corrupt."""
    if installed_row is None:
        return False
    return decode_installed(installed_row) == (metadata.applied_index, metadata.applied_term)


def installed(sender: Metadata, replica: int, space: int) -> Metadata:
    """The metadata row of a replica that has taken over the state of another: the history begins behind it."""
    return sender._replace(replica=replica, space=space, earliest_change=sender.change_number + 1)
