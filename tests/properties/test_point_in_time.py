"""Restore to a point in time, against a second version that remembers the state after every change."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("dkv._native", reason="the native module is not built")

from tests.unit.node.test_node_turns import House

from dkv.model.backups import BackupOrder, Finished, RestoreOrder
from dkv.model.errors import BeyondHistory, DkvError, HistoryPurged
from dkv.wire import messages as pb
from dkv.wire import methods

PATH, MS, TTL_S = "/shelf", 1_000, 3
KEYS = [b"a", b"b", b"c"]


class Call(NamedTuple):
    method: int
    message: bytes


def put(key: bytes, value: bytes, seconds: int) -> Call:
    return Call(methods.PUT, pb.PutRequest(key=key, value=value, ttlMs=seconds * MS).SerializeToString())


def delete(key: bytes) -> Call:
    return Call(methods.DELETE, pb.DeleteRequest(key=key).SerializeToString())


def delete_range(start: bytes, end: bytes) -> Call:
    return Call(methods.DELETE_RANGE, pb.DeleteRangeRequest(start=start, end=end).SerializeToString())


def compare_and_set(key: bytes, old: bytes, new: bytes) -> Call:
    request = pb.CompareAndSetRequest(key=key, oldValue=old, newValue=new)
    return Call(methods.COMPARE_AND_SET, request.SerializeToString())


def multi_put(keys: Sequence[bytes], value: bytes) -> Call:
    request = pb.MultiPutRequest(putRequest=[pb.PutRequest(key=key, value=value) for key in keys])
    return Call(methods.MULTI_PUT, request.SerializeToString())


keys, values = st.sampled_from(KEYS), st.sampled_from([b"", b"1", b"2"])
calls = st.one_of(
    st.builds(put, keys, values, st.sampled_from([0, 0, TTL_S])),
    st.builds(delete, keys),
    st.builds(delete_range, keys, st.sampled_from([b"", b"b", b"c"])),
    st.builds(compare_and_set, keys, values, values),
    st.builds(multi_put, st.lists(keys, min_size=1, max_size=3), values),
)


class Moment(NamedTuple):
    """The state after a call: everything that was there, whether or not somebody sees it later."""

    change_number: int
    log_time: int
    values: dict[bytes, bytes | None]


class Diary:
    """A node, and what it looked like after every call."""

    def __init__(self) -> None:
        self.house = House()
        self.moments = [self.moment()]

    def make(self, call: Call) -> None:
        self.house.edge.call(call.method, call.message)
        self.house.settle()
        self.house.clock.advance(10)
        self.moments.append(self.moment())

    def moment(self) -> Moment:
        replica = self.house.node.sole.replica
        return Moment(replica.change_number, replica.log_time, {key: self.value(key) for key in KEYS})

    def value(self, key: bytes) -> bytes | None:
        found, value = self.house.value_of(key)
        return value if found else None

    def run(self, order: BackupOrder | RestoreOrder) -> Finished | DkvError:
        running = self.house.node.jobs.start(order)
        while running.outcome is None:
            self.house.settle()
        return running.outcome


@settings(max_examples=40, deadline=None)
@given(st.lists(calls, max_size=8), st.lists(calls, max_size=8), st.data())
def test_restore_until_any_change_gives_the_state_after_it(
    before: list[Call], behind: list[Call], data: st.DataObject
) -> None:
    """A point within a MultiPut stands for the one before it; numbers go on above everything that ever was."""
    diary = Diary()
    for call in before:
        diary.make(call)
    backup = diary.run(BackupOrder(PATH))
    assert isinstance(backup, Finished)
    for call in behind:
        diary.make(call)
    latest = diary.moments[-1].change_number
    until = data.draw(st.integers(backup.change_number, latest))
    wanted = [each for each in diary.moments if each.change_number <= until][-1]
    restored = diary.run(RestoreOrder(PATH, until_change_number=until) if until else RestoreOrder(PATH))
    assert isinstance(restored, Finished), restored
    assert diary.moment().values == wanted.values
    assert restored.change_number == latest + 1


@settings(max_examples=25, deadline=None)
@given(st.lists(calls, min_size=1, max_size=8), st.data())
def test_restore_until_any_time_gives_the_state_of_that_time(behind: list[Call], data: st.DataObject) -> None:
    """Everything with that log time or an earlier one, nothing later."""
    diary = Diary()
    backup = diary.run(BackupOrder(PATH))
    assert isinstance(backup, Finished)
    for call in behind:
        diary.make(call)
    until = data.draw(st.integers(backup.log_time, diary.moments[-1].log_time + 5))
    wanted = [each for each in diary.moments if each.log_time <= until][-1]
    restored = diary.run(RestoreOrder(PATH, until_time=until))
    assert isinstance(restored, Finished), restored
    assert diary.moment().values == wanted.values


def test_restore_until_a_time_forgets_what_had_expired_by_now() -> None:
    """Log time never goes back: what was alive then and is due by now is not seen again, and is swept."""
    diary = Diary()
    diary.run(BackupOrder(PATH))
    diary.make(put(b"a", b"1", TTL_S))
    until = diary.moments[-1].change_number
    diary.house.clock.advance(2 * TTL_S * MS)
    diary.house.settle()
    assert diary.value(b"a") is None
    assert isinstance(diary.run(RestoreOrder(PATH, until_change_number=until)), Finished)
    for _ in range(3):
        diary.house.clock.advance(MS)
        diary.house.settle()
    assert diary.value(b"a") is None
    assert diary.house.node.sole.replica.earliest_expiry is None


@pytest.mark.parametrize("changes", [1, 5_000])
def test_restore_until_the_latest_change_of_many_reads_all_of_the_log(changes: int) -> None:
    """More than a slice, and more than is read of the log at once."""
    diary = Diary()
    diary.run(BackupOrder(PATH))
    keys = [b"%05d" % number for number in range(changes)]
    for start in range(0, changes, 500):
        diary.make(multi_put(keys[start : start + 500], b"v" * 100))
    assert isinstance(diary.run(RestoreOrder(PATH, until_change_number=changes)), Finished)
    assert diary.house.value_of(keys[-1]) == (True, b"v" * 100)
    assert diary.house.node.sole.replica.change_number == changes + 1


def test_restore_until_a_point_that_is_not_there_says_which_there_are() -> None:
    """Before the backup, behind the latest change, still to come."""
    diary = Diary()
    diary.make(put(b"a", b"1", 0))
    backup = diary.run(BackupOrder(PATH))
    assert isinstance(backup, Finished)
    diary.make(put(b"a", b"2", 0))
    diary.run(BackupOrder(PATH))
    before = diary.run(RestoreOrder(PATH, until_change_number=1))
    assert isinstance(before, BeyondHistory)
    assert str(before) == "change 1 is not between the last of the backup, 2, and the latest, 2"
    assert isinstance(diary.run(RestoreOrder(PATH, until_change_number=3)), BeyondHistory)
    assert isinstance(diary.run(RestoreOrder(PATH, until_time=1)), BeyondHistory)
    request = pb.RestoreBackupRequest(path=PATH, untilTime=1 << 60).SerializeToString()
    call_id = diary.house.edge.call(methods.RESTORE_BACKUP, request)
    diary.house.settle()
    assert diary.house.reply(call_id)[0] == 9
    assert diary.value(b"a") == b"2"


def test_restore_until_a_point_of_another_history_is_purged() -> None:
    """After a restore the numbers of before mean nothing any more."""
    diary = Diary()
    diary.run(BackupOrder(PATH))
    diary.make(put(b"a", b"1", 0))
    assert isinstance(diary.run(RestoreOrder(PATH)), Finished)
    diary.make(put(b"a", b"2", 0))
    refused = diary.run(RestoreOrder(PATH, until_change_number=3))
    assert isinstance(refused, HistoryPurged)
    assert diary.value(b"a") == b"2"
    assert diary.house.node.sole.replica.staged is None


def test_restore_until_a_point_whose_history_is_cut_is_purged() -> None:
    """Never a state with a hole in it."""
    diary = Diary()
    diary.make(put(b"a", b"1", 0))
    diary.run(BackupOrder(PATH))
    for value in (b"2", b"3", b"4"):
        diary.make(put(b"a", value, 0))
    node = diary.house.node
    first = node.sole.history.outcomes_at(node.sole.replica.applied_index)
    assert first is not None
    node.store.write(node.sole.replica.cut_history(first.log_index - 1, first.outcomes))
    assert isinstance(diary.run(RestoreOrder(PATH, until_change_number=4)), HistoryPurged)
    assert diary.value(b"a") == b"4"
