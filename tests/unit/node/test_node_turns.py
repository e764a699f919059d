"""The turn, on a real Raft core over a log that forgets, with time in the test's hand."""

import random

import pytest

from dkv.edge import Raft
from dkv.edge.consensus import NativeConsensus
from dkv.model.errors import StorageFailed
from dkv.model.limits import Limits
from dkv.node.making import Given, make_node
from dkv.node.opening import open_vbucket
from dkv.ports.clock import Now
from dkv.services.registry import Services
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelf
from dkv.testing.edge import SimulatedEdge
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.vbucket.history import ENTRY_OVERHEAD_BYTES
from dkv.vbucket.outcomes import decode_outcomes_at
from dkv.vbucket.retention import Retention
from dkv.wire import messages as pb
from dkv.wire import methods

VBUCKET, REPLICA = 1, 77


class HandClock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.wall_ms, self.monotonic_ms = 1_700_000_000_000, 5_000

    def now(self) -> Now:
        return Now(self.wall_ms, self.monotonic_ms)

    def advance(self, ms: int) -> None:
        self.wall_ms += ms
        self.monotonic_ms += ms


class FixedRandom:
    def bytes(self, count: int) -> bytes:
        return b"\x07" * count


class House:
    """A node with its parts in reach."""

    def __init__(
        self, limits: Limits | None = None, free_bytes_min: int = 0, retention: Retention | None = None
    ) -> None:
        limits = limits or Limits()
        self.clock, self.disk, self.store = HandClock(), LogDisk(), MemoryStore(auto_sync=True)
        self.is_quick = False
        self.log = SimulatedLog(self.disk, is_quick=lambda: self.is_quick)
        self.shelf = Shelf(random.Random(2), self.store)
        self.edge = SimulatedEdge(random.Random(1))
        consensus = NativeConsensus(Raft(seed=1), self.log)
        replica = open_vbucket(VBUCKET, REPLICA, self.store, consensus, self.clock, FixedRandom())
        self.node = make_node(
            Given(
                edge=self.edge,
                consensus=consensus,
                store=self.store,
                clock=self.clock,
                replicas=[replica],
                services=Services(limits),
                limits=limits,
                backups=self.shelf,
                random=FixedRandom(),
                free_bytes_min=free_bytes_min,
                retention=retention or Retention(),
            )
        )
        consensus.campaign(VBUCKET)
        self.settle()

    def settle(self) -> None:
        """Turns and syncs until nothing moves."""
        for _ in range(20):
            self.node.turn(0)
            self.log.step_disk()

    def put(self, key: bytes, value: bytes) -> int:
        return self.edge.call(methods.PUT, pb.PutRequest(key=key, value=value).SerializeToString())

    def get(self, key: bytes) -> int:
        return self.edge.call(methods.GET, pb.GetRequest(key=key).SerializeToString())

    def reply(self, call_id: int) -> tuple[int, bytes, str]:
        """(code, message, reason) of a call that has ended; fails when it has not."""
        self._replies = getattr(self, "_replies", {})
        self._replies.update({each.call_id: each for each in self.edge.take_replies()})
        each = self._replies[call_id]
        return each.code, each.message, each.reason

    def has_reply(self, call_id: int) -> bool:
        self._replies = getattr(self, "_replies", {})
        self._replies.update({each.call_id: each for each in self.edge.take_replies()})
        return call_id in self._replies

    def stream(self, call_id: int) -> list[bytes]:
        """The messages of a stream that has ended."""
        return self._replies[call_id].items

    def value_of(self, key: bytes) -> tuple[bool, bytes]:
        call_id = self.get(key)
        self.settle()
        response = pb.GetResponse.FromString(self.reply(call_id)[1])
        return response.found, response.value


def arrive(house: House, call_id: int) -> None:
    """Turns until the call has reached the node."""
    while house.edge.waiting():
        house.node.turn(0)


def test_put_before_its_sync_is_not_answered() -> None:
    """A put is acknowledged only when its entry is durable, and then it is."""
    house = House()
    call_id = house.put(b"k", b"v")
    arrive(house, call_id)
    for _ in range(10):
        house.node.turn(0)
    assert not house.has_reply(call_id)
    house.settle()
    assert house.reply(call_id)[0] == 0
    assert house.value_of(b"k") == (True, b"v")


