"""A snapshot between two nodes: an offer, chunks, an end, and what its receiver says. See docs/formats/peer.md.

Rows travel by their place in the block, not by its number, which is another one at each end.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from dkv.model.errors import InvalidRequest

ID_BYTES, DIGEST_BYTES = 16, 32
_OFFER, _CHUNK, _SAID = Struct(">16sQI"), Struct(">16sQ32s"), Struct(">16sQ?")
_ROW, _DONE = Struct(">II"), Struct(">16sQH")
FIRST_DIGEST = bytes(DIGEST_BYTES)
"""Before the first chunk."""
Row = tuple[bytes, bytes]


class Offer(NamedTuple):
    """What is to come. Opens a transfer, or opens it again."""

    snapshot_id: bytes
    replica: int
    """For this replica of the receiver's."""
    metadata: bytes
    """The sender's metadata row."""
    rows: Sequence[Row]
    """Those of the vBucket in space 0, by their whole keys."""


class Chunk(NamedTuple):
    """Some rows. An empty list ends the snapshot."""

    snapshot_id: bytes
    number: int
    """From 0."""
    digest: bytes
    """Over this chunk and all before it."""
    rows: Sequence[Row]
    """(offset in the block: u8 | key, row)."""


class Received(NamedTuple):
    """What the receiver has safe on its disk."""

    snapshot_id: bytes
    next_chunk: int
    must_repeat: bool
    """Send from `next_chunk` on again: something was lost on the way."""


class Done(NamedTuple):
    """The end of a transfer, as the receiver sees it."""

    snapshot_id: bytes
    installed_index: int
    """Installed, or had before; 0: refused."""
    reason: str


def pack_offer(offer: Offer) -> bytes:
    head = _OFFER.pack(offer.snapshot_id, offer.replica, len(offer.metadata))
    return head + offer.metadata + _pack_rows(offer.rows)


def parse_offer(body: bytes) -> Offer:
    """Raises InvalidRequest."""
    try:
        snapshot_id, replica, metadata_bytes = _OFFER.unpack_from(body)
    except struct_error:
        raise InvalidRequest(f"an offer of {len(body)} bytes") from None
    at = _OFFER.size + metadata_bytes
    return Offer(snapshot_id, replica, body[_OFFER.size : at], _parse_rows(body, at))


def pack_chunk(snapshot_id: bytes, number: int, digest_before: bytes, rows: Sequence[Row]) -> tuple[bytes, bytes]:
    """(body, digest)."""
    packed = _pack_rows(rows)
    digest = digest_after(digest_before, packed)
    return _CHUNK.pack(snapshot_id, number, digest) + packed, digest


def parse_chunk(body: bytes) -> Chunk:
    """Raises InvalidRequest. Whether the digest is right depends on what was before: `digest_after`."""
    try:
        snapshot_id, number, digest = _CHUNK.unpack_from(body)
    except struct_error:
        raise InvalidRequest(f"a chunk of {len(body)} bytes") from None
    return Chunk(snapshot_id, number, digest, _parse_rows(body, _CHUNK.size))


def rows_of(chunk_body: bytes) -> bytes:
    """What of a chunk the digest is over."""
    return chunk_body[_CHUNK.size :]


def digest_after(before: bytes, packed_rows: bytes) -> bytes:
    """Of everything up to and including these rows."""
    digest = sha256(before)
    digest.update(packed_rows)
    return digest.digest()


def pack_received(received: Received) -> bytes:
    return _SAID.pack(*received)


def parse_received(body: bytes) -> Received:
    """Raises InvalidRequest."""
    try:
        return Received(*_SAID.unpack(body))
    except struct_error:
        raise InvalidRequest(f"a receipt of {len(body)} bytes") from None


def pack_done(done: Done) -> bytes:
    reason = done.reason.encode()[:1_000]
    return _DONE.pack(done.snapshot_id, done.installed_index, len(reason)) + reason


def parse_done(body: bytes) -> Done:
    """Raises InvalidRequest."""
    try:
        snapshot_id, index, reason_bytes = _DONE.unpack_from(body)
    except struct_error:
        raise InvalidRequest(f"an end of {len(body)} bytes") from None
    if _DONE.size + reason_bytes != len(body):
        raise InvalidRequest(f"an end of {len(body)} bytes with a reason of {reason_bytes}")
    return Done(snapshot_id, index, body[_DONE.size :].decode(errors="replace"))


def _pack_rows(rows: Iterable[Row]) -> bytes:
    pieces: list[bytes] = []
    for key, row in rows:
        pieces += _ROW.pack(len(key), len(row)), key, row
    return b"".join(pieces)


def _parse_rows(body: bytes, at: int) -> list[Row]:
    rows: list[Row] = []
    end = len(body)
    try:
        while at < end:
            key_bytes, row_bytes = _ROW.unpack_from(body, at)
            key_at = at + _ROW.size
            row_at = key_at + key_bytes
            at = row_at + row_bytes
            rows.append((body[key_at:row_at], body[row_at:at]))
    except struct_error:
        at = end + 1
    if at != end:
        raise InvalidRequest(f"rows of {end} bytes end inside one")
    return rows
