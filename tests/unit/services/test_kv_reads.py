"""Reads: keys wanted, rows to replies."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from dkv.model.errors import Code, Corrupt
from dkv.services.kv_reads import after_prefix
from dkv.services.registry import Services
from dkv.services.turn import Turn, View
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.errors import from_status

NOW_MS = 1_700_000_000_000
Read = Callable[..., None]


def row(value: bytes, expires_at: int = 0) -> bytes:
    return b"\x01" + expires_at.to_bytes(8, "big") + value if expires_at else b"\x00" + value


def send(services: Services, turn: Turn, method: int, *requests: Message | bytes) -> None:
    data = [each if isinstance(each, bytes) else each.SerializeToString() for each in requests]
    services.accept(method, list(range(1, len(data) + 1)), data, turn)


def gets(turn: Turn) -> dict[int, wire.GetResponse]:
    replies = {
        call_id: wire.GetResponse.FromString(reply) for call_id, reply in zip(turn.reply_ids, turn.replies, strict=True)
    }
    assert all(reply.HasField("status") for reply in replies.values())
    return replies


def test_get_tells_missing_from_empty(services: Services, turn: Turn, read: Read) -> None:
    """Never NOT_FOUND: `found` says it."""
    send(services, turn, methods.GET, *(wire.GetRequest(key=key) for key in (b"a", b"b", b"c")))
    read({b"a": row(b"v"), b"b": row(b"")})
    got = gets(turn)
    assert [(got[n].found, got[n].value) for n in (1, 2, 3)] == [(True, b"v"), (True, b""), (False, b"")]
    assert all(got[n].appliedChangeNumber == 500 for n in got)


def test_get_of_pairs_with_an_expiry_obeys_the_log_time(services: Services, turn: Turn, read: Read) -> None:
    """Gone at the log time itself; the expiry is rounded up to seconds; the largest stays what it is."""
    send(services, turn, methods.GET, *(wire.GetRequest(key=key) for key in (b"a", b"b", b"c")))
    read({b"a": row(b"v", NOW_MS), b"b": row(b"v", NOW_MS + 1), b"c": row(b"v", 2**64 - 1)})
    got = gets(turn)
    assert [(got[n].found, got[n].expireTS) for n in (1, 2, 3)] == [
        (False, 0),
        (True, NOW_MS // 1000 + 1),
        (True, 2**64 - 1),
    ]


def test_get_of_large_keys_and_values_takes_the_slow_way_with_the_same_answer(
    services: Services, turn: Turn, read: Read
) -> None:
    """Length never changes the meaning."""
    send(services, turn, methods.GET, wire.GetRequest(key=b"k" * 65_000), wire.GetRequest(key=b"s"))
    read({b"k" * 65_000: row(bytes(100_000)), b"s": row(b"v")})
    assert gets(turn)[1].value == bytes(100_000)
    assert gets(turn)[2].value == b"v"


@pytest.mark.parametrize("level", [0, 1])
def test_get_says_which_consistency_it_served(services: Services, turn: Turn, read: Read, level: int) -> None:
    """On a node alone both levels are the same and are served as asked."""
    send(services, turn, methods.GET, wire.GetRequest(key=b"a", readConsistency=level), wire.GetRequest(key=b"b"))
    read({b"a": row(b"v")})
    assert (gets(turn)[1].servedConsistency, gets(turn)[2].servedConsistency) == (level, 0)


def test_gets_of_our_clients_share_one_read(services: Services, turn: Turn, read: Read) -> None:
    """Linearizable and strict, without a protobuf object; one that is not goes its own way."""
    strict = [wire.GetRequest(key=key, readConsistency=1, strict=True) for key in (b"a", b"b", b"k" * 200)]
    send(services, turn, methods.GET, *strict[:2])
    assert [point.keys for point in turn.reads] == [[b"a", b"b"]]
    turn.reads.clear()
    send(services, turn, methods.GET, *strict)
    read({b"a": row(b"v"), b"k" * 200: row(b"w")})
    got = gets(turn)
    assert [(got[n].value, got[n].servedConsistency) for n in (1, 2, 3)] == [(b"v", 1), (b"", 1), (b"w", 1)]


def test_get_of_mixed_terms_answers_each_by_its_own(services: Services, turn: Turn, read: Read) -> None:
    """Calls that share a batch do not share conditions."""
    requests = [
        wire.GetRequest(key=b"a", readConsistency=1),
        wire.GetRequest(key=b"a", minChangeNumber=500),
        wire.GetRequest(key=b"a", minChangeNumber=501),
        wire.GetRequest(key=b"a"),
    ]
    send(services, turn, methods.GET, *requests)
    read({b"a": row(b"v")})
    assert sorted(gets(turn)) == [1, 2, 4]
    call_id, code, text, details, _ = turn.finished[0]
    assert (call_id, code) == (3, Code.FAILED_PRECONDITION)
    assert vars(from_status(code, text, details)) == {"lag": 1, "leader": ""}


@pytest.mark.parametrize("method", [methods.GET, methods.MULTI_GET])
def test_read_of_a_node_that_is_not_readable_fails(services: Services, turn: Turn, read: Read, method: int) -> None:
    """Nothing is read before the first entry of the own term (INVARIANTS 5)."""
    request = wire.GetRequest(key=b"a") if method == methods.GET else wire.MultiGetRequest(keys=[b"a"])
    send(services, turn, method, request)
    read({b"a": row(b"v")}, View(NOW_MS, 1, b"", False))
    assert not turn.replies
    assert turn.finished[0][1] == Code.UNAVAILABLE


@pytest.mark.parametrize("damaged", [b"", b"\x01", b"\x02v"])
@pytest.mark.parametrize("method", [methods.GET, methods.MULTI_GET])
def test_read_of_a_damaged_row_is_the_engines_failure(
    services: Services, turn: Turn, read: Read, method: int, damaged: bytes
) -> None:
    """It is never served, and never blamed on the caller."""
    request = wire.GetRequest(key=b"a") if method == methods.GET else wire.MultiGetRequest(keys=[b"a"])
    send(services, turn, method, request)
    with pytest.raises(Corrupt):
        read({b"a": damaged})
    assert not turn.replies


BAD: list[tuple[int, Message | bytes, str]] = [
    (methods.GET, b"\x0a\x05k", "malformed request"),
    (methods.GET, b"", "Key cannot be empty"),
    (methods.GET, wire.GetRequest(key=b"k", readConsistency=2), "Unknown read consistency level: 2"),
    (methods.GET, wire.GetRequest(key=b"k", readConsistency=-1), "Unknown read consistency level: -1"),
    (methods.GET, wire.GetRequest(key=b"k" * 65_001), "key bytes is 65001, the limit is 65000"),
    (methods.MULTI_GET, wire.MultiGetRequest(keys=[b"k", b""]), "Key cannot be empty (entry 1)"),
    (methods.MULTI_GET, wire.MultiGetRequest(keys=[b"k"] * 11), "keys is 11, the limit is 10"),
    (methods.MULTI_GET, wire.MultiGetRequest(keys=[b"k" * 2501]), "request bytes is 2501, the limit is 2500"),
    (methods.MULTI_GET, wire.MultiGetRequest(keys=[b"k"], readConsistency=9), "Unknown read consistency level: 9"),
    (methods.ITERATE, b"\xff", "malformed request"),
    (methods.ITERATE, wire.IterateRequest(readConsistency=5), "Unknown read consistency level: 5"),
]


@pytest.mark.parametrize(
    ("method", "request_", "text"), BAD, ids=[f"{at}-{text}" for at, (_, _, text) in enumerate(BAD)]
)
def test_read_that_is_wrong_ends_with_its_text(
    services: Services, turn: Turn, method: int, request_: Message | bytes, text: str
) -> None:
    """Nothing is read for a call that is wrong."""
    send(services, turn, method, request_)
    assert not turn.reads
    assert not turn.scans
    assert turn.finished[0][:3] == (1, Code.INVALID_ARGUMENT, text)


def test_multi_get_keeps_order_and_duplicates_and_leaves_out_what_is_not_there(
    services: Services, turn: Turn, read: Read
) -> None:
    """Request order, empty values present, expiries filled."""
    send(services, turn, methods.MULTI_GET, wire.MultiGetRequest(keys=[b"b", b"a", b"x", b"old", b"b"]))
    read({b"a": row(b""), b"b": row(b"v", NOW_MS + 5_000), b"old": row(b"o", NOW_MS)})
    reply = wire.MultiGetResponse.FromString(turn.replies[0])
    expiry = NOW_MS // 1000 + 5
    assert [(each.key, each.value, each.expireTS) for each in reply.keyValues] == [
        (b"b", b"v", expiry),
        (b"a", b"", 0),
        (b"b", b"v", expiry),
    ]
    assert reply.HasField("status")
    assert reply.appliedChangeNumber == 500


def test_multi_get_of_no_keys_is_well_and_empty(services: Services, turn: Turn, read: Read) -> None:
    """No keys: OK."""
    send(services, turn, methods.MULTI_GET, wire.MultiGetRequest())
    read({})
    assert not wire.MultiGetResponse.FromString(turn.replies[0]).keyValues


def test_multi_get_beyond_the_reply_limit_fails_with_the_limit(services: Services, turn: Turn, read: Read) -> None:
    """The reply is never longer than announced."""
    send(services, turn, methods.MULTI_GET, wire.MultiGetRequest(keys=[b"a", b"b", b"c"]))
    read({key: row(bytes(900)) for key in (b"a", b"b", b"c")})
    assert not turn.replies
    _, code, text, details, _ = turn.finished[0]
    assert code == Code.INVALID_ARGUMENT
    assert vars(from_status(code, text, details))["kind"] == "reply bytes"


@pytest.mark.parametrize(
    ("request_", "bounds"),
    [
        (wire.IterateRequest(), (b"", b"")),
        (wire.IterateRequest(keyPrefix=b"a"), (b"a", b"b")),
        (wire.IterateRequest(keyPrefix=b"a\xff"), (b"a\xff", b"b")),
        (wire.IterateRequest(keyPrefix=b"\xff"), (b"\xff", b"")),
        (wire.IterateRequest(startKey=b"m"), (b"m", b"")),
        (wire.IterateRequest(keyPrefix=b"a", startKey=b"ac"), (b"ac", b"b")),
        (wire.IterateRequest(keyPrefix=b"a", startKey=b"ac", reverse=True), (b"a", b"ac\x00")),
        (wire.IterateRequest(keyPrefix=b"a", reverse=True), (b"a", b"b")),
    ],
)
def test_iterate_opens_a_scan_within_its_bounds(
    services: Services, turn: Turn, request_: wire.IterateRequest, bounds: tuple[bytes, bytes]
) -> None:
    """Prefix and start key become [start, end), in either direction."""
    send(services, turn, methods.ITERATE, request_)
    scan = turn.scans[0]
    assert (scan.start, scan.end) == bounds
    assert (scan.call_id, scan.reverse, scan.limit) == (1, request_.reverse, 0)


def test_iterate_with_a_start_outside_the_prefix_is_told_in_the_stream(services: Services, turn: Turn) -> None:
    """One message with code -1, then OK, as clients of the original expect."""
    send(services, turn, methods.ITERATE, wire.IterateRequest(keyPrefix=b"a", startKey=b"b"))
    assert not turn.scans
    reply = wire.IterateResponse.FromString(turn.items[0][1][0])
    assert (reply.status.code, reply.status.message) == (-1, "StartKey must have the same prefix as PrefixKey")
    assert turn.finished == [(1, 0, "", b"", -1)]


def test_iterate_pair_is_encoded_with_status_and_expiry(services: Services, turn: Turn) -> None:
    """Every message of the stream carries its status."""
    send(services, turn, methods.ITERATE, wire.IterateRequest(limit=3))
    assert turn.scans[0].limit == 3
    reply = wire.IterateResponse.FromString(turn.scans[0].encode(b"k", b"", 1_500))
    assert (reply.key, reply.value, reply.expireTS, reply.HasField("status")) == (b"k", b"", 2, True)


@pytest.mark.parametrize(("number", "opened"), [(500, True), (501, False)])
def test_iterate_with_a_lowest_change_number_waits_for_the_view(
    services: Services, turn: Turn, read: Read, number: int, opened: bool
) -> None:
    """The condition is checked where the state is known; then the scan opens in the same turn."""
    send(services, turn, methods.ITERATE, wire.IterateRequest(minChangeNumber=number))
    assert not turn.scans
    read({})
    assert bool(turn.scans) == opened
    assert bool(turn.finished) != opened


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\xff\xff", b"\xff\xff", b"\x00"])
def test_after_prefix_bounds_exactly_the_keys_with_the_prefix(prefix: bytes) -> None:
    """Every key with the prefix is below it, the next other key is not."""
    end = after_prefix(prefix)
    assert not end or (prefix + b"\xff" * 9 < end and not end.startswith(prefix))
