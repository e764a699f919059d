"""What clients of the original see on the wire, asked by a client that shares no code with the server."""

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LINEARIZABLE = 1
FAR_FUTURE_S = 4_000_000_000
STATUS_PRESENT = b"\x0a\x00"
EXPIRY_WAIT_SECONDS_MAX = 10


@pytest.fixture
def key(request: pytest.FixtureRequest) -> bytes:
    """A key, and prefix, that no other test uses."""
    return request.node.name.encode() + b"/"


def pairs(client: Any, rpc: str, **fields: Any) -> list[tuple[bytes, bytes]]:
    return [(message.key, message.value) for message in client.all(rpc, **fields)]


def multi_get(client: Any, *keys: bytes) -> list[tuple[bytes, bytes, int]]:
    return [(pair.key, pair.value, pair.expireTS) for pair in client("MultiGet", keys=keys).keyValues]


def test_put_of_a_pair_is_read_back_at_both_levels(client: Any, key: bytes) -> None:
    """A value that was acknowledged is read by a SEQUENTIAL and by a LINEARIZABLE Get."""
    assert client("Put", key=key, value=b"\x00\xff").status.code == 0
    assert client("Get", key=key).value == b"\x00\xff"
    assert client("Get", key=key, readConsistency=LINEARIZABLE).value == b"\x00\xff"


def test_every_reply_carries_its_status_explicitly(client: Any, key: bytes) -> None:
    """Go clients dereference the status unchecked, so its empty message is in the bytes of every reply."""
    pair = {"key": key, "value": b"v"}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("Put", pair),
        ("Get", {"key": key}),
        ("Get", {"key": key + b"missing"}),
        ("MultiPut", {"putRequest": [pair]}),
        ("MultiPut", {}),
        ("MultiGet", {"keys": [key]}),
        ("MultiGet", {}),
        ("CompareAndSet", {"key": key, "oldValue": b"v", "newValue": b"w"}),
        ("CompareAndSet", {"key": key, "oldValue": b"v", "newValue": b"w"}),
        ("Iterate", {"keyPrefix": key}),
        ("Delete", {"key": key}),
        ("Delete", {"key": key}),
    ]
    for rpc, fields in calls:
        (reply,) = client.raw(rpc, **fields)
        assert reply.startswith(STATUS_PRESENT), rpc


def test_get_of_a_missing_key_is_ok_and_empty(client: Any, key: bytes) -> None:
    """A missing key is a result, never NOT_FOUND; `found` tells it from an empty value."""
    client("Put", key=key + b"empty")
    missing, empty = client("Get", key=key), client("Get", key=key + b"empty")
    assert (missing.value, missing.found) == (b"", False)
    assert (empty.value, empty.found) == (b"", True)


def test_empty_value_is_present_everywhere(client: Any, key: bytes) -> None:
    """MultiGet and Iterate return a pair whose value is empty."""
    client("Put", key=key, value=b"")
    assert multi_get(client, key) == [(key, b"", 0)]
    assert pairs(client, "Iterate", keyPrefix=key) == [(key, b"")]


def test_multi_get_keeps_order_and_duplicates_and_leaves_out_the_missing(client: Any, key: bytes) -> None:
    """Request order, duplicates repeated, missing and expired left out, expiries filled in."""
    a, b, gone = key + b"a", key + b"b", key + b"gone"
    client("Put", key=a, value=b"1", expireTS=FAR_FUTURE_S)
    client("Put", key=b, value=b"2")
    client("Put", key=gone, value=b"3", expireTS=1)
    assert multi_get(client, b, gone, a, key + b"never", b) == [(b, b"2", 0), (a, b"1", FAR_FUTURE_S), (b, b"2", 0)]


def test_multi_put_applies_in_order_and_the_last_duplicate_wins(client: Any, key: bytes) -> None:
    """One list may mix plain pairs, expiring ones and duplicates."""
    a, b = key + b"a", key + b"b"
    client(
        "MultiPut",
        putRequest=[
            {"key": a, "value": b"1", "expireTS": FAR_FUTURE_S},
            {"key": b, "value": b"2", "expireTS": FAR_FUTURE_S},
            {"key": a, "value": b"3"},
        ],
    )
    assert multi_get(client, a, b) == [(a, b"3", 0), (b, b"2", FAR_FUTURE_S)]


def test_multi_put_with_one_invalid_entry_changes_nothing(client: Any, key: bytes) -> None:
    """A batch is refused as a whole."""
    code, text = client.refused("MultiPut", putRequest=[{"key": key, "value": b"v"}, {"value": b"no key"}])
    assert code is INVALID
    assert "Key cannot be empty" in text
    assert multi_get(client, key) == []


