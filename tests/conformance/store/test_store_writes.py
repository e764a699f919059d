"""What a batch does, on every store."""

from hypothesis import given
from hypothesis import strategies as st

from dkv.ports.store import RowBatch, Store
from dkv.storage.memory import MemoryStore
from dkv.storage.rocksdb import RocksDbStore


def rows_of(store: Store) -> dict[bytes, bytes]:
    scan = store.scan(b"", b"\xff" * 8)
    rows: dict[bytes, bytes] = {}
    while taken := scan.take(1000, 1 << 30):
        rows.update(taken)
    scan.close()
    return rows


def test_write_same_key_twice_later_one_wins(store: Store) -> None:
    """Operations of one batch apply in their order."""
    store.write(RowBatch([(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", None), (b"c", None), (b"c", b"3")]))
    assert rows_of(store) == {b"a": b"2", b"c": b"3"}


def test_write_range_and_put_in_one_batch_put_survives(filled: Store) -> None:
    """Ranges apply before the operations of their batch."""
    filled.write(RowBatch([(b"k50", b"new")], [(b"k10", b"k90")]))
    rows = rows_of(filled)
    assert len(rows) == 21
    assert rows[b"k50"] == b"new"


def test_range_end_is_excluded_start_included(filled: Store) -> None:
    """A range is [start, end)."""
    filled.write(RowBatch(ranges=[(b"k10", b"k12")]))
    assert filled.get_many([b"k09", b"k10", b"k11", b"k12"]) == [b"90k", None, None, b"21k"]


def test_range_reversed_or_empty_deletes_nothing_and_poisons_nothing(filled: Store) -> None:
    """A range whose end is not after its start is empty, and later writes and flushes go on."""
    filled.write(RowBatch([(b"z", b"1")], [(b"k90", b"k10"), (b"k10", b"k10"), (b"z", b"")]))
    filled.sync()
    if isinstance(filled, RocksDbStore):
        filled.flush()
    filled.write(RowBatch([(b"z", b"2")]))
    assert len(rows_of(filled)) == 101


def test_ranges_overlapping_several_times_delete_once(filled: Store) -> None:
    """Ranges may overlap, and a later batch may write into them again."""
    filled.write(RowBatch(ranges=[(b"k", b"k5"), (b"k3", b"l")]))
    filled.write(RowBatch([(b"k44", b"again")]))
    assert rows_of(filled) == {b"k44": b"again"}


def test_write_empty_batch_changes_nothing(filled: Store) -> None:
    """An empty batch is allowed."""
    filled.write(RowBatch())
    assert len(rows_of(filled)) == 100


def test_row_empty_is_not_absent(store: Store) -> None:
    """An empty row is a row."""
    store.write(RowBatch([(b"empty", b"")]))
    assert store.get_many([b"empty", b"none"]) == [b"", None]
    assert rows_of(store) == {b"empty": b""}


def test_rows_and_keys_of_any_bytes_come_back(store: Store) -> None:
    """Zero bytes, 0xff and text-like bytes are bytes like others."""
    rows = {bytes([byte]) + b"\0\xff" + bytes([byte]): bytes([byte]) * 3 for byte in range(255)}
    store.write(RowBatch(list(rows.items())))
    assert rows_of(store) == rows


def test_row_large_comes_back_whole(store: Store) -> None:
    """A row of 8 MiB, larger than any block."""
    row = bytes(range(256)) * (8 << 12)
    store.write(RowBatch([(b"large", row)]))
    assert store.get_many([b"large"]) == [row]


def test_batch_changed_by_caller_afterwards_stays_as_written(store: Store) -> None:
    """A store keeps nothing of the caller's lists."""
    batch = RowBatch([(b"a", b"1")])
    store.write(batch)
    batch.operations.append((b"b", b"2"))
    store.sync()
    assert rows_of(store) == {b"a": b"1"}


def test_get_many_duplicates_and_absent_keep_the_order_asked(filled: Store) -> None:
    """One answer per key asked, in that order."""
    assert filled.get_many([b"k05", b"none", b"k01", b"k05", b""]) == [b"50k", None, b"10k", b"50k", None]
    assert filled.get_many([]) == []


def test_get_many_tuple_of_keys_is_as_good_as_a_list(filled: Store) -> None:
    """`keys` is any sequence."""
    assert filled.get_many((b"k05", b"k01")) == [b"50k", b"10k"]


def test_size_estimate_of_nothing_is_zero_of_all_is_not(filled: Store) -> None:
    """Rough, but not absurd."""
    filled.sync()
    if isinstance(filled, RocksDbStore):
        filled.flush()
    assert filled.size_estimate(b"x", b"y") == 0
    half, whole = filled.size_estimate(b"k00", b"k50"), filled.size_estimate(b"", b"z")
    assert 0 < half < whole


def test_numbers_free_pressure_stats_are_plausible(filled: Store) -> None:
    """An idle store is under no pressure, its device has room, and it has numbers."""
    assert filled.pressure() == (False, 0)
    assert filled.free_bytes() > 0
    assert filled.stats()["engine_rows_estimate"] >= 100


keys = st.binary(max_size=3)
batches = st.builds(
    RowBatch,
    st.lists(st.tuples(keys, st.none() | st.binary(max_size=2)), max_size=30),
    st.lists(st.tuples(keys, keys), max_size=2),
)


def dumb_apply(rows: dict[bytes, bytes], batch: RowBatch) -> dict[bytes, bytes]:
    """The port's sentence, as slow as it reads."""
    for start, end in batch.ranges:
        rows = {key: row for key, row in rows.items() if not start <= key < end}
    for key, row in batch.operations:
        rows = {**rows, key: row} if row is not None else {k: r for k, r in rows.items() if k != key}
    return rows


@given(st.lists(batches, max_size=6))
def test_memory_any_batches_equal_the_dumb_map(written: list[RowBatch]) -> None:
    """The twin holds what a plain dictionary would, in order."""
    store, expected = MemoryStore(), dict[bytes, bytes]()
    for batch in written:
        store.write(batch)
        expected = dumb_apply(expected, batch)
    assert list(rows_of(store).items()) == sorted(expected.items())


@given(st.lists(batches, max_size=6), st.lists(st.integers(0, 6), max_size=3), st.integers(0, 6))
def test_memory_power_loss_leaves_a_prefix_of_batches(written: list[RowBatch], syncs: list[int], keep: int) -> None:
    """After a power loss there are the synced batches and the first `keep` of the others."""
    store, synced = MemoryStore(), 0
    for number, batch in enumerate(written, 1):
        store.write(batch)
        if number in syncs:
            store.sync()
            synced = number
    store.crash_process()
    store.power_loss(keep)
    expected: dict[bytes, bytes] = {}
    for batch in written[: synced + keep]:
        expected = dumb_apply(expected, batch)
    assert rows_of(store) == expected
