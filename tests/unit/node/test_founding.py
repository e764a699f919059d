"""The charter in the engine."""

import pytest

from dkv.cluster.charter import Charter
from dkv.edge import Raft
from dkv.edge.consensus import NativeConsensus
from dkv.model.members import Member
from dkv.node.founding import found, history_here, read_charter, read_contacts, vbuckets_here
from dkv.node.opening import load_replica, open_vbucket
from dkv.ports.store import RowBatch
from dkv.storage.memory import MemoryStore
from dkv.testing.clock import SimClock
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.testing.random import SeededRandom, stream
from dkv.vbucket.installing import encode_installed, installed_key
from dkv.vbucket.metadata import encode_metadata
from dkv.vbucket.rows import metadata_key

MEMBERS = (Member(7, 7, "a:1", "http://a:1"), Member(9, 9, "b:1", "http://b:1"))
CHARTER = Charter(b"c" * 16, "prod", 3, 1_000, b"h" * 16, MEMBERS)


def open_in(store: MemoryStore, vbucket: int, node: int = 7) -> None:
    consensus = NativeConsensus(Raft(seed=1), SimulatedLog(LogDisk()))  # type: ignore[arg-type]
    open_vbucket(vbucket, node, store, consensus, SimClock(), SeededRandom(1, "test"))


def test_empty_folder_belongs_to_no_cluster() -> None:
    """And hosts nothing."""
    store = MemoryStore()
    assert (read_charter(store), vbuckets_here(store), history_here(store)) == (None, [], None)


def test_first_node_has_every_vbucket_as_the_charter_says() -> None:
    """Synced: a loss of power takes nothing of it."""
    store = MemoryStore()
    found(CHARTER, 9, store, {})
    store.power_loss(0)
    assert read_charter(store) == CHARTER
    assert vbuckets_here(store) == [1, 2, 3]
    for vbucket in CHARTER.numbers():
        replica = load_replica(vbucket, store)
        assert replica.replica == CHARTER.members_of(vbucket)[1].replica
        assert (replica.members, replica.log_time) == (CHARTER.conf_of(vbucket), 1_000)
        assert replica.directory.members() == sorted(CHARTER.members_of(vbucket))
        assert replica.history_id == CHARTER.history_id(vbucket)
        open_in(store, vbucket, node=9)


def test_node_that_joins_begins_as_the_first_ones_but_under_its_own_ids() -> None:
    """It is counted by nobody yet; what came since is sent to it."""
    store = MemoryStore()
    found(CHARTER, 5, store, {1: 101, 2: 102, 3: 103})
    replicas = [load_replica(vbucket, store) for vbucket in CHARTER.numbers()]
    assert [replica.replica for replica in replicas] == [101, 102, 103]
    assert [replica.members for replica in replicas] == [CHARTER.conf_of(vbucket) for vbucket in CHARTER.numbers()]
    open_in(store, 2)


def test_node_that_joins_keeps_whom_it_was_told_of() -> None:
    """Durable with the charter: those that the cluster began with may be gone when it starts again."""
    store = MemoryStore()
    assert read_contacts(store) == ()
    found(CHARTER, 5, store, {1: 101, 2: 102, 3: 103}, MEMBERS[1:])
    store.power_loss(0)
    assert read_contacts(store) == tuple(MEMBERS[1:])


@pytest.mark.parametrize("is_synced", [False, True])
def test_crash_leaves_all_of_it_or_nothing(is_synced: bool) -> None:
    """There is one batch."""
    store = MemoryStore()
    store.fail_next_sync = None if is_synced else OSError("the simulated sync failed")
    try:
        found(CHARTER, 7, store, {})
    except Exception:
        assert not is_synced
    store.power_loss(0)
    assert (read_charter(store) is not None) == bool(vbuckets_here(store)) == is_synced


def test_node_on_its_own_founds_a_cluster_with_what_it_has() -> None:
    """Its replica, its history and its rows stay; only the directory is new."""
    store = MemoryStore()
    open_in(store, 1)
    before = load_replica(1, store)
    history_id = history_here(store)
    assert history_id == before.history_id
    alone = Charter(b"c" * 16, "prod", 1, 0, history_id, MEMBERS[:1])
    found(alone, 7, store, {})
    after = load_replica(1, store)
    assert after.metadata() == before.metadata()
    assert after.directory.members() == [MEMBERS[0]]


def test_flip_that_was_not_synced_is_before_the_log_begins_anew_behind_it() -> None:
    """kill -9 between flip and sync, and a loss of power in the next life: log and row still belong together."""
    store, disk = MemoryStore(), LogDisk()
    found(CHARTER, 7, store, {})
    clock, random = SimClock(), SeededRandom(1, "test")
    first = NativeConsensus(Raft(seed=1), SimulatedLog(disk))  # type: ignore[arg-type]
    replica = open_vbucket(1, 7, store, first, clock, random)
    new = replica.metadata()._replace(applied_index=50, applied_term=3)
    store.write(RowBatch([(metadata_key(1), encode_metadata(new)), (installed_key(1), encode_installed(50, 3))]))
    disk.crash_process(stream(1, "crash"))
    store.crash_process()
    open_vbucket(1, 7, store, NativeConsensus(Raft(seed=1), SimulatedLog(disk)), clock, random)  # type: ignore[arg-type]
    store.power_loss(0)
    assert load_replica(1, store).applied_index == 50
