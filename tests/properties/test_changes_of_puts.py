"""The native short way from an entry of puts to changes of the feed, against the way of all commands, byte for byte."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.edge import changes_of_puts
from dkv.model.commands import Command, CompareAndSet, Delete, DeleteRange, MultiPut, Put, Session, Sweep, Tick
from dkv.model.errors import Corrupt
from dkv.services.feed import by_commands, encode
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.history import read_entry
from dkv.vbucket.outcomes import EntryOutcomes

u64 = st.integers(1, 2**64 - 1)
numbers = st.integers(1, 2**56) | st.sampled_from([127, 128, 16_383, 16_384])
keys = st.binary(min_size=1, max_size=12) | st.sampled_from([b"k" * 127, b"k" * 128, b"k" * 20_000])
values = st.binary(max_size=12) | st.sampled_from([b"v" * 100, b"v" * 128, b"v" * 20_000])
sessions = st.none() | st.builds(Session, st.binary(min_size=1, max_size=16), u64, u64)
plain = st.builds(Put, keys, values, st.just(0), st.none())
puts = st.builds(Put, keys, values, st.just(0), sessions)
batches = st.builds(MultiPut, st.lists(plain, max_size=3).map(tuple), sessions)
others: st.SearchStrategy[Command] = st.one_of(
    st.builds(Put, keys, values, u64, sessions),
    st.builds(MultiPut, st.lists(st.builds(Put, keys, values, u64, st.none()), min_size=1).map(tuple), sessions),
    st.builds(Delete, keys, sessions),
    st.builds(DeleteRange, keys, keys, sessions),
    st.builds(CompareAndSet, keys, values, values, u64, sessions),
    st.builds(Sweep, st.lists(st.tuples(u64, keys), max_size=2).map(tuple)),
    st.just(Tick()),
)


def by_all_commands(data: bytes, first_number: int, log_time: int) -> tuple[bytes, int]:
    """Raises Corrupt."""
    entry = read_entry(7, data, EntryOutcomes(first_number, log_time, 0, 0))
    return encode(entry, by_commands)


@settings(max_examples=300, deadline=None)
@given(u64, st.lists(puts | batches, max_size=40), numbers, u64)
def test_puts_have_the_same_bytes_either_way(proposed: int, made: list[Command], first: int, log_time: int) -> None:
    """Plain ones, of sessions, in batches, of all lengths, and the number behind them."""
    data = encode_entry(proposed, made)
    assert changes_of_puts(data, first, log_time) == by_all_commands(data, first, log_time)


@settings(deadline=None)
@given(st.lists(puts | batches, max_size=3), others, st.lists(puts, max_size=3), numbers, u64)
def test_anything_else_is_left_to_the_way_of_all_commands(
    before: list[Command], other: Command, behind: list[Command], first: int, log_time: int
) -> None:
    """One expiry, one delete, one sweep among them."""
    assert changes_of_puts(encode_entry(1, [*before, other, *behind]), first, log_time) is None


@settings(max_examples=500, deadline=None)
@given(st.lists(puts | batches, max_size=3), st.data())
def test_damage_is_left_to_the_way_of_all_commands(made: list[Command], data: st.DataObject) -> None:
    """A changed, cut or longer entry is not read, or is read alike."""
    good = encode_entry(5, made)
    at = data.draw(st.integers(0, len(good)))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    if (found := changes_of_puts(bad, 300, 9)) is not None:
        assert found == by_all_commands(bad, 300, 9)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), u64)
def test_any_bytes_are_survived(data: bytes, log_time: int) -> None:
    """A count or a length that only claims takes no memory."""
    head = bytes.fromhex("01000000000000000001ffffffff")
    for each in (data, head + data, head + b"\x01\x00\x01\xff\xff\xff\xff" + data):
        found = changes_of_puts(each, 1, log_time)
        try:
            expected = by_all_commands(each, 1, log_time)
        except Corrupt:
            assert found is None
        else:
            assert found in (None, expected)
