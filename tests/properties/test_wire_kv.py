"""The hand-written codec of the hot messages against the message classes, byte for byte."""

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from dkv.wire import kv, messages

U64 = st.integers(0, 2**64 - 1)
KEYS = st.binary(min_size=1, max_size=300)
VALUES = st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes))
HISTORY = st.sampled_from([b"", b"h" * 16])
LEVELS = st.integers(0, 1)


@given(st.binary(max_size=200))
def test_plain_parsers_given_any_bytes_agree_with_protobuf(data: bytes) -> None:
    """A plain parser takes a message only if protobuf reads the same from it, and nothing more."""
    if (key := kv.plain_get_key(data)) is not None:
        assert messages.GetRequest(key=key).SerializeToString() == data
    if (pair := kv.plain_put(data)) is not None:
        assert messages.PutRequest(key=pair[0], value=pair[1]).SerializeToString() == data


SESSIONS = st.binary(max_size=18)


@given(KEYS, VALUES, SESSIONS, U64 | st.integers(0, 9), U64 | st.integers(0, 9), st.sampled_from([b"", b"", b"x"]))
def test_plain_put_in_session_given_any_request_agrees_with_protobuf(
    key: bytes, value: bytes, session: bytes, sequence: int, lowest: int, tail: bytes
) -> None:
    """It takes what is plain and right, and leaves all else to those who say what is wrong."""
    request = messages.PutRequest(key=key, value=value, session=session, sequence=sequence, lowestOutstanding=lowest)
    data = request.SerializeToString() + tail
    found = kv.plain_put_in_session(data)
    if found is None:
        is_right = 1 <= len(session) <= 16 and 1 <= sequence < 1 << 35 and lowest <= sequence
        assert len(key) > 127 or not 1 <= len(value) < 16_384 or not is_right or tail
    else:
        assert found == (key, value, (session, sequence, lowest))
        assert not tail


@given(st.binary(max_size=60))
def test_plain_put_in_session_given_any_bytes_agrees_with_protobuf(tail: bytes) -> None:
    """Whatever stands behind a plain put."""
    data = messages.PutRequest(key=b"k", value=b"v").SerializeToString() + tail
    if (found := kv.plain_put_in_session(data)) is not None:
        request = messages.PutRequest.FromString(data)
        session = request.session, request.sequence, request.lowestOutstanding
        assert found == (request.key, request.value, session)


@given(KEYS, VALUES, st.sampled_from([0, 1, 2**64 - 1]), st.binary(max_size=3))
def test_plain_put_given_any_request_agrees_with_protobuf(key: bytes, value: bytes, ts: int, tail: bytes) -> None:
    """It takes all plain requests below its bounds, and no others."""
    data = messages.PutRequest(key=key, value=value, expireTS=ts).SerializeToString() + tail
    found = kv.plain_put(data)
    if found is None:
        assert len(key) > 127 or not 1 <= len(value) < 16_384 or ts or tail
    else:
        request = messages.PutRequest.FromString(data)
        assert found == (request.key, request.value)
        assert request == messages.PutRequest(key=found[0], value=found[1])


@given(KEYS, LEVELS, st.binary(max_size=3))
def test_plain_get_given_any_request_agrees_with_protobuf(key: bytes, level: int, tail: bytes) -> None:
    """It takes requests with nothing but a short key."""
    data = messages.GetRequest(key=key, readConsistency=level).SerializeToString() + tail
    found = kv.plain_get_key(data)
    if found is None:
        assert len(key) > 127 or level or tail
        return
    try:
        assert messages.GetRequest.FromString(data) == messages.GetRequest(key=found)
    except DecodeError:
        raise AssertionError("took what protobuf refuses") from None


@given(VALUES, U64, U64, LEVELS, U64)
def test_get_reply_equals_protobuf(value: bytes, ts: int, applied: int, served: int, stale: int) -> None:
    """A GetResponse by hand has the bytes of the class."""
    want = messages.GetResponse(
        status=messages.Status(),
        value=value,
        found=True,
        expireTS=ts,
        appliedChangeNumber=applied,
        servedConsistency=served,
        stalenessMs=0 if served else stale,
    )
    token = kv.read_token(applied, bool(served), stale)
    assert kv.get_reply(value, ts, token) == want.SerializeToString()
    if not ts:
        assert kv.get_replies([b"\x00" + value], token) == [want.SerializeToString()]


