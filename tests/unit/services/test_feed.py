"""What is asked of the feed, and what one reader is sent."""

from typing import Any

import pytest

from dkv.model.commands import Command, CompareAndSet, Delete, DeleteRange, MultiPut, Put
from dkv.services.feed import MESSAGE_BYTES, FeedCall, FeedJob, by_commands
from dkv.services.registry import Services
from dkv.services.turn import Start, Turn
from dkv.vbucket.history import EntryChanges
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.feed import Position

LOG_TIME = 1_700_000_000_000


def at(next_number: int, vbucket: int = 1) -> Position:
    return Position(vbucket, next_number, 500, 40, LOG_TIME + 5, b"h" * 16)


def entry(first: int, *commands: Command, without_effect: int = 0) -> EntryChanges:
    return EntryChanges(first * 10, first, LOG_TIME, commands, without_effect, 100)


def job(**fields: object) -> FeedJob:
    return FeedCall(7, pb.StreamChangesRequest(**fields), by_commands).job(1)  # type: ignore[arg-type]


def sent(reader: FeedJob, next_number: int, monotonic_ms: int = 0) -> pb.StreamChangesResponse | None:
    turn = Turn(LOG_TIME)
    size = reader.send(turn, at(next_number), monotonic_ms)
    if not turn.items:
        assert size == 0
        return None
    ((call_id, (message,)),) = turn.items
    assert (call_id, size) == (7, len(message))
    return pb.StreamChangesResponse.FromString(message)


def told(reader: FeedJob, given: EntryChanges, next_number: int) -> list[tuple[int, int, bytes]]:
    """(number, kind, key) of what a reader is sent of an entry."""
    message = sent(reader, reader.add(given, next_number))
    return [] if message is None else [(change.changeNumber, change.kind, change.key) for change in message.changes]


PUT, DELETE, DELETE_RANGE = pb.Change.PUT, pb.Change.DELETE, pb.Change.DELETE_RANGE
MIXED = entry(
    200,
    CompareAndSet(b"a", b"no", b"effect"),
    Put(b"a1", b"v", LOG_TIME + 1),
    MultiPut((Put(b"a2", b""), Put(b"b1", b"w"))),
    Delete(b"a3"),
    DeleteRange(b"a", b"b"),
    without_effect=1,
)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.StreamChangesRequest(fromNow=True, fromChangeNumber=3), "fromNow excludes"),
        (pb.StreamChangesRequest(fromNow=True, historyId=b"h" * 16), "fromNow excludes"),
        (pb.StreamChangesRequest(keyPrefix=b"k" * 65_001), "key bytes"),
    ],
)
def test_stream_changes_with_a_contradiction_is_refused(
    services: Services, turn: Turn, request_: pb.StreamChangesRequest, reason: str
) -> None:
    """INVALID_ARGUMENT, with the reason."""
    services.accept(methods.STREAM_CHANGES, [3], [request_.SerializeToString()], turn)
    ((call_id, code, text, _, _),) = turn.finished
    assert (call_id, code) == (3, 3)
    assert reason in text
    assert turn.histories == []


@pytest.mark.parametrize(("fields", "first"), [({}, 1), ({"fromChangeNumber": 9}, 9), ({"fromNow": True}, None)])
def test_stream_changes_opens_a_reader(
    services: Services, turn: Turn, fields: dict[str, object], first: int | None
) -> None:
    """Number 0 means 1; from now on needs no number."""
    message = pb.StreamChangesRequest(**fields).SerializeToString()  # type: ignore[arg-type]
    services.accept(methods.STREAM_CHANGES, [3], [message], turn)
    (request,) = turn.histories
    assert (request.call_id, request.vbucket, request.start) == (3, 0, Start(first))


