"""Are replicas equal? They applied the same entries, so what they hold has to be the same, row by row.

What may differ: in which block of spaces the rows lie, how much history is kept, and since when its bytes are counted.
"""

from collections.abc import Iterator, Sequence

from dkv.storage.memory import MemoryStore
from dkv.testing.cluster.member import Member
from dkv.testing.machine import VBUCKET
from dkv.vbucket.metadata import Metadata, decode_metadata
from dkv.vbucket.outcomes import decode_outcomes, encode_outcomes
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import OUTCOMES, block_range

NAMES = "data", "expiry index", "outcomes", "sessions"
ROWS_MAX = 100_000
Rows = dict[tuple[int, bytes], bytes]
"""By (which space of the block, key behind the space)."""


def differences(members: Sequence[Member], vbucket: int = VBUCKET) -> Iterator[str]:
    """What the nodes do not agree on in a vBucket, though each has applied everything."""
    first, wanted = members[0], _metadata(members[0].store, vbucket)
    rows = _rows(first.store, wanted.space)
    for member in members[1:]:
        metadata = _metadata(member.store, vbucket)
        if _common(metadata) != _common(wanted):
            yield f"node {member.number} is at {metadata}, node {first.number} at {wanted}"
        yield from _unequal(first.number, rows, member.number, _rows(member.store, metadata.space))


def _unequal(one: int, rows: Rows, other: int, others: Rows) -> Iterator[str]:
    for space, key in sorted(rows.keys() | others.keys()):
        row, other_row = rows.get((space, key)), others.get((space, key))
        is_cut = space == OUTCOMES and (row is None or other_row is None)
        if row != other_row and not is_cut:
            yield f"{NAMES[space]} {key!r} is {row!r} on node {one} and {other_row!r} on node {other}"


def _metadata(store: MemoryStore, vbucket: int) -> Metadata:
    row = store.get_many([Replica.metadata_key(vbucket)])[0]
    assert row is not None
    return decode_metadata(row)


def _common(metadata: Metadata) -> tuple[object, ...]:
    m = metadata
    return m.applied_index, m.applied_term, m.change_number, m.log_time, m.history_id, m.members


def _rows(store: MemoryStore, block: int) -> Rows:
    scan = store.scan(*block_range(block))
    try:
        found = scan.take(ROWS_MAX, 1 << 30)
    finally:
        scan.close()
    places = ((int.from_bytes(key[:4], "big") - block, key[4:], row) for key, row in found)
    return {(space, key): _uncounted(row) if space == OUTCOMES else row for space, key, row in places}


def _uncounted(row: bytes) -> bytes:
    """Outcomes without what they say of the log before them."""
    return encode_outcomes(decode_outcomes(row)._replace(log_bytes=0))
