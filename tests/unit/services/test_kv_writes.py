"""Requests to commands and outcomes to replies."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from dkv.model.commands import CompareAndSet, Delete, DeleteRange, MultiPut, Outcome, Put, Session
from dkv.model.errors import Code
from dkv.model.limits import Limits
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.errors import from_status

NOW_MS = 1_700_000_000_000
NEVER = 2**64 - 1
SESSION = Session(b"s", 3, 2)
IN_SESSION = {"session": b"s", "sequence": 3, "lowestOutstanding": 2}


def send(services: Services, turn: Turn, method: int, *requests: Message | bytes) -> None:
    data = [each if isinstance(each, bytes) else each.SerializeToString() for each in requests]
    services.accept(method, list(range(1, len(data) + 1)), data, turn)


def test_put_batch_of_plain_requests_makes_commands_in_order(services: Services, turn: Turn) -> None:
    """Each call has its command and its answer at the same place of the columns."""
    send(services, turn, methods.PUT, *(wire.PutRequest(key=b"k%d" % n, value=b"v" * n) for n in range(1, 200)))
    assert turn.commands == [Put(b"k%d" % n, b"v" * n) for n in range(1, 200)]
    assert turn.command_calls == list(range(1, 200))
    assert len(turn.command_answers) == 199


def test_put_with_empty_value_is_a_put(services: Services, turn: Turn) -> None:
    """An empty value is a value."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"k"))
    assert turn.commands == [Put(b"k", b"")]