def test_put_replaces_value_and_expiry(client: Any, key: bytes) -> None:
    """A plain Put takes the expiry away."""
    client("Put", key=key, value=b"1", expireTS=FAR_FUTURE_S)
    assert multi_get(client, key) == [(key, b"1", FAR_FUTURE_S)]
    client("Put", key=key, value=b"2")
    assert multi_get(client, key) == [(key, b"2", 0)]


def test_put_with_a_past_expiry_is_absent_at_once(client: Any, key: bytes) -> None:
    """Accepted, and it also removes what was there before."""
    client("Put", key=key, value=b"1")
    client("Put", key=key, value=b"2", expireTS=int(time.time()) - 1)
    assert client("Get", key=key).value == b""
    assert pairs(client, "Iterate", keyPrefix=key) == []


def test_put_with_a_near_expiry_disappears_by_itself(client: Any, key: bytes) -> None:
    """Visible before its time, gone from every read soon after, without another write."""
    due = int(time.time()) + 2
    client("Put", key=key, value=b"v", expireTS=due)
    assert client("Get", key=key).value == b"v"
    while multi_get(client, key):
        assert time.time() < due + EXPIRY_WAIT_SECONDS_MAX
        time.sleep(0.05)
    assert time.time() >= due - 1
    assert client("Get", key=key, readConsistency=LINEARIZABLE).value == b""
    assert pairs(client, "Iterate", keyPrefix=key) == []


def test_delete_of_a_key_or_of_none_is_ok(client: Any, key: bytes) -> None:
    """Deleting what is not there succeeds."""
    client("Put", key=key, value=b"v")
    assert client("Delete", key=key).status.code == 0
    assert client("Delete", key=key).status.code == 0
    assert multi_get(client, key) == []


CAS_TABLE = [
    ("absent", b"", True),
    ("absent", b"v", False),
    ("expired", b"", True),
    ("expired", b"v", False),
    ("empty", b"", True),
    ("empty", b"v", False),
    ("v", b"", False),
    ("v", b"v", True),
    ("v", b"w", False),
]


@pytest.mark.parametrize(("state", "old_value", "updated"), CAS_TABLE)
def test_compare_and_set_follows_the_table(
    client: Any, key: bytes, state: str, old_value: bytes, updated: bool
) -> None:
    """Every row of the table; a compare that failed changes nothing, one that succeeded sets value and expiry."""
    if state == "expired":
        client("Put", key=key, value=b"v", expireTS=1)
    elif state != "absent":
        client("Put", key=key, value=b"" if state == "empty" else b"v")
    before = multi_get(client, key)
    reply = client("CompareAndSet", key=key, oldValue=old_value, newValue=b"new", expireTS=FAR_FUTURE_S)
    assert reply.updated is updated
    assert multi_get(client, key) == ([(key, b"new", FAR_FUTURE_S)] if updated else before)


def test_compare_and_set_without_expiry_takes_the_expiry_away(client: Any, key: bytes) -> None:
    """On success the new expiry is exactly the one given."""
    client("Put", key=key, value=b"v", expireTS=FAR_FUTURE_S)
    assert client("CompareAndSet", key=key, oldValue=b"v", newValue=b"w").updated
    assert multi_get(client, key) == [(key, b"w", 0)]


def test_compare_and_set_of_racing_creators_lets_one_win(client: Any, key: bytes) -> None:
    """Of n that create the same key at once exactly one is told so, and its value stays."""
    together = threading.Barrier(16)

    def create(number: int) -> bool:
        together.wait()
        return bool(client("CompareAndSet", key=key, newValue=b"%d" % number).updated)

    with ThreadPoolExecutor(16) as threads:
        won = list(threads.map(create, range(16)))
    assert won.count(True) == 1
    assert client("Get", key=key).value == b"%d" % won.index(True)


def test_iterate_gives_live_pairs_in_byte_order(client: Any, key: bytes) -> None:
    """Plain and expiring keys in one order; expired and foreign keys left out; the start key is inclusive."""
    for suffix, expiry in ((b"\xff", 0), (b"a", FAR_FUTURE_S), (b"\x00", 0), (b"b", 1), (b"c", 0)):
        client("Put", key=key + suffix, value=suffix, expireTS=expiry)
    expected = [(key + suffix, suffix) for suffix in (b"\x00", b"a", b"c", b"\xff")]
    assert pairs(client, "Iterate", keyPrefix=key) == expected
    assert pairs(client, "Iterate", keyPrefix=key, startKey=key + b"a") == expected[1:]
    assert pairs(client, "Iterate", keyPrefix=key, startKey=key + b"b") == expected[2:]
    assert pairs(client, "Iterate", keyPrefix=key + b"c") == [(key + b"c", b"c")]


