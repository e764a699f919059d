"""Backup and restore as generators, interrupted after every step, on stores in memory."""

import random
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dkv.jobs.backup import back_up, read_facts
from dkv.jobs.restore import Answer, Propose, Restoring, Target, check_facts, restore
from dkv.jobs.stage import named_spaces
from dkv.model.backups import BackupOrder, Finished, Phase, Progress, RestoreOrder
from dkv.model.commands import Command, Put
from dkv.model.errors import (
    BackupDamaged,
    BackupFailed,
    InvariantBroken,
    Overloaded,
    PathNotFound,
    StorageFailed,
)
from dkv.ports.store import RowBatch
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelf
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import block_range, metadata_key, unnamed_ranges, visible

VBUCKET, NOW_MS, PATH = 1, 1_000_000, "/shelf"
ROWS = 2_500
"""More than two slices."""


class FixedRandom:
    def bytes(self, count: int) -> bytes:
        return b"\x07" * count


class NoHistory:
    """Of a node that is not asked for a point in time: nobody looks into it."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


class Bench:
    """A replica over a store in memory, and a shelf; entries are applied as they are made."""

    def __init__(self) -> None:
        self.store = MemoryStore(auto_sync=True)
        self.shelf = Shelf(random.Random(1), self.store)
        self.store.write(Replica.first_rows(VBUCKET, 7, b"h" * 16, ([7], [], [], [], False), NOW_MS))
        self.store.sync()
        self.replica = self.open()

    def open(self) -> Replica:
        """As after a start."""
        row, staging = self.store.get_many([metadata_key(VBUCKET), Replica.staging_key(VBUCKET)])
        assert row is not None
        ranges = Replica.ranges(row)
        rows = [self.store.scan(*each).take(10_000, 1 << 30) for each in (ranges.sessions, ranges.expiries)]
        return Replica.open(VBUCKET, row, rows[0], rows[1][:1], [], staging_row=staging)

    def do(self, *commands: Command) -> int:
        data = encode_entry(NOW_MS, commands)
        applied = self.replica.apply([(self.replica.applied_index + 1, 1, 0, data)], [])
        self.store.write(applied.batch)
        return applied.results[0].outcomes[0].change_number

    def fill(self, value: bytes) -> None:
        self.do(*(Put(b"%05d" % number, value) for number in range(ROWS)), Put(b"due", value, NOW_MS + 5))

    def values(self) -> set[bytes | None]:
        keys = [b"%05d" % number for number in range(ROWS)]
        return {visible(row, NOW_MS) for row in self.store.get_many(self.replica.row_keys(keys))}

    def left(self) -> list[tuple[bytes, bytes]]:
        """Rows of no block that is served."""
        ranges = unnamed_ranges([self.replica.space])
        return [row for each in ranges for row in self.store.scan(*each).take(10_000, 1 << 30)]

    def back_up(self) -> Finished:
        return self.run(back_up(BackupOrder(PATH), [VBUCKET], self.store, self.shelf, 0))

    def restoring(self) -> Restoring:
        return self.restoring_from(RestoreOrder(PATH))

    def restoring_from(self, order: RestoreOrder) -> Restoring:
        return restore(order, self.shelf, {VBUCKET: Target(self.replica, self.store, NoHistory(), FixedRandom(), int)})

    def run(self, steps: Restoring) -> Finished:
        """To the end; what is proposed is applied at once."""
        answer: Answer = None
        try:
            while True:
                step = steps.send(answer)
                answer = self.apply(step) if isinstance(step, Propose) else None
        except StopIteration as end:
            return cast(Finished, end.value)

    def apply(self, asked: Propose) -> dict[int, Finished]:
        command = asked.commands[VBUCKET]
        number = self.do(command)
        return {VBUCKET: Finished(number, command.history_id, self.replica.log_time)}


@pytest.fixture
def bench() -> Bench:
    """Backed up with one value, then filled with another."""
    bench = Bench()
    bench.fill(b"old")
    bench.back_up()
    bench.fill(b"new")
    return bench


def test_backup_holds_the_state_it_names(bench: Bench) -> None:
    """Facts are those of the checkpoint, not of what came while it was copied."""
    facts = bench.shelf.kept[PATH].facts
    assert (facts.change_number, facts.history_id, facts.vbucket) == (ROWS + 1, b"h" * 16, VBUCKET)
    finished = bench.back_up()
    assert finished == Finished(2 * (ROWS + 1), b"h" * 16, NOW_MS)


def test_backup_interrupted_after_any_step_keeps_the_one_before(bench: Bench) -> None:
    """Closed there, as when the process ends."""
    before = bench.shelf.kept[PATH]
    for count in range(1, 60):
        steps = back_up(BackupOrder(PATH), [VBUCKET], bench.store, bench.shelf, 0)
        try:
            for _ in range(count):
                next(steps)
        except StopIteration:
            assert bench.shelf.kept[PATH] is not before
            return
        steps.close()
        assert bench.shelf.kept[PATH] is before
    pytest.fail("it never ended")


def test_backup_that_cannot_be_copied_says_why(bench: Bench) -> None:
    """And leaves the one before."""
    before = bench.shelf.kept[PATH]
    bench.shelf.copy_fails = True
    with pytest.raises(BackupFailed, match="no space left"):
        bench.back_up()
    assert bench.shelf.kept[PATH] is before


def test_backup_without_room_for_a_flush_is_refused(bench: Bench) -> None:
    """Half of the low-water mark is kept for it: a flush that meets a full disk ends the node."""
    bench.store.free_bytes_now = 400
    with pytest.raises(BackupFailed, match="left to flush into"):
        bench.run(back_up(BackupOrder(PATH), [VBUCKET], bench.store, bench.shelf, 1_000))
    bench.run(back_up(BackupOrder(PATH), [VBUCKET], bench.store, bench.shelf, 800))


def test_backup_of_a_vbucket_that_is_not_there_is_our_bug() -> None:
    """Its metadata row is written before anything else."""
    with pytest.raises(InvariantBroken, match="vBucket 9 has no metadata row"):
        read_facts(9, None)


def test_restore_brings_back_every_row_under_a_new_history(bench: Bench) -> None:
    """Rows, expiry index, numbers; nothing is left of the old block, nor of the staging."""
    finished = bench.run(bench.restoring())
    assert finished == Finished(2 * (ROWS + 1) + 1, b"\x07" * 16, NOW_MS)
    assert bench.values() == {b"old"}
    assert bench.replica.earliest_expiry == NOW_MS + 5
    assert bench.left() == []
    assert bench.open().metadata() == bench.replica.metadata()


def test_restore_fills_a_block_that_no_vbucket_of_the_folder_has(bench: Bench) -> None:
    """Two restores in a row, and one beside another vBucket that was installed."""
    other = Replica.first_rows(2, 8, b"o" * 16, ([8], [], [], [], False), NOW_MS, space=(1 << 31) + 8)
    bench.store.write(other)
    assert named_spaces(bench.store) == [4, (1 << 31) + 8]
    for count in (1, 2):
        bench.run(bench.restoring())
        assert bench.replica.space == (1 << 31) + 8 + 4 * count


def test_restore_tells_how_far_it_is(bench: Bench) -> None:
    """Phases in their order; staged bytes grow and never pass the total."""
    told: list[Progress] = []

    def listen(steps: Restoring) -> Iterator[None]:
        answer: Answer = None
        while True:
            step = steps.send(answer)
            answer = bench.apply(step) if isinstance(step, Propose) else None
            if isinstance(step, Progress):
                told.append(step)
            yield

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(listen(bench.restoring()))
    phases = [each.phase for each in told]
    assert phases == sorted(phases)
    assert set(phases) >= {Phase.VERIFY, Phase.STAGE}
    staged = [each for each in told if each.phase is Phase.STAGE]
    assert len(staged) >= 3
    assert all(0 < each.bytes_done <= each.bytes_total for each in staged)
    assert [each.bytes_done for each in staged] == sorted(each.bytes_done for each in staged)


def test_restore_interrupted_after_any_step_serves_the_old_rows_until_it_serves_the_new() -> None:
    """Closed there, and with power lost besides: every value is the old one or every value is the new one."""
    seen = set()
    for count in range(1, 60):
        bench = Bench()
        bench.fill(b"backed up")
        bench.back_up()
        bench.fill(b"served")
        bench.store.sync()
        is_over = _go(bench, bench.restoring(), count)
        bench.store.power_loss(bench.store.unsynced_batches if is_over else bench.store.unsynced_batches // 2)
        bench.replica = bench.open()
        values = bench.values()
        assert values in ({b"backed up"}, {b"served"})
        seen |= values
        bench.store.write(bench.replica.unstage(unnamed_ranges([bench.replica.space])))
        assert bench.left() == []
        if is_over:
            assert seen == {b"backed up", b"served"}
            return
    pytest.fail("it never ended")


def test_restore_whose_command_is_in_the_log_can_be_applied_after_any_crash(bench: Bench) -> None:
    """What it needs was durable before it was proposed: a loss of power takes nothing of it."""
    bench.store.auto_sync = False
    bench.store.sync()
    steps = bench.restoring()
    asked = next(step for step in _answering_flushes(bench, steps) if isinstance(step, Propose))
    steps.close()
    bench.store.power_loss(0)
    bench.replica = bench.open()
    assert bench.values() == {b"new"}
    bench.apply(asked)
    assert bench.values() == {b"old"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_restore_that_is_told_to_stop_removes_what_it_staged(bench: Bench, count: int) -> None:
    """As when the disk fills up: at once, not only at the next start."""
    steps = bench.restoring()
    staged = (step for step in steps if isinstance(step, Progress) and step.phase is Phase.STAGE)
    for _ in range(count):
        next(staged)
    with pytest.raises(Overloaded):
        steps.throw(Overloaded("the disk is full"))
    assert bench.left() == []
    assert bench.replica.staged is None
    assert bench.values() == {b"new"}


def test_restore_whose_place_in_the_log_was_taken_removes_what_it_staged(bench: Bench) -> None:
    """Another leader's entry is there: this one can never be applied."""
    steps = bench.restoring()
    while not isinstance(next(steps), Propose):
        pass
    with pytest.raises(BackupFailed, match="another leader took over"):
        steps.send({})
    assert bench.left() == []
    assert bench.values() == {b"new"}


