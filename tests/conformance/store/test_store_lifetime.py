"""Syncs, checkpoints and closing, on every store."""

from pathlib import Path
from typing import Any

import pytest

from dkv.model.errors import FolderRefused, InvariantBroken
from dkv.ports.store import RowBatch, Store


def test_sync_requested_mark_comes_back_once(bed: Any, store: Store) -> None:
    """A mark is reported when it is durable, and only once."""
    assert store.take_synced() is None
    store.write(RowBatch([(b"a", b"1")]))
    store.request_sync(7)
    assert bed.wait_synced(7) == [7]
    assert store.take_synced() is None


def test_sync_requested_many_times_newest_mark_wins(bed: Any, store: Store) -> None:
    """Marks come back ascending; the newest always does, older ones may be left out."""
    for mark in range(1, 200):
        store.write(RowBatch([(b"a", b"%d" % mark)]))
        store.request_sync(mark)
    seen = bed.wait_synced(199)
    assert seen == sorted(set(seen))
    assert seen[-1] == 199


def test_close_with_open_scans_then_reopen_has_all_rows(bed: Any, filled: Store) -> None:
    """Scans that nobody closed do not keep the store locked; what was written is there again."""
    scans = [filled.scan(b"k", b"l", reverse=reverse) for reverse in (False, True)]
    assert all(scan.take(1, 1) for scan in scans)
    filled.close()
    filled.close()
    again = bed.reopen()
    assert again.get_many([b"k00", b"k99"]) == [b"00k", b"99k"]
    for scan in scans:
        with pytest.raises(InvariantBroken):
            scan.take(1, 1)


def test_store_closed_then_used_raises(filled: Store) -> None:
    """Use after close is our bug, and says so."""
    filled.close()
    with pytest.raises(InvariantBroken, match="closed"):
        filled.get_many([b"k00"])
    with pytest.raises(InvariantBroken, match="closed"):
        filled.write(RowBatch([(b"a", b"1")]))
    with pytest.raises(InvariantBroken, match="closed"):
        filled.scan(b"a", b"b")


def test_flush_requested_ends_and_goes_beside_writes_and_syncs(bed: Any, store: Store) -> None:
    """Whoever asked sees that it is over; what is written meanwhile is not held up, nor lost."""
    assert store.has_flushed()
    for number in range(5):
        store.write(RowBatch([(b"a", b"%d" % number)]))
        store.request_flush()
        store.write(RowBatch([(b"b", b"%d" % number)]))
        store.request_sync(number + 1)
    bed.wait_flushed()
    assert store.has_flushed()
    assert store.get_many([b"a", b"b"]) == [b"4", b"4"]
    store.close()
    assert bed.reopen().get_many([b"a", b"b"]) == [b"4", b"4"]


def test_compaction_requested_changes_no_row_and_a_close_does_not_wait_for_it(bed: Any, filled: Store) -> None:
    """Nor do reads and writes beside it; what it was asked for last may never be done."""
    before = filled.scan(b"k", b"l").take(1_000, 1 << 20)
    filled.write(RowBatch(ranges=[(b"a", b"b")]))
    for _ in range(50):
        filled.request_compaction(b"a", b"b")
        filled.request_compaction(b"k", b"l")
    assert filled.scan(b"k", b"l").take(1_000, 1 << 20) == before
    filled.write(RowBatch([(b"later", b"1")]))
    filled.close()
    again = bed.reopen()
    assert again.scan(b"k", b"l").take(1_000, 1 << 20) == before
    assert again.get_many([b"later"]) == [b"1"]


def test_checkpoint_holds_what_was_written_before_it(bed: Any, filled: Store, tmp_path: Path) -> None:
    """Unsynced rows are in it, later ones are not, and both stores live on their own."""
    filled.checkpoint(tmp_path / "copy")
    filled.write(RowBatch([(b"later", b"1")], [(b"k", b"l")]))
    copy = bed.open_checkpoint(tmp_path / "copy")
    assert copy.get_many([b"k00", b"k99", b"later"]) == [b"00k", b"99k", None]
    copy.write(RowBatch([(b"k00", b"changed")]))
    assert filled.get_many([b"k00", b"later"]) == [None, b"1"]


def test_checkpoint_where_it_cannot_be_refuses_and_goes_on(filled: Store, tmp_path: Path) -> None:
    """An existing folder is never overwritten, a missing parent not made."""
    filled.checkpoint(tmp_path / "copy")
    for folder in (tmp_path / "copy", tmp_path / "no" / "parent", tmp_path):
        with pytest.raises(FolderRefused, match="new folder"):
            filled.checkpoint(folder)
    filled.write(RowBatch([(b"later", b"1")]))
    filled.sync()
    assert filled.get_many([b"later"]) == [b"1"]


def test_scan_open_during_checkpoint_keeps_its_view(filled: Store, tmp_path: Path) -> None:
    """A checkpoint moves memory into files under the scan; the scan does not notice."""
    scan = filled.scan(b"k", b"l")
    filled.checkpoint(tmp_path / "copy")
    assert len(scan.take(1000, 1 << 20)) == 100
    scan.close()