def test_iterate_of_everything_shows_every_key_once_in_order(client: Any, key: bytes) -> None:
    """Both fields empty means the whole keyspace, without internal keys."""
    client("Put", key=key, value=b"v")
    keys = [found for found, _ in pairs(client, "Iterate")]
    assert keys == sorted(set(keys))
    assert key in keys
    assert all(not found.startswith(b"_dkv") for found in keys)


def test_iterate_with_a_start_outside_the_prefix_says_so_in_band(client: Any, key: bytes) -> None:
    """The one failure inside a message: code -1, then OK."""
    (message,) = client.all("Iterate", keyPrefix=key + b"a", startKey=key + b"b")
    assert message.status.code == -1
    assert message.status.message == "StartKey must have the same prefix as PrefixKey"


def test_iterate_shows_the_keys_of_its_start(client: Any, key: bytes) -> None:
    """Writes made while a stream is being read are not in it, and are not held up by it."""
    value, count = bytes(10_000), 1_000
    for start in range(0, count, 100):
        batch = [{"key": key + b"%04d" % n, "value": value} for n in range(start, start + 100)]
        client("MultiPut", putRequest=batch)
    stream = client.stream("Iterate", keyPrefix=key)
    first = client.parse("Iterate", next(stream))
    client("Put", key=key + b"9999", value=b"later")
    client("Put", key=key + b"0999", value=b"changed")
    client("Delete", key=key + b"0998")
    rest = [client.parse("Iterate", reply) for reply in stream]
    assert [message.key for message in [first, *rest]] == [key + b"%04d" % n for n in range(count)]
    assert all(message.value == value for message in rest)


EMPTY_KEYS: list[tuple[str, dict[str, Any]]] = [
    ("Put", {"value": b"v"}),
    ("Get", {}),
    ("Delete", {}),
    ("CompareAndSet", {"newValue": b"v"}),
    ("MultiGet", {"keys": [b"a", b""]}),
    ("MultiPut", {"putRequest": [{"value": b"v"}]}),
]


@pytest.mark.parametrize(("rpc", "fields"), EMPTY_KEYS, ids=[rpc for rpc, _ in EMPTY_KEYS])
def test_empty_key_is_refused_with_the_known_text(client: Any, rpc: str, fields: dict[str, Any]) -> None:
    """INVALID_ARGUMENT and upstream's sentence."""
    code, text = client.refused(rpc, **fields)
    assert code is INVALID
    assert "Key cannot be empty" in text


@pytest.mark.parametrize("rpc", ["Put", "Get", "Delete", "CompareAndSet"])
def test_key_of_65_000_bytes_is_the_longest(client: Any, key: bytes, rpc: str) -> None:
    """The limit itself is served; one byte more is refused, with the limit in the text."""
    longest = key.ljust(65_000, b"k")
    client(rpc, key=longest)
    code, text = client.refused(rpc, key=longest + b"k")
    assert code is INVALID
    assert "65000" in text.replace(",", "")


def test_value_above_the_limit_is_refused_with_a_typed_detail(client: Any, key: bytes) -> None:
    """The reply says which limit, and what was sent, also as a detail; nothing is stored."""
    stream = client.stream("Put", key=key, value=bytes((4 << 20) + 1))
    with pytest.raises(grpc.RpcError) as caught:
        list(stream)
    assert caught.value.code() is INVALID, caught.value.details()
    assert "4194304" in caught.value.details().replace(",", "")
    details = dict(caught.value.trailing_metadata()).get("grpc-status-details-bin", b"")
    assert b"LimitExceeded" in details
    assert multi_get(client, key) == []


def test_request_far_above_the_limit_is_resource_exhausted(client: Any, key: bytes) -> None:
    """Beyond what the transport takes, gRPC itself answers."""
    code, _ = client.refused("Put", key=key, value=bytes(8 << 20))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("rpc", ["Get", "MultiGet"])
def test_unknown_read_consistency_is_refused(client: Any, key: bytes, rpc: str) -> None:
    """The number is in the text."""
    fields: dict[str, Any] = {"key": key} if rpc == "Get" else {"keys": [key]}
    assert client.refused(rpc, readConsistency=7, **fields) == (INVALID, "Unknown read consistency level: 7")


