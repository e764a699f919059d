"""The sync thread vouches only for what was written before a sync began, and never tries again."""

import threading

import pytest

from dkv.model.errors import StorageFailed
from dkv.storage.sync_thread import SyncThread


class SlowDisk:
    """A sync that waits for the test to let it through."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.let_through = threading.Semaphore(0)
        self.rung = threading.Semaphore(0)
        self.failure: StorageFailed | None = None
        self.syncs = 0

    def sync(self) -> None:
        self.syncs += 1
        self.begun.release()
        assert self.let_through.acquire(timeout=30)
        if self.failure is not None:
            raise self.failure


def test_request_during_a_sync_waits_for_its_turn_and_newest_mark_wins() -> None:
    """Three requests while one sync is under way are one more sync, with the newest mark."""
    disk = SlowDisk()
    syncs = SyncThread(disk.sync, disk.rung.release)
    syncs.request(1)
    assert disk.begun.acquire(timeout=30)
    for mark in (2, 3, 4):
        syncs.request(mark)
    assert syncs.take() is None
    disk.let_through.release()
    assert disk.rung.acquire(timeout=30)
    assert syncs.take() == 1
    disk.let_through.release()
    assert disk.rung.acquire(timeout=30)
    assert (syncs.take(), syncs.take(), disk.syncs) == (4, None, 2)
    syncs.stop()


def test_sync_failed_is_raised_ever_after_and_not_retried() -> None:
    """The bell rings for a failure too, so that the node learns of it in its next turn."""
    disk = SlowDisk()
    disk.failure = StorageFailed("sync: IO error: disk gone")
    syncs = SyncThread(disk.sync, disk.rung.release)
    syncs.request(1)
    disk.let_through.release()
    assert disk.rung.acquire(timeout=30)
    syncs.request(2)
    for _ in range(2):
        with pytest.raises(StorageFailed, match="disk gone"):
            syncs.take()
    syncs.stop()
    assert disk.syncs == 1


def test_stop_waits_for_the_sync_under_way() -> None:
    """The engine may be closed right after stop returns; stopping twice is fine."""
    disk = SlowDisk()
    syncs = SyncThread(disk.sync, None)
    syncs.request(1)
    assert disk.begun.acquire(timeout=30)
    disk.let_through.release()
    syncs.stop()
    syncs.stop()
    assert syncs.take() == 1
