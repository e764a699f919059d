"""The hand-written messages of the feed, against the message classes, byte for byte."""

from hypothesis import given
from hypothesis import strategies as st

from dkv.model.commands import Command, Delete, Put
from dkv.wire import feed
from dkv.wire import messages as pb

u64 = st.integers(1, 2**64 - 1)
keys = st.binary(min_size=1, max_size=9) | st.just(b"k" * 200)
values = st.binary(max_size=9) | st.sampled_from([b"v" * 127, b"v" * 128, b"v" * 16_383])
numbers = st.integers(128, 2**56) | st.sampled_from([128, 255, 16_383, 16_384])


@given(numbers, st.lists(st.builds(Put, keys, values, st.just(0), st.none()), max_size=300), u64)
def test_plain_puts_have_the_bytes_of_the_message_class(first: int, puts: list[Put], log_time: int) -> None:
    """Also where the higher bits of the change number carry over within an entry."""
    expected = pb.StreamChangesResponse(
        changes=[
            pb.Change(changeNumber=number, kind=pb.Change.PUT, key=put.key, value=put.value, logTime=log_time)
            for number, put in enumerate(puts, first)
        ]
    )
    assert feed.plain_puts(first, puts, log_time) == expected.SerializeToString()


@given(st.sampled_from([Delete(b"k"), Put(b"k", b"v", 5), Put(b"k" * 16_384, b""), Put(b"k", b"v" * 16_384)]))
def test_plain_puts_leave_all_else_to_others(odd: Command) -> None:
    """A delete, an expiry, a long key, a long value, a number of one byte."""
    assert feed.plain_puts(1_000, [Put(b"k", b"v"), odd], 1) is None
    assert feed.plain_puts(127, [Put(b"k", b"v")], 1) is None


@given(u64, st.sampled_from([1, 2, 3]), keys, values, keys | st.just(b""), u64 | st.just(0), u64)
def test_change_has_the_bytes_of_the_message_class(
    number: int, kind: int, key: bytes, value: bytes, end_key: bytes, expire_ts: int, log_time: int
) -> None:
    """Of any kind, with any fields."""
    change = pb.Change(
        changeNumber=number,
        kind=kind,  # type: ignore[arg-type]
        key=key,
        value=value,
        endKey=end_key,
        expireTS=expire_ts,
        logTime=log_time,
    )
    expected = pb.StreamChangesResponse(changes=[change]).SerializeToString()
    assert feed.change(number, kind, key, value, end_key, expire_ts, log_time) == expected


@given(u64, u64 | st.just(0), u64, u64, st.just(b"") | st.binary(min_size=16, max_size=16))
def test_position_has_the_bytes_of_the_message_class(
    next_number: int, latest: int, oldest: int, log_time: int, history_id: bytes
) -> None:
    """What stands behind the changes, or alone."""
    expected = pb.StreamChangesResponse(
        nextChangeNumber=next_number,
        latestChangeNumber=latest,
        oldestChangeNumber=oldest,
        logTime=log_time,
        historyId=history_id,
    )
    assert feed.position(next_number, latest, oldest, log_time, history_id) == expected.SerializeToString()
