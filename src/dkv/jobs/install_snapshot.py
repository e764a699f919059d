"""Receiving a snapshot: chunks into a fresh block, each with the row that says how far it is, then the flip.

| crash | what the next start finds |
|---|---|
| before the flip is written | the old state; the transfer goes on at the chunk that the *installing* row names |
| after the flip, before it is synced | the old state or the new one, as of one batch |
| after it is synced, before the log has begun anew | the new state, marked *installed*: the log begins anew then |

A chunk out of order, or whose digest does not fit what was before, changes nothing: the sender is asked to repeat.
"""

from dkv.jobs.chunks import follows, in_block
from dkv.jobs.stage import named_spaces
from dkv.model.errors import Corrupt, InvalidRequest
from dkv.ports.store import RowBatch, Store
from dkv.vbucket import rows
from dkv.vbucket.installing import (
    Installing,
    decode_installing,
    encode_installed,
    encode_installing,
    installed,
    installed_key,
    installing_key,
)
from dkv.vbucket.metadata import Metadata, decode_metadata, encode_metadata
from dkv.vbucket.staging import decode_staged, staging_key
from dkv.wire.snapshot import FIRST_DIGEST, Chunk, Offer, Row

_SPACE_BYTES = 4


class Receiving:
    """One snapshot on its way in. Owned by the node's thread."""

    def __init__(self, offer: Offer, vbucket: int, store: Store) -> None:
        """Goes on where an earlier transfer of the same snapshot ended, or begins in a fresh block. Raises
        InvalidRequest for what no sender of ours would offer."""
        self.snapshot_id: bytes = offer.snapshot_id
        self.vbucket: int = vbucket
        self._store = store
        self.metadata: Metadata = _checked(offer, vbucket)
        self._rows: list[Row] = list(offer.rows)
        row = store.get_many([installing_key(vbucket)])[0]
        before = decode_installing(row) if row is not None else None
        if before is not None and before.snapshot_id == offer.snapshot_id:
            self._now = before
        else:
            self._now = self._begin(offer, before)
        self.is_whole: bool = False
        """Everything is in the block: `flip` may come. Not noted on disk: the sender repeats its last chunk."""
        self.bytes_received: int = 0

    def _begin(self, offer: Offer, before: Installing | None) -> Installing:
        space = rows.fresh_space([*named_spaces(self._store), *([before.space] if before is not None else [])])
        fresh = Installing(offer.snapshot_id, space, 0, FIRST_DIGEST, offer.metadata)
        cleared = [rows.block_range(space)] + ([rows.block_range(before.space)] if before is not None else [])
        self._store.write(RowBatch([(installing_key(self.vbucket), encode_installing(fresh))], cleared))
        return fresh

    @property
    def next_chunk(self) -> int:
        return self._now.next_chunk

    @property
    def space(self) -> int:
        return self._now.space

    def add(self, chunk: Chunk, packed_rows: bytes) -> bool:
        """Writes a chunk, not synced. False: it is not the next one, or not what was sent, and nothing was done. Raises
        InvalidRequest."""
        if self.is_whole or not follows(chunk, packed_rows, self._now.next_chunk, self._now.digest):
            return False
        operations = in_block(chunk, self._now.space)
        self.is_whole = not chunk.rows
        if self.is_whole:
            return True
        self._now = self._now._replace(next_chunk=chunk.number + 1, digest=chunk.digest)
        operations.append((installing_key(self.vbucket), encode_installing(self._now)))
        self._store.write(RowBatch(operations))
        self.bytes_received += len(packed_rows)
        return True

    def flip(self, replica: int) -> None:
        """The replica becomes what has come in, in one batch, and that is on disk when this returns."""
        row, staging_row = self._store.get_many([rows.metadata_key(self.vbucket), staging_key(self.vbucket)])
        new = installed(self.metadata, replica, self._now.space)
        operations: list[tuple[bytes, bytes | None]] = [*self._rows]
        operations += [
            (rows.metadata_key(self.vbucket), encode_metadata(new)),
            (installed_key(self.vbucket), encode_installed(new.applied_index, new.applied_term)),
            (installing_key(self.vbucket), None),
        ]
        gone = [rows.slaves_range(self.vbucket), rows.members_range(self.vbucket)]
        if row is not None:
            gone.append(rows.block_range(decode_metadata(row).space))
        if staging_row is not None and (staged := decode_staged(staging_row)).term < new.applied_term:
            operations.append((staging_key(self.vbucket), None))  # else its command may still come
            gone.append(rows.block_range(staged.space))
        self._store.write(RowBatch(operations, gone))
        self._store.sync()


def forget(vbucket: int, store: Store) -> None:
    """A transfer came to nothing, or another one has begun: its block goes."""
    row = store.get_many([installing_key(vbucket)])[0]
    if row is not None:
        store.write(RowBatch([(installing_key(vbucket), None)], [rows.block_range(decode_installing(row).space)]))


def _checked(offer: Offer, vbucket: int) -> Metadata:
    try:
        metadata = decode_metadata(offer.metadata)
    except Corrupt as damage:
        raise InvalidRequest(f"the offered {damage}") from damage
    allowed = (rows.slaves_range(vbucket), rows.members_range(vbucket))
    if any(not any(start <= key < end for start, end in allowed) for key, _ in offer.rows):
        raise InvalidRequest("a snapshot offers rows of another vBucket")
    if metadata.vbucket != vbucket:
        raise InvalidRequest(f"a snapshot of vBucket {metadata.vbucket} where one of {vbucket} belongs")
    return metadata
