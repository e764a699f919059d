"""The hand-written messages of the feed, against the message classes, byte for byte."""

from typing import Any

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


positions = st.builds(
    feed.Position,
    st.integers(1, 2**32 - 1),
    u64,
    u64 | st.just(0),
    u64,
    u64,
    st.just(b"") | st.binary(min_size=16, max_size=16),
)


def fields(at: feed.Position) -> dict[str, Any]:
    return {
        "vBucket": at.vbucket,
        "nextChangeNumber": at.next_number,
        "latestChangeNumber": at.latest,
        "oldestChangeNumber": at.oldest,
        "logTime": at.log_time,
        "historyId": at.history_id,
    }


@given(positions)
def test_position_has_the_bytes_of_the_message_class(at: feed.Position) -> None:
    """What stands behind the changes, or alone."""
    assert feed.position(at) == pb.StreamChangesResponse(**fields(at)).SerializeToString()


@given(st.lists(positions, max_size=3))
def test_positions_have_the_bytes_of_the_message_class(several: list[feed.Position]) -> None:
    """A progress mark of several vBuckets."""
    expected = pb.StreamChangesResponse(positions=[pb.FeedPosition(**fields(at)) for at in several])
    assert feed.positions(several) == expected.SerializeToString()