@given(U64, LEVELS, U64)
def test_missing_reply_equals_protobuf(applied: int, served: int, stale: int) -> None:
    """The reply for an absent key has the bytes of the class; a row with an expiry is left to the caller."""
    want = messages.GetResponse(
        status=messages.Status(),
        appliedChangeNumber=applied,
        servedConsistency=served,
        stalenessMs=0 if served else stale,
    ).SerializeToString()
    token = kv.read_token(applied, bool(served), stale)
    assert kv.missing_reply(token) == want
    assert kv.get_replies([None, b"\x01" + bytes(9)], token) == [want, None]


@given(st.lists(st.one_of(U64, st.integers(1000, 1300)), max_size=20), HISTORY, U64)
def test_put_replies_equal_protobuf(numbers: list[int], history: bytes, log_time: int) -> None:
    """PutResponse, DeleteResponse and DeleteRangeResponse by hand have the bytes of the classes."""
    token = kv.change_token(history, log_time)
    for cls in (messages.PutResponse, messages.DeleteResponse, messages.DeleteRangeResponse):
        want = [
            cls(status=messages.Status(), changeNumber=n, historyId=history, logTime=log_time).SerializeToString()
            for n in numbers
        ]
        assert kv.put_replies(numbers, token) == want


@given(st.booleans(), U64, HISTORY, U64)
def test_cas_reply_equals_protobuf(updated: bool, number: int, history: bytes, log_time: int) -> None:
    """A CompareAndSetResponse by hand has the bytes of the class."""
    want = messages.CompareAndSetResponse(
        status=messages.Status(), updated=updated, changeNumber=number, historyId=history, logTime=log_time
    )
    assert kv.cas_reply(updated, number, kv.change_token(history, log_time)) == want.SerializeToString()


@given(KEYS, VALUES, U64)
def test_iterate_reply_equals_protobuf(key: bytes, value: bytes, ts: int) -> None:
    """An IterateResponse by hand has the bytes of the class."""
    want = messages.IterateResponse(status=messages.Status(), key=key, value=value, expireTS=ts)
    assert kv.iterate_reply(key, value, ts) == want.SerializeToString()


@given(st.lists(st.tuples(KEYS, VALUES, U64), max_size=5), U64, LEVELS, U64)
def test_multi_get_parts_equal_protobuf(
    pairs: list[tuple[bytes, bytes, int]], applied: int, served: int, stale: int
) -> None:
    """The parts of a MultiGetResponse, joined, have the bytes of the class."""
    want = messages.MultiGetResponse(
        status=messages.Status(),
        keyValues=[messages.KVPair(key=key, value=value, expireTS=ts) for key, value, ts in pairs],
        appliedChangeNumber=applied,
        servedConsistency=served,
        stalenessMs=0 if served else stale,
    )
    parts = [kv.STATUS_OK, *(kv.pair(*each) for each in pairs), kv.read_token(applied, bool(served), stale)]
    assert b"".join(parts) == want.SerializeToString()


@given(st.lists(st.tuples(KEYS, st.one_of(st.none(), VALUES, st.just(b"\1" + bytes(8)))), max_size=5))
def test_pairs_of_rows_equal_pair_by_pair(found: list[tuple[bytes, bytes | None]]) -> None:
    """Pairs encoded together have the bytes of each alone; what has flags, or is large, is left to the caller."""
    keys = [key for key, _ in found]
    present = [(key, value) for key, value in found if value is not None]
    parts = kv.plain_pairs(keys, [None if value is None else b"\0" + value for _, value in found])
    if any(len(key) > 127 or len(value) >= kv.PLAIN_BYTES_MAX for key, value in present):
        assert parts is None
    else:
        assert parts is not None
        assert b"".join(parts) == b"".join(kv.pair(key, value, 0) for key, value in present)
    for row in (b"\1" + bytes(8), b""):
        assert kv.plain_pairs([*keys, b"k"], [None] * len(keys) + [row]) is None
