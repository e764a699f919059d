"""Walks over pinned views, on every store."""

import pytest

from dkv.model.errors import InvariantBroken
from dkv.ports.store import RowBatch, Scan, Store


def drain(scan: Scan, rows_max: int = 7) -> list[bytes]:
    """The keys that are left, by small takes; then the scan is closed."""
    keys: list[bytes] = []
    while taken := scan.take(rows_max, 1 << 20):
        assert len(taken) <= rows_max
        keys += [key for key, _ in taken]
    assert scan.take(1, 1) == []
    scan.close()
    return keys


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_bounds_start_included_end_excluded(filled: Store, reverse: bool) -> None:
    """[start, end) both ways, ascending or descending."""
    expected = [b"k%02d" % number for number in range(10, 35)]
    keys = drain(filled.scan(b"k10", b"k35", reverse=reverse))
    assert keys == (expected[::-1] if reverse else expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_bounds_between_keys_start_at_the_next_inside(filled: Store, reverse: bool) -> None:
    """Bounds need not be keys."""
    keys = drain(filled.scan(b"k10x", b"k12x", reverse=reverse))
    assert sorted(keys) == [b"k11", b"k12"]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("start", "end"), [(b"k50", b"k50"), (b"k60", b"k50"), (b"x", b"y"), (b"a", b"b")])
def test_scan_nothing_in_range_ends_at_once(filled: Store, start: bytes, end: bytes, reverse: bool) -> None:
    """Empty, reversed and vacant ranges are empty walks."""
    assert drain(filled.scan(start, end, reverse=reverse)) == []


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_store_empty_ends_at_once(store: Store, reverse: bool) -> None:
    """An empty store has no rows."""
    assert drain(store.scan(b"", b"\xff", reverse=reverse)) == []


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_keys_with_ff_sort_as_bytes(store: Store, reverse: bool) -> None:
    """0xff is the largest byte, prefixes come before what they start."""
    keys = [b"\x00", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff"]
    store.write(RowBatch([(key, b"") for key in reversed(keys)]))
    expected = keys[1:7]
    assert drain(store.scan(b"a", b"\xff\xff", reverse=reverse)) == (expected[::-1] if reverse else expected)
    assert drain(store.scan(b"a\xff", b"a\xff\xff", reverse=reverse)) == [b"a\xff"]


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_open_does_not_see_later_writes(filled: Store, reverse: bool) -> None:
    """The view is of the moment of opening: puts, deletes, ranges and syncs behind it do not show."""
    scan = filled.scan(b"k", b"l", reverse=reverse)
    first = scan.take(5, 1 << 20)
    filled.write(RowBatch([(b"k55x", b"new"), (b"k50", b"changed"), (b"k51", None)], [(b"k60", b"l")]))
    filled.sync()
    rows = dict(first)
    while taken := scan.take(10, 1 << 20):
        rows.update(taken)
    scan.close()
    assert rows == {b"k%02d" % number: (b"k%02d" % number)[::-1] for number in range(100)}
    assert len(drain(filled.scan(b"k", b"l"))) == 60


def test_scan_take_stops_after_the_row_that_reaches_the_bytes(store: Store) -> None:
    """At least one row, however large; then none beyond the budget."""
    store.write(RowBatch([(b"k%d" % number, b"x" * 98) for number in range(10)]))
    scan = store.scan(b"k", b"l")
    assert len(scan.take(100, 1)) == 1
    assert len(scan.take(100, 250)) == 3
    assert len(scan.take(100, 1 << 20)) == 6
    scan.close()


def test_scan_many_rows_come_once_in_order(store: Store) -> None:
    """50,000 rows over memory and files."""
    keys = [b"%06d" % number for number in range(50_000)]
    for low in range(0, len(keys), 5000):
        store.write(RowBatch([(key, key * 20) for key in keys[low : low + 5000]]))
    assert drain(store.scan(b"0", b"9"), 999) == keys
    assert drain(store.scan(b"0", b"9", reverse=True), 999) == keys[::-1]


def test_scan_over_deleted_range_skips_it(filled: Store) -> None:
    """Rows under a deleted range do not show, in either direction."""
    filled.write(RowBatch(ranges=[(b"k01", b"k99")]))
    assert drain(filled.scan(b"k", b"l")) == [b"k00", b"k99"]
    assert drain(filled.scan(b"k", b"l", reverse=True)) == [b"k99", b"k00"]


def test_scan_closed_then_taken_raises(filled: Store) -> None:
    """A closed scan is not an ended scan: taking from it is our bug. Closing twice is not."""
    scan = filled.scan(b"k", b"l")
    scan.close()
    scan.close()
    with pytest.raises(InvariantBroken):
        scan.take(1, 1)