def test_lone_put_on_a_quick_disk_is_synced_in_line() -> None:
    """The turn that takes it answers it, and what it answers is on disk."""
    house = House()
    house.is_quick = True
    call_id = house.put(b"k", b"v")
    arrive(house, call_id)
    assert house.reply(call_id)[0] == 0
    assert not house.disk.queued
    assert not house.disk.written
    assert house.value_of(b"k") == (True, b"v")


def test_put_beside_another_call_is_left_to_the_log() -> None:
    """Where somebody else would wait for the disk too, the turn does not."""
    house = House()
    calls = [house.put(b"a", b"v")]
    arrive(house, calls[0])
    house.is_quick = True
    calls.append(house.put(b"b", b"v"))
    arrive(house, calls[1])
    assert not any(house.has_reply(call_id) for call_id in calls)
    house.settle()
    assert [house.reply(call_id)[0] for call_id in calls] == [0, 0]


def test_sync_in_line_that_fails_ends_the_node_and_answers_nothing() -> None:
    """As on the log's own thread: no reply, no second try."""
    house = House()
    house.is_quick, house.disk.sync_fails = True, True
    call_id = house.put(b"k", b"v")
    with pytest.raises(StorageFailed):
        arrive(house, call_id)
    assert not house.has_reply(call_id)


def test_puts_of_one_turn_larger_than_an_entry_are_split_and_all_applied() -> None:
    """Commands beyond the limit of an entry go into several entries; every call is answered."""
    house = House(Limits(entry_bytes_max=200))
    ids = [house.put(b"key%d" % number, b"v" * 100) for number in range(8)]
    house.settle()
    assert [house.reply(call_id)[0] for call_id in ids] == [0] * 8
    numbers = {pb.PutResponse.FromString(house.reply(call_id)[1]).changeNumber for call_id in ids}
    assert numbers == set(range(1, 9))


def test_write_on_a_full_disk_is_refused_and_resumes_by_itself() -> None:
    """Below the low-water mark writes get RESOURCE_EXHAUSTED, reads go on, and writes resume when space returns."""
    house = House(free_bytes_min=1 << 20)
    house.store.free_bytes_now = 1000
    house.clock.advance(1_000)
    refused = house.put(b"k", b"v")
    house.settle()
    assert house.reply(refused)[0] == 8
    assert house.value_of(b"k") == (False, b"")
    house.store.free_bytes_now = 1 << 30
    house.clock.advance(1_000)
    accepted = house.put(b"k", b"v")
    house.settle()
    assert house.reply(accepted)[0] == 0


def test_stopped_engine_defers_apply_and_refuses_writes_until_it_runs_again() -> None:
    """While the engine is stopped nothing is applied or lost; what was in the log is answered afterwards."""
    house = House()
    house.store.pressure_now = house.store.pressure_now._replace(stopped=True)
    first = house.put(b"a", b"1")
    house.settle()
    assert not house.has_reply(first)
    second = house.put(b"b", b"2")
    house.settle()
    assert house.reply(second)[0] == 8
    house.store.pressure_now = house.store.pressure_now._replace(stopped=False)
    house.settle()
    assert house.reply(first)[0] == 0
    assert house.value_of(b"a") == (True, b"1")


def test_key_with_ttl_vanishes_when_the_clock_passes_without_other_writes() -> None:
    """The leader ticks when an expiry is due, so that a key disappears on an idle server, and the sweep removes it."""
    house = House()
    message = pb.PutRequest(key=b"k", value=b"v", ttlMs=500).SerializeToString()
    put = house.edge.call(methods.PUT, message)
    house.settle()
    assert house.reply(put)[0] == 0
    assert house.value_of(b"k") == (True, b"v")
    house.clock.advance(2_000)
    house.settle()
    assert house.value_of(b"k") == (False, b"")
    house.clock.advance(2_000)
    house.settle()
    assert house.store.get_many(house.node.sole.replica.row_keys([b"k"])) == [None]


def test_idle_log_notes_the_time_so_that_a_restart_does_not_look_like_a_jump() -> None:
    """After ten idle minutes the log time follows the clock without any client."""
    house = House()
    before = house.node.sole.replica.log_time
    house.clock.advance(700_000)
    house.settle()
    assert house.node.sole.replica.log_time > before


