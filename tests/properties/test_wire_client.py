"""The client's hand-written messages against the message classes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.wire import messages as pb
from dkv.wire import replies, requests
from dkv.wire.kv import cas_reply, get_reply, iterate_reply, missing_reply, put_reply

keys = st.binary(min_size=1, max_size=300)
values = st.binary(max_size=300) | st.integers(127, 17_000).map(bytes)
uint64 = st.integers(0, (1 << 64) - 1) | st.integers(0, 300)
token = st.sampled_from([b"", pb.GetResponse(appliedChangeNumber=77, servedConsistency=1).SerializeToString()])


@given(keys, values, values, uint64, st.booleans())
def test_requests_are_what_the_classes_read(key: bytes, value: bytes, old: bytes, expiry: int, is_ttl: bool) -> None:
    """Every field, and no other."""
    fields = {"ttlMs": expiry} if is_ttl else {"expireTS": expiry}
    options = {"ttl_ms": expiry} if is_ttl else {"expire_ts": expiry}
    put = pb.PutRequest(key=key, value=value, **fields)
    assert pb.PutRequest.FromString(requests.put(key, value, **options)) == put
    cas = pb.CompareAndSetRequest(key=key, oldValue=old, newValue=value, **fields)
    assert pb.CompareAndSetRequest.FromString(requests.compare_and_set(key, old, value, **options)) == cas
    assert pb.DeleteRequest.FromString(requests.delete(key)) == pb.DeleteRequest(key=key)
    multi = pb.MultiPutRequest(putRequest=[put, put])
    assert pb.MultiPutRequest.FromString(requests.multi_put([requests.put(key, value, **options)] * 2)) == multi


@given(st.lists(keys, max_size=5), st.booleans())
def test_reads_are_what_the_classes_read(asked: list[bytes], is_strict: bool) -> None:
    """Linearizable and strict come together."""
    terms = requests.LINEARIZABLE_STRICT if is_strict else b""
    expected = pb.MultiGetRequest(keys=asked, readConsistency=int(is_strict), strict=is_strict)
    assert pb.MultiGetRequest.FromString(requests.multi_get(asked, terms)) == expected
    for key in asked:
        one = pb.GetRequest(key=key, readConsistency=int(is_strict), strict=is_strict)
        assert pb.GetRequest.FromString(requests.get(key, terms)) == one


@given(st.binary(max_size=200), st.binary(max_size=200), uint64, st.booleans(), st.booleans())
def test_ranges_are_what_the_classes_read(a: bytes, b: bytes, limit: int, reverse: bool, is_strict: bool) -> None:
    """Empty bounds are left out."""
    assert pb.DeleteRangeRequest.FromString(requests.delete_range(a, b)) == pb.DeleteRangeRequest(start=a, end=b)
    terms = requests.ITERATE_LINEARIZABLE if is_strict else b""
    asked = requests.iterate(a, b, terms=terms, limit=limit, reverse=reverse)
    expected = pb.IterateRequest(keyPrefix=a, startKey=b, readConsistency=int(is_strict), limit=limit, reverse=reverse)
    assert pb.IterateRequest.FromString(asked) == expected


@given(keys, values, st.binary(min_size=1, max_size=16), uint64, uint64)
def test_session_fields_join_any_write(key: bytes, value: bytes, session: bytes, sequence: int, lowest: int) -> None:
    """Behind the fields of the write itself."""
    joined = requests.put(key, value) + requests.in_session(requests.session_head(session), sequence, lowest)
    expected = pb.PutRequest(key=key, value=value, session=session, sequence=sequence, lowestOutstanding=lowest)
    assert pb.PutRequest.FromString(joined) == expected


@given(values, uint64, token)
def test_get_replies_of_the_server_are_understood(value: bytes, expire_ts: int, token: bytes) -> None:
    """In the plain form and any other."""
    reply = get_reply(value, expire_ts, token)
    applied = 77 if token else 0
    assert replies.value_of(reply) == value
    assert replies.get(reply) == replies.Got(value, expire_ts, applied)
    assert replies.value_of(missing_reply(token)) is replies.get(missing_reply(token)) is None


def test_get_replies_of_the_original_are_understood() -> None:
    """They do not say `found`."""
    reply = pb.GetResponse(value=b"v")
    reply.status.SetInParent()
    assert replies.value_of(reply.SerializeToString()) == b"v"
    reply.value = b""
    assert replies.value_of(reply.SerializeToString()) is None


@given(uint64, st.booleans(), token)
def test_write_replies_of_the_server_are_understood(number: int, updated: bool, token: bytes) -> None:
    """With a status or, as it may be, without."""
    assert replies.updated(pb.CompareAndSetResponse(updated=updated).SerializeToString()) is updated
    assert replies.updated(put_reply(number, b"")) is False
    assert replies.updated(cas_reply(updated, number, b"")) is updated


@given(st.lists(st.tuples(keys, values, st.sampled_from([0, 0, 0, 1_800_000_000])), max_size=8))
def test_pairs_of_a_stream_are_understood(pairs: list[tuple[bytes, bytes, int]]) -> None:
    """Whether all are in the plain form or not."""
    messages = [iterate_reply(*each) for each in pairs]
    assert replies.pairs(messages) == [each[:2] for each in pairs]


@given(st.lists(st.tuples(keys, values), max_size=8))
def test_pairs_of_a_multi_get_are_understood(pairs: list[tuple[bytes, bytes]]) -> None:
    """Duplicates are one."""
    reply = pb.MultiGetResponse(keyValues=[pb.KVPair(key=key, value=value) for key, value in pairs])
    assert replies.multi_get(reply.SerializeToString()) == dict(pairs)


@given(st.binary(max_size=40))
def test_garbage_is_a_malformed_reply_or_means_nothing(data: bytes) -> None:
    """Never another exception."""
    for read in (replies.value_of, replies.get, replies.updated, replies.multi_get, lambda each: replies.pairs([each])):
        with contextlib.suppress(replies.MalformedReply, replies.RequestRefused):
            read(data)


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05ab", b"\x80", b"\x0b\x00", b"\xff" * 11, b"\x09\x00"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    """Cut off, of unknown types, or without an end."""
    for read in (replies.get, replies.updated):
        with pytest.raises(replies.MalformedReply):
            read(data)
