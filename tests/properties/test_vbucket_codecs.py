"""Codecs: what is written comes back; anything else is refused as Corrupt, and what is accepted has one spelling."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.model.commands import (
    AddSlave,
    Command,
    CompareAndSet,
    Delete,
    DeleteRange,
    MultiPut,
    Put,
    RemoveSlave,
    Restore,
    Session,
    Sweep,
    Tick,
)
from dkv.model.errors import Corrupt
from dkv.vbucket.entry import LoggedCommands, decode_entry, encode_entry
from dkv.vbucket.metadata import Metadata, decode_metadata, encode_metadata
from dkv.vbucket.outcomes import decode_outcomes
from dkv.vbucket.rows import decode_expiry_key, decode_row, encode_row
from dkv.vbucket.sessions import Sessions
from dkv.vbucket.staging import decode_staged

u64 = st.integers(0, 2**64 - 1)
short = st.binary(max_size=12)
sessions = st.none() | st.builds(Session, st.binary(min_size=1, max_size=16), st.integers(1, 2**64 - 1), u64)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Put, short, short, u64, sessions),
    st.builds(Delete, short, sessions),
    st.builds(DeleteRange, short, short, sessions),
    st.builds(CompareAndSet, short, short, short, u64, sessions),
    st.builds(MultiPut, st.lists(st.builds(Put, short, short, u64, st.none()), max_size=3).map(tuple), sessions),
    st.builds(Sweep, st.lists(st.tuples(u64, short), max_size=3).map(tuple)),
    st.just(Tick()),
    st.builds(AddSlave, short),
    st.builds(RemoveSlave, short),
)
digests = st.builds(lambda fill, count: fill * count, st.binary(min_size=1, max_size=1), st.just(16))
restores = st.builds(Restore, digests, digests.map(lambda half: half * 2), digests, u64, u64)
entries = st.lists(commands, max_size=5) | restores.map(lambda restore: [restore])


@settings(deadline=None)
@given(u64, entries)
def test_entry_of_any_commands_comes_back_equal(log_time: int, made: list[Command]) -> None:
    """Decoding gives what was encoded."""
    assert decode_entry(encode_entry(log_time, made)) == (log_time, made)


@settings(deadline=None)
@given(u64, entries)
def test_logged_commands_are_those_of_the_entry(log_time: int, made: list[Command]) -> None:
    """Counted without being made, and made."""
    logged = LoggedCommands(encode_entry(log_time, made))
    assert (len(logged), list(logged), len(logged)) == (len(made), made, len(made))
    assert logged[:1] == made[:1]


@settings(max_examples=500, deadline=None)
@given(u64, entries, st.data())
def test_entry_with_damage_is_refused_or_has_one_spelling(
    log_time: int, made: list[Command], data: st.DataObject
) -> None:
    """A changed, cut or longer entry raises Corrupt, or means something else that encodes to those very bytes."""
    good = encode_entry(log_time, made)
    at = data.draw(st.integers(0, len(good)))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(Corrupt):
        assert encode_entry(*decode_entry(bad)) == bad


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.binary(max_size=60).map(lambda tail: bytes.fromhex("0100000000000000000100000002") + tail)
)
@pytest.mark.parametrize(
    "decode",
    [
        decode_entry,
        decode_metadata,
        decode_outcomes,
        decode_row,
        decode_expiry_key,
        decode_staged,
        lambda data: Sessions(12).load([(data, b"\0" * 33)]),
        lambda data: Sessions(12).load([(b"\0\0\0\x0f\x01s" + b"\0" * 8, data)]),
    ],
)
def test_decoder_of_any_bytes_raises_nothing_but_corrupt(decode: Callable[[bytes], object], data: bytes) -> None:
    """Never IndexError or struct.error."""
    with contextlib.suppress(Corrupt):
        decode(data)


@given(short, u64)
def test_row_of_any_value_and_expiry_comes_back_equal(value: bytes, expires_at: int) -> None:
    """Decoding gives what was encoded."""
    assert decode_row(encode_row(value, expires_at)) == (value, expires_at)


ids = st.lists(u64, max_size=4)


@given(
    st.builds(
        Metadata,
        st.integers(0, 2**32 - 1),
        u64,
        st.integers(0, 2**32 - 1),
        u64,
        u64,
        u64,
        u64,
        u64,
        st.binary(min_size=16, max_size=16),
        st.tuples(ids, ids, ids, ids, st.booleans()),
    )
)
def test_metadata_of_any_numbers_comes_back_equal(metadata: Metadata) -> None:
    """Decoding gives what was encoded."""
    assert decode_metadata(encode_metadata(metadata)) == metadata
