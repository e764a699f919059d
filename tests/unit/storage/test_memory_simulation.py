"""What the simulation can do to the in-memory twin."""

import pytest

from dkv.model.errors import Corrupt, StorageFailed
from dkv.ports.store import Pressure, RowBatch
from dkv.storage.memory import MemoryStore


def put(store: MemoryStore, *names: bytes) -> None:
    for name in names:
        store.write(RowBatch([(name, b"row")]))


def held(store: MemoryStore) -> bytes:
    return b"".join(key for key, _ in store.scan(b"", b"\xff").take(1000, 1 << 20))


def test_power_loss_keeps_synced_and_prefix_only() -> None:
    """Batches go in reverse order of writing, never from the middle."""
    store = MemoryStore()
    put(store, b"a")
    store.sync()
    put(store, b"b", b"c", b"d")
    assert store.unsynced_batches == 3
    store.power_loss(1)
    assert held(store) == b"ab"
    store.power_loss(0)
    assert held(store) == b"ab"


def test_process_crash_keeps_all_until_the_power_goes() -> None:
    """The page cache survives a process; what is in it is still not synced."""
    store = MemoryStore()
    put(store, b"a", b"b")
    store.crash_process()
    assert held(store) == b"ab"
    put(store, b"c")
    store.power_loss(1)
    assert held(store) == b"a"


def test_sync_covers_what_was_written_before_its_request() -> None:
    """Writes that come while a sync is under way are not vouched for by it."""
    store = MemoryStore()
    put(store, b"a")
    store.request_sync(1)
    put(store, b"b")
    assert store.take_synced() is None
    store.complete_sync()
    assert store.take_synced() == 1
    store.power_loss(0)
    assert held(store) == b"a"


def test_sync_requests_waiting_are_replaced_by_the_newest() -> None:
    """One under way, one waiting: as the real thread."""
    store = MemoryStore()
    for mark in (1, 2, 3):
        put(store, b"%d" % mark)
        store.request_sync(mark)
    store.complete_sync()
    assert store.take_synced() == 1
    store.complete_sync()
    assert store.take_synced() == 3
    assert not store.has_sync_under_way
    store.complete_sync()
    assert store.take_synced() is None


def test_crash_forgets_sync_under_way_and_its_mark() -> None:
    """A sync that had not ended made nothing durable, and nobody hears of it."""
    store = MemoryStore()
    put(store, b"a")
    store.request_sync(1)
    store.power_loss(0)
    assert not store.has_sync_under_way
    assert (held(store), store.take_synced()) == (b"", None)


def test_write_failing_leaves_nothing_and_nothing_goes_on() -> None:
    """After a failed write the store takes no more, until the process is started anew."""
    store = MemoryStore()
    put(store, b"a")
    store.fail_next_write = StorageFailed("injected")
    for _ in range(2):
        with pytest.raises(StorageFailed, match="injected"):
            put(store, b"b")
    with pytest.raises(StorageFailed, match="injected"):
        store.sync()
    store.close()
    store.crash_process()
    put(store, b"c")
    assert held(store) == b"ac"


def test_sync_failing_is_told_by_take_synced_ever_after() -> None:
    """A failed sync is final, and rings."""
    rung: list[bool] = []
    store = MemoryStore(on_synced=lambda: rung.append(True))
    put(store, b"a")
    store.request_sync(1)
    store.fail_next_sync = StorageFailed("injected")
    store.complete_sync()
    assert rung == [True]
    for _ in range(2):
        with pytest.raises(StorageFailed, match="injected"):
            store.take_synced()
    with pytest.raises(StorageFailed, match="injected"):
        put(store, b"b")
    store.power_loss(0)
    assert held(store) == b""


def test_sync_failing_synchronously_raises() -> None:
    """`sync` tells it to its caller."""
    store = MemoryStore()
    put(store, b"a")
    store.fail_next_sync = StorageFailed("injected")
    with pytest.raises(StorageFailed, match="injected"):
        store.sync()
    store.power_loss(0)
    assert held(store) == b""


def test_free_bytes_and_pressure_are_what_the_simulation_sets() -> None:
    """A disk that fills up, an engine that falls behind."""
    store = MemoryStore()
    store.free_bytes_now, store.pressure_now = 5, Pressure(True, 7)
    assert (store.free_bytes(), store.pressure()) == (5, (True, 7))


def test_flush_makes_durable_what_was_written_before_it() -> None:
    """With the step that completes it, and not what came afterwards."""
    store = MemoryStore()
    store.write(RowBatch([(b"a", b"1")]))
    store.request_flush()
    store.write(RowBatch([(b"b", b"1")]))
    assert not store.has_flushed()
    assert store.has_sync_under_way
    store.complete_sync()
    assert store.has_flushed()
    store.power_loss(0)
    assert store.get_many([b"a", b"b"]) == [b"1", None]


def test_flush_that_fails_is_told_to_whoever_asks() -> None:
    """And made nothing durable."""
    store = MemoryStore()
    store.write(RowBatch([(b"a", b"1")]))
    store.request_flush()
    store.fail_next_sync = StorageFailed("simulated")
    store.complete_sync()
    with pytest.raises(StorageFailed):
        store.has_flushed()
    store.power_loss(0)
    assert store.get_many([b"a"]) == [None]


def test_damaged_row_is_corrupt_until_it_is_written_again() -> None:
    """Whoever reads it is told, also in a scan, also after a crash; other rows can be read."""
    store = MemoryStore()
    store.write(RowBatch([(b"a", b"1"), (b"b", b"2")]))
    store.damaged.add(b"b")
    store.crash_process()
    assert store.get_many([b"a"]) == [b"1"]
    with pytest.raises(Corrupt, match="62 is damaged"):
        store.get_many([b"a", b"b"])
    scan = store.scan(b"a", b"z")
    assert scan.take(1, 100) == [(b"a", b"1")]
    with pytest.raises(Corrupt):
        scan.take(1, 100)
    store.write(RowBatch([(b"b", b"3")]))
    assert store.get_many([b"b"]) == [b"3"]