def test_reader_is_sent_every_change_with_its_position() -> None:
    """Compares that failed are none; a compare that took effect is a put; times are seconds, rounded up."""
    reader = job()
    behind = reader.add(MIXED, 200)
    message = sent(reader, behind)
    assert message is not None
    assert behind == 205
    assert [(c.changeNumber, c.kind, c.key, c.value, c.endKey, c.expireTS, c.logTime) for c in message.changes] == [
        (200, PUT, b"a1", b"v", b"", LOG_TIME // 1000 + 1, LOG_TIME),
        (201, PUT, b"a2", b"", b"", 0, LOG_TIME),
        (202, PUT, b"b1", b"w", b"", 0, LOG_TIME),
        (203, DELETE, b"a3", b"", b"", 0, LOG_TIME),
        (204, DELETE_RANGE, b"a", b"", b"b", 0, LOG_TIME),
    ]
    assert (message.nextChangeNumber, message.latestChangeNumber, message.oldestChangeNumber) == (205, 500, 40)
    assert (message.logTime, message.historyId) == (LOG_TIME + 5, b"h" * 16)


def test_readers_of_one_entry_share_what_was_encoded() -> None:
    """Encoded once, the same bytes for all who want all of it."""
    given = entry(200, Put(b"a", b"1"), CompareAndSet(b"b", b"", b"2"))
    assert told(job(), given, 200) == [(200, PUT, b"a"), (201, PUT, b"b")]
    encoded = given.encoded
    assert told(job(), given, 200) == [(200, PUT, b"a"), (201, PUT, b"b")]
    assert given.encoded is encoded


def test_reader_from_the_middle_of_an_entry_gets_the_rest_of_it() -> None:
    """A number names one change, also within a MultiPut."""
    assert told(job(), MIXED, 202) == [(202, PUT, b"b1"), (203, DELETE, b"a3"), (204, DELETE_RANGE, b"a")]


@pytest.mark.parametrize(("prefix", "numbers"), [(b"a", [200, 201, 203, 204]), (b"b", [202]), (b"a2", [201, 204])])
def test_reader_with_a_prefix_gets_what_touches_it(prefix: bytes, numbers: list[int]) -> None:
    """And its position moves over all the rest."""
    reader = job(keyPrefix=prefix)
    assert [number for number, _, _ in told(reader, MIXED, 200)] == numbers
    assert reader.add(entry(205, Put(b"other", b"")), 205) == 206


@pytest.mark.parametrize(
    ("start", "end", "touches"),
    [
        (b"", b"", True),
        (b"", b"m", False),
        (b"", b"m\0", True),
        (b"mz", b"", True),
        (b"m", b"n", True),
        (b"n", b"", False),
        (b"a", b"l", False),
    ],
)
def test_reader_with_a_prefix_gets_delete_ranges_that_meet_it(start: bytes, end: bytes, touches: bool) -> None:
    """Whether any key with the prefix lies in [start, end)."""
    assert told(job(keyPrefix=b"m"), entry(200, DeleteRange(start, end)), 200) == (
        [(200, DELETE_RANGE, start)] if touches else []
    )


def test_reader_through_a_number_gets_no_more_and_is_over() -> None:
    """Also when the number is within an entry."""
    reader = job(throughChangeNumber=201)
    behind = reader.add(MIXED, 200)
    message = sent(reader, behind)
    assert message is not None
    assert [change.changeNumber for change in message.changes] == [200, 201]
    assert (behind, message.nextChangeNumber) == (202, 202)
    assert reader.is_over(behind)
    assert not reader.is_over(201)
    turn = Turn(LOG_TIME)
    reader.finish(turn, at(behind))
    assert turn.finished == [(7, 0, "", b"", -1)]


def test_reader_is_full_at_the_size_of_a_message() -> None:
    """And has room again when the message has left."""
    reader = job()
    reader.add(entry(200, Put(b"k", b"v" * MESSAGE_BYTES)), 200)
    assert reader.is_full
    sent(reader, 201)
    assert not reader.is_full


def said(turn: Turn) -> list[pb.StreamChangesResponse]:
    messages = [pb.StreamChangesResponse.FromString(message) for _, (message,) in turn.items]
    turn.items.clear()
    return messages


def marks(call: FeedCall, turn: Turn, monotonic_ms: int, *moved: Position) -> list[pb.StreamChangesResponse] | None:
    """What is told at this time; None: it is not time to tell anything."""
    if not call.is_mark_due(monotonic_ms):
        return None
    call.mark(turn, [at(200), at(300, 2)], moved, monotonic_ms)
    return said(turn)


def test_reader_without_changes_gets_a_mark_at_once_and_then_at_intervals(turn: Turn) -> None:
    """A message of changes counts as one; an interval below 100 ms is 100 ms."""
    call = FeedCall(7, pb.StreamChangesRequest(progressIntervalMs=1), by_commands)
    reader = call.job(1)
    call.begin(turn, [at(200)], 1_000)
    (first,) = said(turn)
    assert (first.nextChangeNumber, first.vBucket, len(first.positions)) == (200, 1, 0)
    assert marks(call, turn, 1_099) is None
    assert marks(call, turn, 1_100) == [first]
    reader.add(MIXED, 200)
    reader.send(turn, at(205), 1_150)
    (message,) = said(turn)
    assert len(message.changes) == 5
    assert marks(call, turn, 1_249) is None
    assert marks(call, turn, 1_250) == [first]
    slow = FeedCall(7, pb.StreamChangesRequest(), by_commands)
    slow.begin(turn, [at(200)], 1_000)
    assert not slow.is_mark_due(1_999)
    assert slow.is_mark_due(2_000)


def test_reader_of_several_vbuckets_is_told_of_all_at_first_and_then_of_those_that_moved(turn: Turn) -> None:
    """One message a mark. With nothing new there is one, too, unless changes were sent lately."""
    call = FeedCall(7, pb.StreamChangesRequest(), by_commands)
    call.begin(turn, [at(200), at(300, 2)], 1_000)
    (first,) = said(turn)
    assert [(each.vBucket, each.nextChangeNumber) for each in first.positions] == [(1, 200), (2, 300)]
    assert (first.nextChangeNumber, first.vBucket) == (0, 0)
    job = call.job(2)
    job.add(MIXED, 200)
    job.send(turn, at(205, 2), 1_900)
    (changes,) = said(turn)
    assert (changes.vBucket, changes.nextChangeNumber, len(changes.positions)) == (2, 205, 0)
    assert marks(call, turn, 1_999) is None
    assert marks(call, turn, 2_000) == []
    assert marks(call, turn, 2_999) is None
    assert marks(call, turn, 3_000, at(301, 2)) == [
        pb.StreamChangesResponse(positions=[pb.FeedPosition(**position(at(301, 2)))])
    ]
    assert marks(call, turn, 4_000) == [pb.StreamChangesResponse(positions=[first.positions[0]])]


def position(of: Position) -> dict[str, Any]:
    """As fields of a FeedPosition."""
    return {
        "vBucket": of.vbucket,
        "nextChangeNumber": of.next_number,
        "latestChangeNumber": of.latest,
        "oldestChangeNumber": of.oldest,
        "logTime": of.log_time,
        "historyId": of.history_id,
    }


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (pb.StreamChangesRequest(historyId=b"h" * 16), "positions exclude"),
        (pb.StreamChangesRequest(fromChangeNumber=2), "positions exclude"),
        (pb.StreamChangesRequest(vBucket=2), "another vBucket than 2"),
        (pb.StreamChangesRequest(positions=[pb.FeedPosition(vBucket=1)]), "has one position"),
    ],
)
def test_positions_that_contradict_are_refused(
    services: Services, turn: Turn, request_: pb.StreamChangesRequest, reason: str
) -> None:
    """A place is said once."""
    request_.positions.add(vBucket=1, nextChangeNumber=5)
    services.accept(methods.STREAM_CHANGES, [3], [request_.SerializeToString()], turn)
    ((_, code, text, _, _),) = turn.finished
    assert code == 3
    assert reason in text


@pytest.mark.parametrize(
    ("fields", "belongs"),
    [
        ({}, False),
        ({"fromChangeNumber": 1}, False),
        ({"fromChangeNumber": 2}, True),
        ({"historyId": b"h"}, True),
        ({"throughChangeNumber": 9}, True),
        ({"fromNow": True}, False),
    ],
)
def test_numbers_and_histories_belong_to_one_vbucket(
    services: Services, turn: Turn, fields: dict[str, Any], belongs: bool
) -> None:
    """The first there is means the same in all."""
    services.accept(methods.STREAM_CHANGES, [3], [pb.StreamChangesRequest(**fields).SerializeToString()], turn)
    (request,) = turn.histories
    assert request.belongs_to_one is belongs
