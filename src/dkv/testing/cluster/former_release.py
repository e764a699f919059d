"""A folder as the release before this one left it: rows of outcomes of version 1 (docs/formats/rows.md).

Spelled anew from the page, not by the code that reads it. A node that starts on such a folder is one that was upgraded;
the others may still be, or may have been long ago, or send it rows of the new version in a snapshot.
"""

from collections.abc import Iterator, Sequence

from dkv.node.founding import vbuckets_here
from dkv.ports.store import RowBatch
from dkv.storage.memory import MemoryStore
from dkv.vbucket.metadata import Metadata, decode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import outcomes_range

NUMBERS = slice(1, 17)
"""First change number and log time, in a row of version 2."""
BITMAP = slice(25, None)
ROWS_MAX = 100_000
Row = tuple[bytes, bytes]


def turn_back(store: MemoryStore) -> int:
    """The folder is one of the release before. No process runs on it. How many rows it has now of that kind; one with
    damage is left as it is, and faults of its disk that are to come do not come of this."""
    if store.damaged:
        return 0
    found = [
        decode_metadata(row) for row in store.get_many(list(map(Replica.metadata_key, vbuckets_here(store)))) if row
    ]
    operations = [operation for metadata in found for operation in _outcomes(store, metadata)]
    if operations:
        to_come, store.fail_next_write = store.fail_next_write, None
        store.write(RowBatch(operations))
        store.fail_next_write = to_come
    return len(operations)


def _outcomes(store: MemoryStore, metadata: Metadata) -> Iterator[tuple[bytes, bytes | None]]:
    """An entry that took no number had no row."""
    scan = store.scan(*outcomes_range(metadata.space))
    rows = scan.take(ROWS_MAX, 1 << 30)
    scan.close()
    for at, (key, row) in enumerate(rows):
        if row[0] == 2:
            yield key, row[NUMBERS] + row[BITMAP] if _first(row) < _next(rows, at, metadata) else None


def _next(rows: Sequence[Row], at: int, metadata: Metadata) -> int:
    """The first change number behind this entry's."""
    return _first(rows[at + 1][1]) if at + 1 < len(rows) else metadata.change_number + 1


def _first(row: bytes) -> int:
    return int.from_bytes(row[1:9] if row[0] == 2 else row[:8], "big")