@pytest.mark.parametrize(
    ("expire_ts", "ttl_ms", "expires_at"),
    [
        (0, 0, 0),
        (1, 0, 1_000),
        (NEVER, 0, NEVER),
        (NEVER // 1000 + 1, 0, NEVER),
        (0, 1, NOW_MS + 1),
        (0, NEVER, NEVER),
    ],
)
def test_put_with_an_expiry_makes_it_absolute_milliseconds(
    services: Services, turn: Turn, expire_ts: int, ttl_ms: int, expires_at: int
) -> None:
    """Seconds and relative times become milliseconds since the epoch, saturating."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"k", value=b"v", expireTS=expire_ts, ttlMs=ttl_ms))
    assert turn.commands == [Put(b"k", b"v", expires_at)]


def test_writes_in_a_session_carry_it(services: Services, turn: Turn) -> None:
    """Fields 110 to 112 reach every kind of write."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"k", value=b"v", **IN_SESSION))
    send(services, turn, methods.DELETE, wire.DeleteRequest(key=b"k", **IN_SESSION))
    send(services, turn, methods.COMPARE_AND_SET, wire.CompareAndSetRequest(key=b"k", newValue=b"n", **IN_SESSION))
    send(services, turn, methods.DELETE_RANGE, wire.DeleteRangeRequest(start=b"a", end=b"b", **IN_SESSION))
    put = wire.PutRequest(key=b"k", value=b"v")
    send(services, turn, methods.MULTI_PUT, wire.MultiPutRequest(putRequest=[put], **IN_SESSION))
    assert turn.commands == [
        Put(b"k", b"v", 0, SESSION),
        Delete(b"k", SESSION),
        CompareAndSet(b"k", b"", b"n", 0, SESSION),
        DeleteRange(b"a", b"b", SESSION),
        MultiPut((Put(b"k", b"v"),), SESSION),
    ]


BAD: list[tuple[int, Message | bytes, str]] = [
    (methods.PUT, b"\xff", "malformed request"),
    (methods.PUT, wire.PutRequest(value=b"v"), "Key cannot be empty"),
    (methods.PUT, b"", "Key cannot be empty"),
    (methods.PUT, wire.PutRequest(key=b"k" * 65_001), "key bytes is 65001, the limit is 65000"),
    (methods.PUT, wire.PutRequest(key=b"k", value=bytes(1_001)), "value bytes is 1001, the limit is 1000"),
    (methods.PUT, wire.PutRequest(key=b"k", expireTS=1, ttlMs=1), "expireTS and ttlMs exclude each other"),
    (methods.PUT, wire.PutRequest(key=b"k", sequence=1), "a sequence needs a session"),
    (methods.PUT, wire.PutRequest(key=b"k", session=bytes(17), sequence=1), "session bytes is 17, the limit is 16"),
    (
        methods.PUT,
        wire.PutRequest(key=b"k", session=b"s"),
        "a sequence starts at 1 and is at least lowestOutstanding",
    ),
    (
        methods.PUT,
        wire.PutRequest(key=b"k", session=b"s", sequence=1, lowestOutstanding=2),
        "a sequence starts at 1 and is at least lowestOutstanding",
    ),
    (methods.DELETE, wire.DeleteRequest(), "Key cannot be empty"),
    (methods.COMPARE_AND_SET, wire.CompareAndSetRequest(oldValue=b"o"), "Key cannot be empty"),
    (
        methods.COMPARE_AND_SET,
        wire.CompareAndSetRequest(key=b"k" * 600, oldValue=bytes(1_000), newValue=bytes(1_000)),
        "request bytes is 2600, the limit is 2500",
    ),
    (
        methods.DELETE_RANGE,
        wire.DeleteRangeRequest(start=b"b", end=b"a"),
        "the end of a range cannot be before its start",
    ),
    (
        methods.MULTI_PUT,
        wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k"), wire.PutRequest()]),
        "Key cannot be empty (entry 1)",
    ),
    (
        methods.MULTI_PUT,
        wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k"), wire.PutRequest(key=b"k", value=bytes(1_001))]),
        "value bytes is 1001, the limit is 1000 (entry 1)",
    ),
    (
        methods.MULTI_PUT,
        wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k", **IN_SESSION)]),
        "the session of a MultiPut belongs to the whole list",
    ),
    (
        methods.MULTI_PUT,
        wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k")] * 11),
        "entries is 11, the limit is 10",
    ),
    (
        methods.MULTI_PUT,
        wire.MultiPutRequest(putRequest=[wire.PutRequest(key=b"k", value=bytes(1_000))] * 3),
        "request bytes is 3003, the limit is 2500",
    ),
]


@pytest.mark.parametrize(
    ("method", "request_", "text"), BAD, ids=[f"{at}-{text}" for at, (_, _, text) in enumerate(BAD)]
)
def test_write_that_is_wrong_ends_with_its_text_and_no_command(
    services: Services, turn: Turn, method: int, request_: Message | bytes, text: str
) -> None:
    """One invalid entry refuses the whole call; the status says what and how much."""
    send(services, turn, method, request_)
    assert not turn.commands
    assert turn.finished[0][:3] == (1, Code.INVALID_ARGUMENT, text)


def test_write_over_a_limit_carries_typed_details_with_the_index(services: Services, turn: Turn) -> None:
    """A program learns kind, limit, size and entry."""
    puts = [wire.PutRequest(key=b"k"), wire.PutRequest(key=b"k", value=bytes(1_001))]
    send(services, turn, methods.MULTI_PUT, wire.MultiPutRequest(putRequest=puts))
    _, code, text, details, retry_after_ms = turn.finished[0]
    assert vars(from_status(code, text, details)) == {"kind": "value bytes", "limit": 1000, "actual": 1001, "index": 1}
    assert retry_after_ms == -1


def test_put_batch_with_wrong_ones_keeps_the_right_ones_in_order(services: Services, turn: Turn) -> None:
    """A wrong call ends alone."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"a"), b"\xff", wire.PutRequest(key=b"c", value=b"v"))
    assert turn.commands == [Put(b"a", b""), Put(b"c", b"v")]
    assert turn.command_calls == [1, 3]
    assert [each[0] for each in turn.finished] == [2]


def test_put_applied_answers_with_token(services: Services, turn: Turn, apply: Callable[..., None]) -> None:
    """Change number, history and log time come back, and the status is explicitly present."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"a", value=b"v"), wire.PutRequest(key=b"b", value=b"v"))
    apply()
    assert turn.reply_ids == [1, 2]
    replies = [wire.PutResponse.FromString(reply) for reply in turn.replies]
    assert [reply.changeNumber for reply in replies] == [300, 301]
    assert all(reply.HasField("status") and reply.status.code == 0 for reply in replies)
    assert (replies[0].historyId, replies[0].logTime) == (b"h" * 16, NOW_MS)


def test_multi_put_of_nothing_answers_at_once_without_a_number(services: Services, turn: Turn) -> None:
    """An empty list is well and never reaches the log."""
    send(services, turn, methods.MULTI_PUT, wire.MultiPutRequest())
    assert not turn.commands
    assert (turn.reply_ids, turn.replies) == ([1], [b"\x0a\x00"])


def test_compare_and_set_answers_whether_it_updated(services: Services, turn: Turn, apply: Callable[..., None]) -> None:
    """A failed comparison is a result, not an error."""
    requests = [wire.CompareAndSetRequest(key=b"k", newValue=b"v"), wire.CompareAndSetRequest(key=b"k", oldValue=b"x")]
    send(services, turn, methods.COMPARE_AND_SET, *requests)
    apply(Outcome(True, 7), Outcome(False, 7))
    replies = [wire.CompareAndSetResponse.FromString(reply) for reply in turn.replies]
    assert [(reply.updated, reply.changeNumber, reply.HasField("status")) for reply in replies] == [
        (True, 7, True),
        (False, 7, True),
    ]


def test_write_with_unknown_outcome_ends_so_and_the_others_are_answered(services: Services, turn: Turn) -> None:
    """An unknown session is told by status and type, never as success."""
    send(services, turn, methods.PUT, *(wire.PutRequest(key=b"k", value=b"v") for _ in range(3)))
    outcomes = [Outcome(True, 1), Outcome(False, 1, "the session is not known"), Outcome(True, 2)]
    turn.command_answers[0](turn, turn.command_calls, outcomes, NOW_MS)
    assert turn.reply_ids == [1, 3]
    assert len(turn.replies) == 2
    call_id, code, text, details, _ = turn.finished[0]
    assert (call_id, code, text) == (2, Code.DEADLINE_EXCEEDED, "the session is not known")
    assert from_status(code, text, details).may_have_happened


def test_answers_of_one_kind_compare_equal(services: Services, turn: Turn) -> None:
    """The node answers runs of equal answers in one call."""
    send(services, turn, methods.PUT, wire.PutRequest(key=b"k", value=b"v"), wire.PutRequest(key=b"k"))
    send(services, turn, methods.DELETE, wire.DeleteRequest(key=b"k"))
    assert turn.command_answers[0] == turn.command_answers[1] == turn.command_answers[2]


def test_limits_tell_what_the_server_was_given(services: Services, turn: Turn) -> None:
    """A caller can ask instead of trying."""
    send(services, turn, methods.LIMITS, b"")
    reply = wire.LimitsResponse.FromString(turn.replies[0])
    assert (reply.keyBytesMax, reply.valueBytesMax, reply.multiGetKeysMax) == (65_000, 1_000, 10)


def test_put_of_a_value_above_the_request_limit_is_refused(turn: Turn) -> None:
    """The smaller of the two limits holds for the value; the key comes on top, so that it fits at any key."""
    services = Services(Limits(value_bytes_max=2_000, request_bytes_max=1_000))
    requests = [wire.PutRequest(key=b"k" * 200, value=bytes(size)) for size in (1_000, 1_001)]
    send(services, turn, methods.PUT, *requests)
    assert turn.commands == [Put(b"k" * 200, bytes(1_000))]
    assert [text for _, _, text, _, _ in turn.finished] == ["request bytes is 1001, the limit is 1000"]
