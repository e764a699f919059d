"""What is asked of the feed, and what one reader is sent."""

import pytest

from dkv.model.commands import Command, CompareAndSet, Delete, DeleteRange, MultiPut, Put
from dkv.services.feed import MESSAGE_BYTES, FeedJob
from dkv.services.registry import Services
from dkv.services.turn import Turn, View
from dkv.vbucket.history import EntryChanges
from dkv.wire import messages as pb
from dkv.wire import methods

LOG_TIME = 1_700_000_000_000
VIEW = View(LOG_TIME + 5, 500, b"h" * 16, True, 40)


def entry(first: int, *commands: Command, without_effect: int = 0) -> EntryChanges:
    return EntryChanges(first * 10, first, LOG_TIME, commands, without_effect, 100)


def job(**fields: object) -> FeedJob:
    return FeedJob(7, pb.StreamChangesRequest(**fields))  # type: ignore[arg-type]


def sent(reader: FeedJob, next_number: int, monotonic_ms: int = 0) -> pb.StreamChangesResponse | None:
    turn = Turn(LOG_TIME)
    size = reader.send(turn, next_number, VIEW, monotonic_ms)
    if not turn.items:
        assert size == 0
        return None
    ((call_id, (message,)),) = turn.items
    assert (call_id, size) == (7, len(message))
    return pb.StreamChangesResponse.FromString(message)


def told(reader: FeedJob, given: EntryChanges, next_number: int) -> list[tuple[int, int, bytes]]:
    """(number, kind, key) of what a reader is sent of an entry."""
    message = sent(reader, reader.add(given, next_number))
    assert message is not None
    return [(change.changeNumber, change.kind, change.key) for change in message.changes]


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
    assert (request.call_id, request.first_number, request.history_id) == (3, first, b"")


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
    reader.finish(turn, behind, VIEW)
    assert turn.finished == [(7, 0, "", b"", -1)]


def test_reader_is_full_at_the_size_of_a_message() -> None:
    """And has room again when the message has left."""
    reader = job()
    reader.add(entry(200, Put(b"k", b"v" * MESSAGE_BYTES)), 200)
    assert reader.is_full
    sent(reader, 201)
    assert not reader.is_full


def test_reader_without_changes_gets_a_mark_at_once_and_then_at_intervals() -> None:
    """A message of changes counts as one; an interval below 100 ms is 100 ms."""
    reader = job(progressIntervalMs=1)
    assert sent(reader, 200, 1_000) is not None
    assert sent(reader, 200, 1_099) is None
    assert sent(reader, 200, 1_100) is not None
    reader.add(MIXED, 200)
    assert sent(reader, 205, 1_150) is not None
    assert sent(reader, 205, 1_249) is None
    assert sent(reader, 205, 1_250) is not None
    slow = job()
    assert sent(slow, 200, 1_000) is not None
    assert sent(slow, 200, 1_999) is None
    assert sent(slow, 200, 2_000) is not None
