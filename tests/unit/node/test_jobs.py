"""The running job of a node: who is told what, one at a time, and what it must not disturb."""

import pytest
from tests.unit.node.test_node_turns import House

from dkv.model.backups import BackupOrder, Finished, RestoreOrder
from dkv.model.errors import BackupFailed, Busy, Overloaded, StorageFailed
from dkv.storage.memory import NO_PRESSURE
from dkv.wire import messages as pb
from dkv.wire import methods

PATH = "/shelf"


def call(house: House, method: int, path: str = PATH) -> int:
    request = pb.BackupRequest(backupPath=path)  # all four requests have the path first
    return house.edge.call(method, request.SerializeToString())


def settle(house: House, call_id: int) -> tuple[int, bytes, str]:
    """Turns until the call has ended."""
    for _ in range(200):
        house.node.turn(0)
        house.log.step_disk()
        house.clock.advance(10)
        if house.has_reply(call_id):
            return house.reply(call_id)
    raise AssertionError("it never ended")


def backed_up(value: bytes = b"old") -> House:
    house = House()
    house.put(b"k", value)
    house.settle()
    assert settle(house, call(house, methods.BACKUP))[0] == 0
    return house


def test_plain_backup_and_restore_are_answered_with_a_status() -> None:
    """As the original's: a Status when it is over, and the data are those of the backup."""
    house = backed_up()
    house.put(b"k", b"new")
    house.settle()
    code, message, _ = settle(house, call(house, methods.RESTORE))
    assert (code, pb.Status.FromString(message).code) == (0, 0)
    assert house.value_of(b"k") == (True, b"old")


def test_streams_tell_every_phase_and_end_with_the_facts() -> None:
    """Progress on the way, then what came of it."""
    house = backed_up()
    phases = []
    for method in (methods.TAKE_BACKUP, methods.RESTORE_BACKUP):
        call_id = call(house, method)
        settle(house, call_id)
        told = [pb.BackupProgress.FromString(item) for item in house.stream(call_id)]
        phases.append([each.phase for each in told])
        assert told[-1].historyId == house.node.sole.replica.history_id
        assert told[-1].changeNumber == house.node.sole.replica.change_number
        assert told[-1].logTime == house.node.sole.replica.log_time
    assert phases[0] == sorted(phases[0])
    assert {pb.BackupPhase.BACKUP_PHASE_CHECKPOINT, pb.BackupPhase.BACKUP_PHASE_COPY} <= set(phases[0])
    assert {pb.BackupPhase.BACKUP_PHASE_VERIFY, pb.BackupPhase.BACKUP_PHASE_SWITCH} <= set(phases[1])
    assert phases[0][-1] == phases[1][-1] == pb.BackupPhase.BACKUP_PHASE_DONE


def test_second_job_at_once_is_aborted_with_the_originals_text() -> None:
    """Whichever of the two it is."""
    house = backed_up()
    first = call(house, methods.TAKE_BACKUP)
    while house.edge.waiting():
        house.node.turn(0)
    for method in (methods.BACKUP, methods.RESTORE, methods.TAKE_BACKUP, methods.RESTORE_BACKUP):
        code, _, reason = settle_refused(house, call(house, method))
        assert (code, reason) == (10, "Another global keyspace mutation is in progress")
    assert settle(house, first)[0] == 0


def settle_refused(house: House, call_id: int) -> tuple[int, bytes, str]:
    while not house.has_reply(call_id):
        house.node.turn(0)
    return house.reply(call_id)


def test_job_goes_on_when_its_caller_has_gone() -> None:
    """A client's deadline ends its wait and nothing else."""
    house = House()
    house.put(b"k", b"v")
    house.settle()
    call_id = call(house, methods.BACKUP)
    while house.edge.waiting():
        house.node.turn(0)
    house.edge.leave(call_id)
    for _ in range(200):
        house.node.turn(0)
    assert PATH in house.shelf.kept
    assert not house.edge.violations


@pytest.mark.parametrize("path", ["", "  ", "a\0b"])
def test_empty_path_is_refused_with_the_originals_text(path: str) -> None:
    """Before anything is looked at."""
    house = House()
    assert settle_refused(house, call(house, methods.BACKUP, path))[::2] == (3, "valid path must be provided")


def test_restore_until_two_points_is_refused() -> None:
    """One point in time, not two."""
    house = House()
    request = pb.RestoreBackupRequest(path=PATH, untilChangeNumber=1, untilTime=1)
    call_id = house.edge.call(methods.RESTORE_BACKUP, request.SerializeToString())
    assert settle_refused(house, call_id)[0] == 3


def test_failed_job_tells_its_stream_and_the_next_can_run() -> None:
    """The reason with its code; nothing was replaced."""
    house = backed_up()
    house.shelf.is_damaged = True
    code, _, reason = settle(house, call(house, methods.RESTORE_BACKUP))
    assert (code, reason) == (15, "simulated: a file is not what its checksum says")
    assert house.value_of(b"k") == (True, b"old")
    assert settle(house, call(house, methods.RESTORE_BACKUP))[0] == 0


