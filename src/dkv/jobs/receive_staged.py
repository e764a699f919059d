"""Receiving what a leader has staged: its rows into a fresh block, then the row that says that it is whole.

The staging row names the block from the first chunk on, so that nobody else takes it. How far it is filled is known to
this process only: after its end the sender begins anew, and the block that was not whole is removed.
"""

from dkv.jobs.chunks import follows, in_block
from dkv.jobs.stage import named_spaces
from dkv.model.errors import Corrupt, InvalidRequest
from dkv.ports.store import RowBatch, Store
from dkv.vbucket import rows
from dkv.vbucket.metadata import Metadata, decode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.staging import Staged, decode_staged, staging_key
from dkv.wire.snapshot import FIRST_DIGEST, Chunk, Offer


def parse_staged(offer: Offer, vbucket: int) -> tuple[Metadata, Staged]:
    """Where the leader was when it offered, and what it has staged. Raises InvalidRequest."""
    if [key for key, _ in offer.rows] != [staging_key(vbucket)]:
        raise InvalidRequest("an offer of what is staged has rows of something else")
    try:
        metadata, staged = decode_metadata(offer.metadata), decode_staged(offer.rows[0][1])
    except Corrupt as damage:
        raise InvalidRequest(f"the offered {damage}") from damage
    if staged.restore_id != offer.snapshot_id or not staged.is_whole or metadata.vbucket != vbucket:
        raise InvalidRequest("an offer of what is staged does not fit what it names")
    return metadata, staged


class ReceivingStaged:
    """One transfer. Owned by the node's thread."""

    def __init__(self, theirs: Staged, replica: Replica, store: Store) -> None:
        """In the place of whatever was staged before, whose fate is known."""
        self.vbucket: int = replica.vbucket
        self.key: bytes = staging_key(replica.vbucket)
        self._replica, self._store = replica, store
        before = store.get_many([self.key])[0]
        self.staged: Staged = theirs._replace(space=rows.fresh_space(named_spaces(store)), is_whole=False)
        named = replica.stage(self.staged)
        named.ranges.append(rows.block_range(self.staged.space))
        if before is not None:
            named.ranges.append(rows.block_range(decode_staged(before).space))
        store.write(named)
        self.next_chunk: int = 0
        self._digest = FIRST_DIGEST
        self.is_whole: bool = False
        """Everything is there and says so; not synced."""

    @property
    def snapshot_id(self) -> bytes:
        """As its messages name it: the restore's."""
        return self.staged.restore_id

    def add(self, chunk: Chunk, packed_rows: bytes) -> bool:
        """Writes a chunk. False: it is not the next one, or not what was sent, and nothing was done. Raises
        InvalidRequest."""
        if self.is_whole or not follows(chunk, packed_rows, self.next_chunk, self._digest):
            return False
        operations = in_block(chunk, self.staged.space)
        self.next_chunk, self._digest = chunk.number + 1, chunk.digest
        if operations:
            self._store.write(RowBatch(operations))
        else:
            self.is_whole, self.staged = True, self.staged._replace(is_whole=True)
            self._store.write(self._replica.stage(self.staged))
        return True