def test_method_that_nobody_serves_is_unimplemented(client: Any) -> None:
    """An unknown method, and a service that this role does not register."""
    call = client.channel.unary_unary("/dkv.serverpb.DKV/Nothing")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_bytes_that_are_no_message_are_refused_and_the_connection_lives(client: Any, key: bytes) -> None:
    """Garbage gets an error; the next call on the same connection works."""
    with pytest.raises(grpc.RpcError) as caught:
        client.channel.unary_unary("/dkv.serverpb.DKV/Put")(b"\xff\xff\xff", timeout=10)
    assert caught.value.code() in {INVALID, grpc.StatusCode.INTERNAL}
    assert client("Put", key=key, value=b"v").status.code == 0


def test_health_of_a_serving_node_is_serving(client: Any) -> None:
    """The service name is ignored, as upstream does."""
    for service_asked in ("", "dkv.serverpb.DKV", "anything"):
        assert client("Check", on="grpc.health.v1.Health", service=service_asked).status == 1, service_asked


def test_unknown_fields_do_not_change_a_call(client: Any, key: bytes) -> None:
    """A field this server has never heard of is skipped."""
    message = client.wire.message("dkv.serverpb.PutRequest")(key=key, value=b"v").SerializeToString()
    unknown = b"\xfa\xff\x0f\x01x"
    client.channel.unary_unary("/dkv.serverpb.DKV/Put")(message + unknown, timeout=10)
    assert client("Get", key=key).value == b"v"


@pytest.mark.parametrize("authority", ["some-node-set", "node set 1", "/tmp/dkv.sock"])
def test_call_with_another_authority_and_agent_is_served(server: Any, wire: Any, authority: str) -> None:
    """Sharded clients send the name of a node set as the authority."""
    options = [("grpc.default_authority", authority), ("grpc.primary_user_agent", "x")]
    with grpc.insecure_channel(server.address, options) as channel:
        request = wire.message("dkv.serverpb.GetRequest")(key=b"k").SerializeToString()
        assert channel.unary_unary("/dkv.serverpb.DKV/Get")(request, timeout=10).startswith(STATUS_PRESENT)


def test_changes_of_one_key_get_numbers_without_gaps(client: Any, key: bytes) -> None:
    """Put, Delete, a compare that succeeded and each entry of a MultiPut take one number; a failed compare none."""
    first = client("Put", key=key, value=b"1").changeNumber
    assert client("Delete", key=key + b"absent").changeNumber == first + 1
    assert client("CompareAndSet", key=key, oldValue=b"x", newValue=b"y").updated is False
    assert client("CompareAndSet", key=key, oldValue=b"1", newValue=b"2").changeNumber == first + 2
    entries = [{"key": key + b"%d" % n, "value": b"v"} for n in range(3)]
    assert client("MultiPut", putRequest=entries).changeNumber == first + 5
    assert client("MultiPut").changeNumber in {0, first + 5}
    assert client("Put", key=key, value=b"3").changeNumber == first + 6


def test_restart_keeps_every_acknowledged_write(
    make_server: Callable[..., Any], make_client: Callable[[Any], Any]
) -> None:
    """An orderly stop ends with exit code 0, and the next process serves the same data."""
    server = make_server()
    client = make_client(server)
    written = [b"key-%d" % n for n in range(100)]
    for name in written:
        client("Put", key=name, value=name)
    client.close()
    assert server.stop() == 0, server.output()
    client = make_client(server.start())
    assert [found for found, _, _ in multi_get(client, *written)] == written
    client.close()
    assert server.stop() == 0, server.output()


def test_folder_in_use_refuses_a_second_server(make_server: Callable[..., Any], server: Any) -> None:
    """Two processes never share a folder: the second ends with 1 and a sentence."""
    first = make_server()
    second = type(first)(first.folder.with_name("other"))
    second.folder = first.folder
    with pytest.raises(AssertionError, match="ended at its start"):
        second.start()
    assert second.process.returncode == 1
    assert "Traceback" not in second.output()


def test_calls_in_flight_on_many_connections_are_all_answered(
    make_client: Callable[[Any], Any], server: Any, key: bytes
) -> None:
    """Answers go to those who asked: 512 calls over 8 connections, each with a value of its own."""
    clients = [make_client(server) for _ in range(8)]

    def put_and_get(number: int) -> bool:
        client = clients[number % len(clients)]
        name, value = key + b"%d" % number, b"value-%d" % number
        client("Put", key=name, value=value)
        return bool(client("Get", key=name, readConsistency=LINEARIZABLE).value == value)

    with ThreadPoolExecutor(32) as threads:
        assert all(threads.map(put_and_get, itertools.islice(itertools.count(), 512)))
