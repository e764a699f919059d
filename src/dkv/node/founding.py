"""The charter in the engine: how a node comes to belong to a cluster, and how it knows that it does.

One synced batch holds the charter and the first rows of every vBucket that begins here, so that a crash leaves a node
that is empty or one that has all of them, and a vBucket that is gone later is never taken for one that was not made
yet. A node on its own founds a cluster by adding the charter, and the directory with itself, to what it has: nothing is
copied. Its group of one goes on as it is.
"""

from dkv.cluster.charter import CHARTER_KEY, Charter, decode_charter, encode_charter
from dkv.ports.store import RowBatch, Store
from dkv.vbucket.directory import first_members
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import decode_metadata_key, metadata_range


def read_charter(store: Store) -> Charter | None:
    """The charter of this folder, durable; None: it belongs to no cluster. Raises Corrupt."""
    row = store.get_many([CHARTER_KEY])[0]
    if row is None:
        return None
    store.sync()  # it may stem from a life that ended between its write and its sync
    return decode_charter(row)


def vbuckets_here(store: Store) -> list[int]:
    """Those with a replica in this folder, ascending."""
    found: list[int] = []
    scan = store.scan(*metadata_range())
    try:
        while rows := scan.take(1_000, 1 << 20):
            found += [decode_metadata_key(row_key) for row_key, _ in rows]
    finally:
        scan.close()
    return found


def found(charter: Charter, node_id: int, store: Store) -> None:
    """This node belongs to the cluster from here on; durable when it returns."""
    batch = RowBatch([(CHARTER_KEY, encode_charter(charter))])
    if charter.has(node_id):
        here = vbuckets_here(store)
        for vbucket in charter.numbers():
            batch.operations += _first_rows(charter, vbucket, node_id, is_here=vbucket in here)
    store.write(batch)
    store.sync()


def _first_rows(charter: Charter, vbucket: int, node_id: int, *, is_here: bool) -> list[tuple[bytes, bytes | None]]:
    members = charter.members_of(vbucket)
    if is_here:
        return first_members(vbucket, members)
    own = next(member.replica for member in members if member.node == node_id)
    history_id, conf = charter.history_id(vbucket), charter.conf_of(vbucket)
    # The folder is empty, so there is nothing in the block that had to be deleted.
    return Replica.first_rows(vbucket, own, history_id, conf, charter.formed_ms, members=members).operations
