"""Readers of the history, on a whole node over simulated disks: from log and tail, beside cuts, slow and stuck ones."""

from collections.abc import Callable, Iterator

import pytest

from dkv.model.errors import Code, Corrupt, HistoryPurged, Overloaded
from dkv.model.limits import Limits
from dkv.node import readers
from dkv.node.life import drain
from dkv.node.scans import STREAM_BUFFER_BYTES
from dkv.ports.store import RowBatch
from dkv.testing.edge import Reply, SimulatedEdge
from dkv.testing.machine import Life, Machine
from dkv.vbucket.retention import Retention
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.errors import from_status


class House:
    """A node and its clients."""

    def __init__(self, retention: Retention, limits: Limits) -> None:
        self.machine = Machine(1, limits)
        self.machine.retention = retention
        self.machine.store.auto_sync = True
        self.life: Life = self.machine.start()
        self.replies: dict[int, Reply] = {}
        self.settle()

    @property
    def node(self):
        return self.life.node

    def settle(self, turns: int = 30) -> None:
        for _ in range(turns):
            self.life.node.turn(0)
            self.life.log.step_disk()
            self.replies |= {reply.call_id: reply for reply in self.life.edge.take_replies()}
        assert self.life.edge.violations == []

    def restart(self) -> None:
        self.machine.crash_process()
        self.life = self.machine.start()
        self.settle()

    def put(self, *keys: bytes, value: bytes = b"v") -> int:
        """One MultiPut, applied; its last number."""
        request = pb.MultiPutRequest(putRequest=[pb.PutRequest(key=key, value=value) for key in keys])
        call_id = self.life.edge.call(methods.MULTI_PUT, request.SerializeToString())
        self.settle()
        return pb.PutResponse.FromString(self.replies[call_id].message).changeNumber

    def fill(self, count: int) -> None:
        for at in range(count):
            self.put(b"k%d" % at)

    def follow(self, **fields: object) -> "Follower":
        request = pb.StreamChangesRequest(**fields)  # type: ignore[arg-type]
        return Follower(self, self.life.edge.call(methods.STREAM_CHANGES, request.SerializeToString()))

    def pass_time(self, ms: int) -> None:
        self.machine.clock.advance(ms)
        self.settle()


class Follower:
    """One stream; what it has got so far."""

    def __init__(self, house: House, call_id: int) -> None:
        self.house, self.call_id = house, call_id
        self.messages: list[pb.StreamChangesResponse] = []

    def take(self) -> list[int]:
        """The numbers that came since the last time."""
        self.house.settle()
        items = self.house.life.edge.take_items(self.call_id)
        if self.call_id in self.house.replies:
            items += self.house.replies[self.call_id].items
        news = [pb.StreamChangesResponse.FromString(item) for item in items]
        self.messages += news
        return [change.changeNumber for message in news for change in message.changes]

    @property
    def error(self):
        """How it ended; None while it is open or when it ended well."""
        reply = self.house.replies.get(self.call_id)
        return None if reply is None or not reply.code else from_status(reply.code, reply.reason, reply.details)


Open = Callable[..., House]


@pytest.fixture
def house() -> Iterator[Open]:
    """Opens houses, and looks at the end whether somebody was answered twice."""
    opened: list[House] = []

    def open_house(retention: Retention | None = None, limits: Limits | None = None) -> House:
        opened.append(House(retention or Retention(), limits or Limits()))
        return opened[-1]

    yield open_house
    assert [each.life.edge.violations for each in opened] == [[] for _ in opened]


