"""Chunks of rows as they come in: whether one is what was sent, and where its rows go."""

from dkv.model.errors import InvalidRequest
from dkv.vbucket import rows
from dkv.wire.snapshot import Chunk, digest_after


def follows(chunk: Chunk, packed_rows: bytes, next_chunk: int, digest: bytes) -> bool:
    """It is the next one, and together with what was before it has the digest that the sender says."""
    return chunk.number == next_chunk and digest_after(digest, packed_rows) == chunk.digest


def in_block(chunk: Chunk, space: int) -> list[tuple[bytes, bytes | None]]:
    """The rows of a chunk as the block `space` has them. Raises InvalidRequest."""
    prefixes = [rows.prefix(space + offset) for offset in range(rows.SPACES_PER_BLOCK)]
    try:
        return [(prefixes[key[0]] + key[1:], row) for key, row in chunk.rows]
    except IndexError:
        raise InvalidRequest("a row of a snapshot lies outside of its block") from None