def test_iterate_sees_the_state_of_its_start_and_ends() -> None:
    """A scan is a snapshot: a put that comes later is not in it."""
    house = House()
    for number in range(5):
        house.put(b"k%d" % number, b"v")
    house.settle()
    call_id = house.edge.call(methods.ITERATE, pb.IterateRequest().SerializeToString())
    house.settle()
    house.put(b"k9", b"v")
    house.settle()
    house.reply(call_id)
    items = [pb.IterateResponse.FromString(item).key for item in house._replies[call_id].items]
    assert items == [b"k%d" % number for number in range(5)]


def test_iterate_beyond_the_limit_of_open_ones_is_refused() -> None:
    """Open iterates pin files, so their number is bounded."""
    house = House(Limits(iterates_open_max=0))
    call_id = house.edge.call(methods.ITERATE, pb.IterateRequest().SerializeToString())
    house.settle()
    assert house.reply(call_id)[0] == 8


def test_iterate_whose_reader_stands_still_is_ended_with_the_key_to_resume_from() -> None:
    """It pins files: after a minute without progress it goes, and its reader is told where to go on."""
    house = House()
    for number in range(8):
        house.put(b"k%d" % number, bytes(200_000))
        house.settle()
    call_id = house.edge.call(methods.ITERATE, pb.IterateRequest().SerializeToString())
    house.settle()
    house.clock.advance(59_000)
    house.settle()
    assert not house.has_reply(call_id)
    house.clock.advance(2_000)
    house.settle()
    assert house.reply(call_id)[0] == 10
    seen = [pb.IterateResponse.FromString(item).key for item in house._replies[call_id].items]
    assert 1 <= len(seen) < 8
    assert house.reply(call_id)[2] == f"the reader made no progress for 60 s; resume after the key {seen[-1]!r}"
    assert house.node.sole.scans.count == 0


def test_engine_sync_cuts_the_log_only_up_to_what_was_applied_before_it() -> None:
    """The log keeps every entry that the engine has not synced."""
    house = House(retention=Retention(0, 0))
    for number in range(3):
        house.put(b"k%d" % number, b"v")
        house.settle()
    house.clock.advance(5_000)
    house.settle()
    state = house.log.state(VBUCKET)
    assert state is not None
    assert 2 < state[1] <= house.node.sole.replica.applied_index


def test_history_beyond_its_budget_goes_from_log_and_engine() -> None:
    """One row of outcomes per entry would grow for ever: those of entries that the log no longer has are deleted."""
    house = House(retention=Retention(3 * (ENTRY_OVERHEAD_BYTES + 32), 1))
    for number in range(9):
        house.put(b"k%d" % number, b"v")
        house.settle()
    house.clock.advance(5_000)
    house.settle()
    replica = house.node.sole.replica
    state = house.log.state(VBUCKET)
    scan = house.store.scan(*replica.outcomes_after(0))
    rows = [decode_outcomes_at(row) for row in scan.take(100, 1 << 20)]
    scan.close()
    assert state is not None
    assert 3 <= len(rows) <= 4
    assert replica.earliest_index == rows[0].log_index == state[1]
    assert replica.earliest_change == rows[0].outcomes.first_change_number == 10 - len(rows)


def test_history_within_its_budget_is_kept_and_raft_lets_go_of_it() -> None:
    """What readers may ask for stays in the log, not in memory."""
    house = House()
    for number in range(9):
        house.put(b"k%d" % number, b"v")
        house.settle()
    house.clock.advance(5_000)
    house.settle()
    state = house.log.state(VBUCKET)
    assert state is not None
    assert state[1] == 2
    assert house.node.sole.replica.earliest_change == 1
    assert house.node.consensus.status(VBUCKET)["first_index"] > 9


def test_history_after_an_open_begins_where_the_log_does() -> None:
    """A power loss can leave the engine as it was before the log was cut."""
    house = House()
    for number in range(5):
        house.put(b"k%d" % number, b"v")
        house.settle()
    house.node.consensus.cut(VBUCKET, house.node.sole.replica.applied_index - 2)
    house.log.close()
    consensus = NativeConsensus(Raft(seed=2), SimulatedLog(house.disk))
    replica = open_vbucket(VBUCKET, REPLICA, house.store, consensus, house.clock, FixedRandom())
    assert (replica.earliest_change, replica.change_number) == (4, 5)
    assert replica.history_bytes == replica.log_bytes // 5
