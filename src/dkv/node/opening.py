"""Opening a vBucket from what store and log hold: the one path for the server and the simulation.

Crash between any two steps: the metadata row is written and synced first, then the log's first state; a row without a
log whose applied index is still the first one is an interrupted creation and is finished. Anything else that does not
fit together refuses to start (INVARIANTS 2).
"""

from dkv.model.errors import Corrupt
from dkv.ports.clock import Clock, Random
from dkv.ports.consensus import Conf, Consensus
from dkv.ports.store import Store
from dkv.vbucket.installing import installed_key, is_as_installed
from dkv.vbucket.outcomes import decode_outcomes
from dkv.vbucket.replica import Replica

FIRST_INDEX = 1


def open_vbucket(
    vbucket: int, replica_id: int, store: Store, consensus: Consensus, clock: Clock, random: Random
) -> Replica:
    """Load or create the replica and its Raft group; entries behind its applied index come out of `advance`.

    One that is created is a group of its own, under `replica_id`; those of a cluster are there, see `founding`."""
    row = store.get_many([Replica.metadata_key(vbucket)])[0]
    if row is None:
        if consensus.has_group(vbucket):
            raise Corrupt("the log has entries of a vBucket that the engine does not know; restore from a backup")
        conf: Conf = ([replica_id], [], [], [], False)
        store.write(Replica.first_rows(vbucket, replica_id, random.bytes(16), conf, clock.now().wall_ms))
        row = store.get_many([Replica.metadata_key(vbucket)])[0]
        assert row is not None
    replica = _load(vbucket, row, store)
    term = installed_term(replica, store)
    if term is not None:
        store.sync()  # so may the flip, and the log must not begin anew behind a row that a power loss takes back
    if not consensus.has_group(vbucket):
        if replica.applied_index != FIRST_INDEX:
            raise Corrupt(f"the engine has applied entry {replica.applied_index}, but the log is empty")
        store.sync()  # the row may stem from a life that ended between its write and its sync
        consensus.create_group(vbucket, replica.members)
    consensus.open_group(vbucket, replica.replica, replica.members, replica.applied_index, installed_term=term)
    find_history(replica, store, consensus.log_bounds(vbucket).first_index)
    return replica


def load_replica(vbucket: int, store: Store) -> Replica:
    """The replica as the engine has it; its metadata row is there."""
    (row,) = store.get_many([Replica.metadata_key(vbucket)])
    assert row is not None
    return _load(vbucket, row, store)


def installed_term(replica: Replica, store: Store) -> int | None:
    """The term of the applied entry, when the replica still is as a snapshot has left it: the log may have to begin
    anew there (INVARIANTS 4)."""
    (row,) = store.get_many([installed_key(replica.vbucket)])
    return replica.applied_term if is_as_installed(replica.metadata(), row) else None


def _load(vbucket: int, row: bytes, store: Store) -> Replica:
    replica_ranges = Replica.ranges(row)
    sessions = _read_all(store, *replica_ranges.sessions)
    first_expiries = _read_some(store, *replica_ranges.expiries)
    last_outcomes = _read_some(store, *replica_ranges.outcomes, reverse=True)
    staging_row = store.get_many([Replica.staging_key(vbucket)])[0]
    slaves = _read_all(store, *replica_ranges.slaves)
    members = _read_all(store, *replica_ranges.members)
    return Replica.open(vbucket, row, sessions, first_expiries, last_outcomes, slaves, members, staging_row=staging_row)


def find_history(replica: Replica, store: Store, first_index: int) -> None:
    """The history is what log and engine both have: a power loss can leave the engine before a cut of the log."""
    rows = _read_some(store, *replica.outcomes_after(first_index - 1))
    replica.note_history(first_index, decode_outcomes(rows[0][1]) if rows else None)


def _read_all(store: Store, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = []
    scan = store.scan(start, end)
    try:
        while part := scan.take(1_000, 1 << 20):
            rows += part
    finally:
        scan.close()
    return rows


def _read_some(store: Store, start: bytes, end: bytes, *, reverse: bool = False) -> list[tuple[bytes, bytes]]:
    scan = store.scan(start, end, reverse=reverse)
    try:
        return scan.take(1, 1)
    finally:
        scan.close()
