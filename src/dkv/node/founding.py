"""The charter in the engine: how a node comes to belong to a cluster, and how it knows that it does.

One synced batch holds the charter and the first rows of every vBucket that begins here, so that a crash leaves a node
that is empty or one that has all of them, and a vBucket that is gone later is never taken for one that was not made
yet. A node on its own founds a cluster by adding the charter, and the directory with itself, to what it has: nothing is
copied. Its group of one goes on as it is.
"""

from collections.abc import Mapping, Sequence

from dkv.cluster.charter import CHARTER_KEY, CONTACTS_KEY, FIRST_VBUCKET, Charter, decode_charter, encode_charter
from dkv.model.members import Member, decode_members, encode_members
from dkv.node.opening import load_replica
from dkv.ports.clock import Clock, Random
from dkv.ports.store import RowBatch, Store
from dkv.vbucket.directory import first_members
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import decode_metadata_key, metadata_range

ID_BYTES = 16


def draw_charter(
    members: tuple[Member, ...], name: str, vbuckets: int, history_id: bytes | None, clock: Clock, random: Random
) -> Charter:
    """Of a new cluster, which goes on with the history of a node that was on its own."""
    cluster_id = random.bytes(ID_BYTES)
    formed_ms = 0 if history_id else clock.now().wall_ms
    return Charter(cluster_id, name, vbuckets, formed_ms, history_id or random.bytes(ID_BYTES), members)


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


def history_here(store: Store) -> bytes | None:
    """The line of change numbers of a node on its own; None: it has none yet."""
    return load_replica(FIRST_VBUCKET, store).history_id if FIRST_VBUCKET in vbuckets_here(store) else None


def read_contacts(store: Store) -> tuple[Member, ...]:
    """Whom this node was told of when it joined. Raises Corrupt."""
    row = store.get_many([CONTACTS_KEY])[0]
    return tuple(decode_members(row)) if row is not None else ()


def found(
    charter: Charter, node_id: int, store: Store, replicas: Mapping[int, int], contacts: Sequence[Member] = ()
) -> None:
    """This node belongs to the cluster from here on; durable when it returns. `replicas`: the ids of those of a node
    that has joined, by vBucket; `contacts`: the nodes it was told of."""
    batch, here = RowBatch([(CHARTER_KEY, encode_charter(charter))]), vbuckets_here(store)
    if contacts:
        batch.operations.append((CONTACTS_KEY, encode_members(contacts)))
    for vbucket in charter.numbers():
        members = charter.members_of(vbucket)
        if vbucket in here:
            batch.operations += first_members(vbucket, members)
            continue
        own = next((member.replica for member in members if member.node == node_id), 0) or replicas[vbucket]
        history_id, conf = charter.history_id(vbucket), charter.conf_of(vbucket)
        first = Replica.first_rows(vbucket, own, history_id, conf, charter.formed_ms, members=members)
        batch.operations += first.operations  # the folder is empty: nothing is in the block that had to go
    store.write(batch)
    store.sync()