def numbers(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


@pytest.mark.parametrize("first", [1, 2, 5, 9])
def test_reader_gets_the_log_from_its_number_on_and_then_what_comes(house: Open, first: int) -> None:
    """Old changes from the log, new ones in the turn that applied them; no number twice, none left out."""
    home = house()
    home.fill(8)
    reader = home.follow(fromChangeNumber=first)
    assert reader.take() == numbers(first, 8)
    home.put(b"x", b"y")
    assert reader.take() == [9, 10]
    assert reader.messages[-1].nextChangeNumber == 11
    assert home.life.node.sole.history.tail.first_index is not None


def test_reader_from_now_gets_only_what_comes(house: Open) -> None:
    """Its first message says where it begins."""
    home = house()
    home.fill(3)
    reader = home.follow(fromNow=True)
    assert reader.take() == []
    assert reader.messages[0].nextChangeNumber == 4
    home.put(b"x")
    assert reader.take() == [4]


def test_reader_of_a_new_change_waits_for_no_poll(house: Open) -> None:
    """The turn that applies a change sends it."""
    home = house()
    reader = home.follow(fromNow=True)
    home.settle()
    home.life.edge.take_items(reader.call_id)
    request = pb.PutRequest(key=b"k", value=b"v").SerializeToString()
    home.life.edge.call(methods.PUT, request)
    while home.node.sole.replica.change_number == 0:
        assert home.life.edge.take_items(reader.call_id) == []
        home.node.turn(0)
        home.life.log.step_disk()
    (message,) = home.life.edge.take_items(reader.call_id)
    assert [change.key for change in pb.StreamChangesResponse.FromString(message).changes] == [b"k"]


def test_reader_after_a_restart_resumes_where_it_was(house: Open) -> None:
    """History id and number are all that is needed."""
    home = house()
    home.fill(4)
    reader = home.follow()
    assert reader.take() == numbers(1, 4)
    position = reader.messages[-1]
    home.restart()
    home.put(b"x")
    again = home.follow(fromChangeNumber=position.nextChangeNumber, historyId=position.historyId)
    assert again.take() == [5]


def test_reader_of_purged_changes_is_told_the_bounds(house: Open) -> None:
    """OUT_OF_RANGE with what was asked for, the oldest and the latest."""
    home = house(Retention(0, 1))
    home.fill(8)
    home.pass_time(5_000)
    oldest = home.node.sole.replica.earliest_change
    assert oldest > 2
    reader = home.follow(fromChangeNumber=2)
    assert reader.take() == []
    error = reader.error
    assert isinstance(error, HistoryPurged)
    assert (error.code, error.requested, error.oldest, error.latest) == (Code.OUT_OF_RANGE, 2, oldest, 8)
    assert home.follow(fromChangeNumber=oldest).take() == numbers(oldest, 8)


def test_reader_of_another_history_is_told_so(house: Open) -> None:
    """Equal numbers of another line mean nothing."""
    home = house()
    home.fill(2)
    reader = home.follow(fromChangeNumber=1, historyId=b"other" * 3)
    reader.take()
    assert isinstance(reader.error, HistoryPurged)


def test_reader_whose_history_ends_under_it_is_told_so(house: Open) -> None:
    """A restore starts a new history: old numbers have no successor in it."""
    home = house()
    home.fill(2)
    reader = home.follow()
    assert reader.take() == [1, 2]
    home.node.sole.replica.history_id = b"n" * 16
    home.put(b"x")
    assert reader.take() == []
    assert isinstance(reader.error, HistoryPurged)


def test_reader_ahead_of_the_node_is_told_so(house: Open) -> None:
    """It has seen what this node has not: no changes would be a lie."""
    home = house()
    home.fill(2)
    assert home.follow(fromChangeNumber=3).take() == []
    reader = home.follow(fromChangeNumber=4)
    reader.take()
    assert "change 3 is not applied here yet, the latest is 2" in str(reader.error)


def test_reader_that_is_purged_while_it_reads_is_told_so(house: Open) -> None:
    """It was full when the log was cut over its head."""
    home = house(Retention(0, 1))
    for at in range(4):
        home.put(b"k%d" % at, value=bytes(200_000))
    reader = home.follow()
    home.settle()
    home.fill(4)
    home.pass_time(5_000)
    assert home.node.sole.replica.earliest_change > 4
    assert reader.take() == [1, 2, 3]
    assert reader.take() == []
    assert isinstance(reader.error, HistoryPurged)


def take_fetched(home: House) -> None:
    """What was asked of the log has been read."""
    fetched = home.node.consensus.fetched()
    assert fetched
    home.node.readers.take_fetched(fetched)


def test_reader_beside_a_cut_of_what_it_waits_for_reads_on_behind_it(house: Open) -> None:
    """The log was cut between the question for entries and the answer, but not beyond the reader's next change."""
    home = house()
    home.fill(3)
    place = home.node.sole.history.place(3, b"")
    place.index = 2
    assert list(home.node.sole.history.entries(place)) == []
    index = home.node.sole.history.index_of(3)
    row = home.node.sole.history.outcomes_at(index)
    home.machine.store.write(home.node.sole.replica.cut_history(index - 1, row.outcomes))
    home.node.consensus.cut(1, index - 1)
    take_fetched(home)
    assert list(home.node.sole.history.entries(place)) == []
    take_fetched(home)
    assert [entry.first_number for entry in home.node.sole.history.entries(place)] == [3]


def test_log_that_cannot_be_read_ends_the_node(house: Open) -> None:
    """What the history claims to have and the log does not is damage."""
    home = house()
    home.fill(3)
    home.node.consensus.cut(1, 3)
    home.follow(fromChangeNumber=1)
    with pytest.raises(Corrupt, match="the log cannot be read"):
        home.settle()


def test_change_without_an_outcomes_row_ends_the_node(house: Open) -> None:
    """The engine lost what the metadata row says it has."""
    home = house()
    home.fill(3)
    home.machine.store.write(RowBatch([], [home.node.sole.replica.outcomes_after(0)]))
    home.follow(fromChangeNumber=2)
    with pytest.raises(Corrupt, match="change 2 has no outcomes row"):
        home.settle()


def test_reader_that_takes_nothing_holds_a_bounded_amount_and_stops_nobody(house: Open) -> None:
    """It is passed over; when it takes again, it goes on where it was."""
    home = house()
    for at in range(8):
        home.put(b"k%d" % at, value=bytes(200_000))
    slow, quick = home.follow(), home.follow()
    got = []
    for _ in range(8):
        got += quick.take()
    assert got == numbers(1, 8)
    assert sum(map(len, home.life.edge._items[slow.call_id])) < 2 * STREAM_BUFFER_BYTES
    got = []
    for _ in range(8):
        got += slow.take()
    assert got == numbers(1, 8)


def test_reader_that_takes_nothing_for_a_minute_is_told_where_to_resume(house: Open) -> None:
    """ABORTED; one that has nothing to take may wait for ever."""
    home = house()
    for at in range(5):
        home.put(b"k%d" % at, value=bytes(200_000))
    idle = home.follow(fromNow=True)
    stuck = home.follow()
    home.settle()
    idle.take()
    home.pass_time(61_000)
    assert idle.take() == []
    assert idle.error is None
    reply = home.replies[stuck.call_id]
    assert (reply.code, reply.reason) == (
        Code.ABORTED,
        "the reader made no progress for 60 s; resume at change 4",
    )


def test_reader_that_lags_behind_the_tail_reads_the_log_again(house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tail is small; who is not up to date finds the rest in the log, without a hole between the two."""
    monkeypatch.setattr(readers, "TAIL_BYTES_MAX", 500_000)
    home = house()
    reader = home.follow(fromNow=True)
    home.settle()
    for at in range(9):
        home.put(b"k%d" % at, value=bytes(200_000))
    got = []
    for _ in range(9):
        got += reader.take()
    assert got == numbers(1, 9)
    home.put(b"x")
    assert reader.take() == [10]


def behind(home: House) -> Follower:
    """A reader that lacks 300 changes, of six entries, which are read of the log already."""
    for at in range(6):
        home.put(*[b"k%d.%d" % (at, each) for each in range(50)])
    reader = home.follow()
    while not home.node.readers.count:
        home.node.turn(0)
    take_fetched(home)
    return reader


def test_readers_with_other_work_get_a_little_more_than_what_is_written(house: Open) -> None:
    """Writers lose little, and the readers come nearer."""
    home = house()
    reader = behind(home)
    home.machine.clock.advance(readers.BUSY_INTERVAL_MS)
    now = home.machine.clock.now()
    turn = readers.Turn(0)
    home.node.readers.feed(turn, [1], now, is_busy=True)
    ((_, (message,)),) = turn.items
    assert len(pb.StreamChangesResponse.FromString(message).changes) == 150  # 16, and 25 a millisecond: three entries
    assert home.node.readers.has_more
    assert home.node.readers.patience_ms == readers.BUSY_WAIT_MS
    assert reader.take() == numbers(151, 300)


def test_nobody_is_waited_on_once_the_last_reader_has_gone(house: Open) -> None:
    """It could have been given more at once; a node that went on looking for it would never sleep again."""
    home = house()
    reader = behind(home)
    home.machine.clock.advance(readers.BUSY_INTERVAL_MS)
    now = home.machine.clock.now()
    home.node.readers.feed(readers.Turn(0), [1], now, is_busy=True)
    assert home.node.readers.has_more
    home.node.readers.forget([reader.call_id])
    assert not home.node.readers.has_more


def test_reader_far_behind_gets_its_small_share_also_between_two_batches_of_writes(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was answered in a turn comes again right behind it, so that is no time to catch up in; and an entry that is
    larger than a share is paid for by later ones."""
    monkeypatch.setattr(readers, "TURN_CHANGES_MAX", 60)
    monkeypatch.setattr(readers, "BUSY_CHANGES_PER_MS", 1)
    home = house()
    behind(home)
    given = 0
    for at in range(4):
        home.machine.clock.advance(readers.BUSY_INTERVAL_MS)
        now = home.machine.clock.now()
        turn = readers.Turn(0)
        home.node.readers.feed(turn, [1], now, is_busy=at % 2 == 0)
        given += sum(len(pb.StreamChangesResponse.FromString(each).changes) for _, (each,) in turn.items)
    share = max(readers.BUSY_CHANGES_MIN, readers.BUSY_CHANGES_PER_MS * readers.BUSY_INTERVAL_MS)
    assert 50 <= given < 5 * share + 50  # one more, as it had waited before the first


def test_reader_that_is_quite_up_to_date_waits_for_no_pause(house: Open) -> None:
    """What is applied in a turn without calls is its at once, however lately there were some."""
    home = house()
    home.fill(3)
    reader = home.follow()
    assert reader.take() == numbers(1, 3)
    now = home.machine.clock.now()
    home.node.readers.feed(readers.Turn(0), [1], now, is_busy=True)
    home.put(b"next")
    assert reader.take() == [4]


def test_readers_share_a_turn_in_turns(house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for whom the first turn was too short come first in the next."""
    monkeypatch.setattr(readers, "TURN_CHANGES_MAX", 1)
    home = house()
    home.fill(4)
    following = [home.follow() for _ in range(3)]
    home.settle(1)
    home.machine.clock.advance(readers.LATELY_MS)
    home.settle(60)
    assert [each.take() for each in following] == [numbers(1, 4)] * 3


def test_crowd_of_readers_shares_what_one_reader_may_get_in_a_turn(house: Open) -> None:
    """A call waits for one slice, however many read. Beyond it goes at most the rest of an entry."""
    home = house()
    entry = readers.TURN_CHANGES_MAX // 4
    for at in range(8):
        home.put(*[b"k%d.%d" % (at, each) for each in range(entry)])
    crowd = [home.follow(fromChangeNumber=1) for _ in range(20)]
    got = {each.call_id: 0 for each in crowd}
    while min(got.values()) < 8 * entry:
        home.machine.clock.advance(readers.LATELY_MS)  # the calls that open them are work, too
        home.node.turn(0)
        home.life.log.step_disk()
        items = {call_id: home.life.edge.take_items(call_id) for call_id in got}
        counts = {
            call_id: sum(len(pb.StreamChangesResponse.FromString(item).changes) for item in messages)
            for call_id, messages in items.items()
        }
        assert sum(counts.values()) < readers.TURN_CHANGES_MAX + entry
        got = {call_id: got[call_id] + count for call_id, count in counts.items()}
    assert set(got.values()) == {8 * entry}


def test_reply_to_a_call_does_not_wait_for_the_readers_of_its_turn(
    house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves in a crossing of its own, before the work for streams begins."""
    monkeypatch.setattr(readers, "TURN_CHANGES_MAX", 1)
    home = house()
    home.fill(30)
    crossings: list[tuple[bool, bool]] = []
    emit = SimulatedEdge.emit

    def note(edge, call_ids, messages, items, finished, http) -> None:
        crossings.append((bool(call_ids), bool(items)))
        emit(edge, call_ids, messages, items, finished, http)

    monkeypatch.setattr(SimulatedEdge, "emit", note)
    home.follow()
    for _ in range(100):
        crossings.clear()
        home.machine.clock.advance(readers.BUSY_INTERVAL_MS)
        home.life.edge.call(methods.GET, pb.GetRequest(key=b"k").SerializeToString())
        home.node.turn(0)
        home.life.log.step_disk()
        assert (True, True) not in crossings
        if crossings == [(True, False), (False, True)]:
            return
    raise AssertionError("no turn answered a call and fed the reader")


def test_readers_beyond_their_number_are_refused(house: Open) -> None:
    """RESOURCE_EXHAUSTED; who leaves makes room."""
    home = house(limits=Limits(history_readers_max=1))
    first = home.follow()
    first.take()
    second = home.follow()
    second.take()
    assert isinstance(second.error, Overloaded)
    home.life.edge.leave(first.call_id)
    home.settle()
    assert home.node.sole.history.tail.first_index is None
    third = home.follow()
    third.take()
    assert third.error is None


def test_reader_before_the_node_may_be_read_is_refused(house: Open) -> None:
    """INVARIANTS 5: UNAVAILABLE until the first entry of the own term is applied."""
    home = house()
    home.machine.crash_process()
    home.life = home.machine.start()
    reader = home.follow()
    while reader.call_id not in home.replies:
        home.node.turn(0)
        home.replies |= {reply.call_id: reply for reply in home.life.edge.take_replies()}
    assert home.replies[reader.call_id].code == Code.UNAVAILABLE


def test_reader_of_a_node_that_stops_is_told_so(house: Open) -> None:
    """A stream without an end would keep the server from ending."""
    home = house()
    reader = home.follow()
    reader.take()
    assert drain(home.node, 1_000)
    home.settle()
    assert home.replies[reader.call_id].code == Code.UNAVAILABLE


def test_idle_reader_hears_that_time_passes(house: Open) -> None:
    """A progress mark a second, with the position and the log time."""
    home = house()
    home.fill(1)
    reader = home.follow(fromNow=True)
    reader.take()
    for _ in range(3):
        home.pass_time(1_000)
        assert reader.take() == []
    assert len(reader.messages) == 4
    assert {message.nextChangeNumber for message in reader.messages} == {2}