def test_restore_below_the_low_water_mark_ends_and_leaves_nothing() -> None:
    """RESOURCE_EXHAUSTED, as any write; the old rows are served."""
    house = House(free_bytes_min=1 << 20)
    house.put(b"k", b"v")
    house.settle()
    assert settle(house, call(house, methods.BACKUP))[0] == 0
    house.store.free_bytes_now = 1_000
    house.clock.advance(1_000)
    assert settle(house, call(house, methods.RESTORE))[0] == 8
    house.store.free_bytes_now = 1 << 40
    house.clock.advance(1_000)
    assert house.value_of(b"k") == (True, b"v")


def test_job_waits_while_the_engine_stalls() -> None:
    """No slice is written then, and it goes on by itself."""
    house = backed_up()
    running = house.node.jobs.start(RestoreOrder(PATH))
    house.store.pressure_now = house.store.pressure_now._replace(stopped=True)
    house.settle()
    assert running.outcome is None
    house.store.pressure_now = NO_PRESSURE
    for _ in range(20):
        house.settle()
    assert isinstance(running.outcome, Finished)


def test_job_without_a_call_has_its_outcome() -> None:
    """As a server needs it that begins with a backup."""
    house = backed_up()
    running = house.node.jobs.start(BackupOrder(PATH))
    with pytest.raises(Busy):
        house.node.jobs.start(BackupOrder(PATH))
    while running.outcome is None:
        house.settle()
    assert running.outcome == Finished(1, house.node.sole.replica.history_id, house.node.sole.replica.log_time)


def test_writes_around_the_switch_are_answered_under_their_own_history() -> None:
    """Before it, of the old one; from it on, of the new one, with numbers above it."""
    house = backed_up()
    old = house.node.sole.replica.history_id
    house.node.jobs.start(RestoreOrder(PATH))
    replies = []
    for _ in range(100):
        replies.append(house.put(b"k", b"new"))
        house.settle()
    told = [pb.PutResponse.FromString(house.reply(call_id)[1]) for call_id in replies]
    assert {each.historyId for each in told} == {old, house.node.sole.replica.history_id}
    numbers = [each.changeNumber for each in told]
    assert len(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)) == 1
    assert house.value_of(b"k") == (True, b"new")


def test_job_waits_patiently_and_works_without_a_pause() -> None:
    """A turn does not sleep on work at hand, nor spin while others work."""
    house = backed_up()
    jobs = house.node.jobs
    assert jobs.patience_ms(100) == 100
    running = jobs.start(RestoreOrder(PATH))
    assert jobs.patience_ms(100) == 0
    while not running.is_waiting:
        house.node.turn(0)
    assert jobs.patience_ms(100) == 20
    assert jobs.patience_ms(5) == 5


def test_job_whose_log_takes_nothing_proposes_again() -> None:
    """None from consensus means not now."""
    house = backed_up()
    propose, refused = house.node.consensus.propose, []

    def refuse_some(vbucket: int, data: bytes) -> tuple[int, int] | None:
        if len(refused) < 3:
            refused.append(data)
            return None
        return propose(vbucket, data)

    house.node.consensus.propose = refuse_some  # type: ignore[method-assign]
    assert settle(house, call(house, methods.RESTORE))[0] == 0
    assert len(refused) == 3


def test_restore_ends_when_another_replica_comes_before_it_is_proposed() -> None:
    """It could not apply the command (INVARIANTS 22); what was staged is gone."""
    house = backed_up()
    replica, running = house.node.sole.replica, house.node.jobs.start(RestoreOrder(PATH))
    voters, *_ = replica.members
    replica.members = voters, [99], [], [], False
    for _ in range(200):
        house.node.turn(0)
    assert isinstance(running.outcome, BackupFailed)
    assert replica.staged is None
    assert house.store.get_many([replica.staging_key(1)]) == [None]
    assert house.value_of(b"k") == (True, b"old")


def test_engine_that_fails_under_a_job_ends_the_node() -> None:
    """INVARIANTS 6."""
    house = backed_up()
    house.node.jobs.start(RestoreOrder(PATH))
    house.store.fail_next_write = StorageFailed("simulated")
    with pytest.raises(StorageFailed):
        house.settle()


def test_job_is_dropped_with_its_node() -> None:
    """As by a crash: nothing more is written."""
    house = backed_up()
    running = house.node.jobs.start(RestoreOrder(PATH))
    house.node.turn(0)
    house.node.close()
    assert running.outcome is None
    assert house.node.jobs.patience_ms(100) == 100


def test_backup_is_taken_below_the_low_water_mark() -> None:
    """It writes elsewhere, and there is no better moment for it."""
    house = House(free_bytes_min=1 << 20)
    house.store.free_bytes_now = 600 << 10
    house.clock.advance(1_000)
    refused = house.put(b"k", b"v")
    house.settle()
    assert house.reply(refused)[0] == int(Overloaded("").code)
    assert settle(house, call(house, methods.BACKUP))[0] == 0


def test_log_before_a_restore_is_cut_once_the_engine_has_synced_behind_it() -> None:
    """Nobody can ask for the history that has ended."""
    house = backed_up()
    before = house.node.consensus.log_bounds(1).first_index
    assert settle(house, call(house, methods.RESTORE))[0] == 0
    restored_at = house.node.sole.replica.applied_index
    for _ in range(5):
        house.clock.advance(1_000)
        house.settle()
    assert before < restored_at < house.node.consensus.log_bounds(1).first_index
