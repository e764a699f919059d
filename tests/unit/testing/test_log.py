"""The simulated log keeps what was synced, through every kind of failure, and admits no more than that."""

from random import Random

import pytest

from dkv.model.errors import Corrupt
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk, WriteItem


class Writes:
    """Stands in for what Raft hands over."""

    def __init__(self, items: list[WriteItem]) -> None:
        self._items = items

    def items(self) -> list[WriteItem]:
        return self._items


def entry(index: int, term: int = 1, data: bytes = b"x") -> tuple[int, int, int, bytes]:
    return (index, term, 0, data)


def opened(disk: LogDisk) -> SimulatedLog:
    log = SimulatedLog(disk)
    if not log.groups():
        log.create_group(1, (1, 0, 1), 1, 1)
    return log


def append(log: SimulatedLog, number: int, *indexes: int, term: int = 1) -> None:
    log.append(Writes([(1, number, (term, 7, 1), [entry(index, term) for index in indexes])]))


def last_index(log: SimulatedLog) -> int:
    state = log.state(1)
    assert state is not None
    return state[2]


def test_append_is_durable_only_after_write_and_sync() -> None:
    """Nothing is reported before both steps of the disk were taken."""
    log = opened(LogDisk())
    append(log, 1, 2)
    assert log.durable() == []
    assert log.step_disk() == "written"
    assert log.durable() == []
    assert log.step_disk() == "synced"
    assert log.durable() == [(1, 1)]
    assert log.durable() == []


def test_append_during_a_sync_waits_for_the_next_one() -> None:
    """What was handed over while a sync ran is not covered by it."""
    log = opened(LogDisk())
    append(log, 1, 2)
    log.step_disk()
    append(log, 2, 3)
    log.step_disk()
    assert log.durable() == [(1, 1)]
    log.step_disk()
    log.step_disk()
    assert log.durable() == [(1, 2)]


def test_append_over_old_entries_replaces_them() -> None:
    """A new leader's entries cut what stands behind them."""
    log = opened(LogDisk())
    append(log, 1, 2, 3, 4)
    append(log, 2, 3, term=2)
    assert log.read(1, 2, 4, 1 << 20) == [entry(2), entry(3, 2)]
    assert last_index(log) == 3


def test_crash_process_keeps_the_page_cache_and_syncs_it_at_open() -> None:
    """Written batches survive kill -9 and are made durable, by a counted sync, before anyone reads them."""
    disk = LogDisk()
    log = opened(disk)
    append(log, 1, 2)
    log.step_disk()
    disk.crash_process(Random(1))
    syncs = disk.syncs
    log = opened(disk)
    assert last_index(log) == 2
    assert disk.syncs == syncs + 1
    disk.power_loss(Random(1))
    assert last_index(opened(disk)) == 2


def test_crash_process_may_lose_what_was_only_handed_over() -> None:
    """The memory of the process goes with it: some prefix of it had been written."""
    lasts = set()
    for seed in range(20):
        disk = LogDisk()
        log = opened(disk)
        append(log, 1, 2)
        append(log, 2, 3)
        disk.crash_process(Random(seed))
        lasts.add(last_index(opened(disk)))
    assert lasts == {1, 2, 3}


def test_power_loss_keeps_what_was_synced_and_a_prefix_of_the_rest() -> None:
    """Synced batches stay; of the page cache some prefix does; what was only handed over never does."""
    lasts = set()
    for seed in range(40):
        disk = LogDisk()
        log = opened(disk)
        append(log, 1, 2)
        log.step_disk()
        log.step_disk()
        append(log, 2, 3)
        append(log, 3, 4)
        log.step_disk()
        append(log, 4, 5)
        disk.power_loss(Random(seed))
        lasts.add(last_index(opened(disk)))
    assert lasts == {2, 3, 4}


def test_sync_that_fails_ends_the_log() -> None:
    """After an error nothing becomes durable any more, and every question about it raises."""
    disk = LogDisk()
    log = opened(disk)
    append(log, 1, 2)
    disk.sync_fails = True
    assert log.step_disk() == "written"
    assert log.step_disk() == "failed"
    for _ in range(2):
        with pytest.raises(OSError, match="sync failed"):
            log.durable()
    append(log, 2, 3)
    assert log.step_disk() == "failed"


def test_full_disk_ends_the_log_with_nothing_written() -> None:
    """A batch that does not fit is not written in part."""
    disk = LogDisk(free_bytes=10)
    log = opened(disk)
    append(log, 1, 2, 3)
    assert log.step_disk() == "failed"
    with pytest.raises(OSError, match="no space"):
        log.durable()
    disk.power_loss(Random(1))
    assert last_index(opened(disk)) == 1