def test_restore_of_what_is_missing_or_damaged_touches_nothing(bench: Bench) -> None:
    """Found out before the first row is written."""
    before = bench.store.unsynced_batches
    with pytest.raises(PathNotFound):
        bench.run(bench.restoring_from(RestoreOrder("/none")))
    bench.shelf.is_damaged = True
    with pytest.raises(BackupDamaged):
        bench.run(bench.restoring())
    assert bench.store.unsynced_batches == before


def test_restore_onto_an_engine_that_fails_is_the_nodes_end(bench: Bench) -> None:
    """Not the job's: a failed write is never survived (INVARIANTS 6)."""
    steps = bench.restoring()
    next(step for step in steps if isinstance(step, Progress) and step.phase is Phase.STAGE)
    bench.store.fail_next_write = StorageFailed("simulated")
    with pytest.raises(StorageFailed):
        bench.run(steps)


def test_restore_of_an_index_that_means_nothing_is_a_damaged_backup(bench: Bench) -> None:
    """Checksums can be right over wrong rows; the node must not take them for damage of its own."""
    start = block_range(bench.replica.space)[0]
    bench.store.write(RowBatch([(start[:3] + bytes([start[3] + 1]), b"")]))
    bench.back_up()
    with pytest.raises(BackupDamaged, match="expiry index"):
        bench.run(bench.restoring())
    assert bench.left() == []


def test_facts_that_are_not_those_of_the_rows_are_refused(bench: Bench) -> None:
    """A manifest beside another checkpoint's files."""
    shelved = bench.shelf.kept[PATH]
    row = shelved.get(metadata_key(VBUCKET))
    check_facts(shelved.facts, row)
    for facts, metadata, why in (
        (shelved.facts._replace(change_number=1), row, "not of the state"),
        (shelved.facts, None, "has no vBucket 1"),
        (shelved.facts, b"\xff", "the backup's metadata"),
    ):
        with pytest.raises(BackupDamaged, match=why):
            check_facts(facts, metadata)


def _go(bench: Bench, steps: Restoring, count: int) -> bool:
    """So many steps, then the end of the process; whether it was over before."""
    answer: Answer = None
    try:
        for _ in range(count):
            step = steps.send(answer)
            answer = bench.apply(step) if isinstance(step, Propose) else None
    except StopIteration:
        return True
    steps.close()
    return False


def _answering_flushes(bench: Bench, steps: Restoring) -> Iterator[object]:
    for step in steps:
        bench.store.complete_sync()
        yield step