def test_cut_forgets_a_prefix_and_keeps_its_term() -> None:
    """Behind a cut the log starts after (index, term) of the last entry forgotten."""
    log = opened(LogDisk())
    append(log, 1, 2, 3, term=3)
    log.cut(1, 2)
    assert log.prev(1) == (2, 3)
    assert log.read(1, 3, 4, 1) == [entry(3, 3)]
    with pytest.raises(ValueError, match="outside"):
        log.read(1, 2, 3, 1)


def test_reset_replaces_the_log_in_one_step() -> None:
    """All that a group was is gone, and entries follow the new beginning, also where it would have been a hole."""
    disk = LogDisk()
    log = opened(disk)
    append(log, 1, 2, 3)
    log.cut(1, 2)
    log.reset_group(1, (5, 7, 40), 40, 4)
    assert (log.state(1), log.prev(1)) == (((5, 7, 40), 41, 40), (40, 4))
    append(log, 2, 41, term=5)
    log.close()
    log = opened(disk)
    assert (log.state(1), log.prev(1)) == (((5, 7, 1), 41, 41), (40, 4))
    with pytest.raises(ValueError, match="does not know"):
        log.reset_group(2, (1, 0, 1), 1, 1)


def test_reset_under_power_loss_is_old_or_new() -> None:
    """No crash leaves a mixture, and what was appended behind a reset is never there without it."""
    found = set()
    for seed in range(60):
        disk = LogDisk()
        log = opened(disk)
        append(log, 1, 2, 3)
        log.close()
        log.reset_group(1, (5, 7, 40), 40, 4)
        append(log, 2, 41, term=5)
        if seed % 3:
            log.step_disk()
        if seed % 2:
            disk.power_loss(Random(seed))
        else:
            disk.crash_process(Random(seed))
        log = opened(disk)
        found.add((log.prev(1), last_index(log)))
    assert found == {((1, 1), 3), ((40, 4), 40), ((40, 4), 41)}


def test_read_is_cut_at_bytes_but_gives_one_entry() -> None:
    """At least one entry comes, however large."""
    log = opened(LogDisk())
    append(log, 1, 2, 3, 4)
    assert len(log.read(1, 2, 5, 0)) == 1
    assert len(log.read(1, 2, 5, 2)) == 2


def test_fetch_answers_once_and_reports_what_is_gone() -> None:
    """A fetch below the first index is answered with a reason instead of entries."""
    log = opened(LogDisk())
    append(log, 1, 2)
    log.fetch(9, 1, 2, 3, 100)
    log.fetch(10, 1, 1, 2, 100)
    (first, entries), (second, reason) = log.fetched()
    assert (first, entries, second) == (9, [entry(2)], 10)
    assert isinstance(reason, str)
    assert log.fetched() == []


def test_close_syncs_what_was_handed_over() -> None:
    """An orderly end loses nothing."""
    disk = LogDisk()
    log = opened(disk)
    append(log, 1, 2)
    log.close()
    assert disk.synced[1].last_index == 2
    assert log.stats()["queued_bytes"] == 0


class Last(Random):
    """A bit flips in the last batch that may be hit."""

    def random(self) -> float:
        return 0.0


def synced(disk: LogDisk, *indexes: int) -> SimulatedLog:
    """A log with these entries, a batch each."""
    log = opened(disk)
    for number, index in enumerate(indexes, 1):
        append(log, number, index)
        assert [log.step_disk(), log.step_disk()] == ["written", "synced"]
    return log


def test_bit_flipped_in_a_sealed_batch_is_damage() -> None:
    """What was acknowledged does not pass for a torn write, also when it is the last there is."""
    disk = LogDisk()
    log = synced(disk, 2, 3)
    assert [log.step_disk(), log.step_disk()] == ["sealed", "idle"]
    assert disk.flip_bit(Last())
    disk.power_loss(Random(1))
    with pytest.raises(Corrupt, match="batch 3 of 3"):
        SimulatedLog(disk)


def test_bit_does_not_flip_in_a_batch_without_a_seal() -> None:
    """Before the seal the last batch is spared: nobody could tell it from a torn one. Damage before it is seen."""
    disk = LogDisk()
    synced(disk, 2, 3)
    assert disk.flip_bit(Last())
    with pytest.raises(Corrupt, match="batch 2 of 3"):
        SimulatedLog(disk)


def test_broken_batch_with_nothing_behind_it_is_cut() -> None:
    """As a torn one: entries, and the hard state that came with them, are those of before."""
    disk = LogDisk()
    synced(disk, 2, 3)
    disk.flipped_at = 3
    assert last_index(SimulatedLog(disk)) == 2


def test_seal_that_fails_is_the_end_of_the_log() -> None:
    """INVARIANTS 6 has no exception for a write that says nothing new."""
    disk = LogDisk()
    log = synced(disk, 2)
    disk.sync_fails = True
    assert log.step_disk() == "failed"
    assert log.has_failed
