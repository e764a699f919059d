"""The frame between nodes: what is packed comes back, in order, whatever it is."""

from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.wire.peer import Answer, pack, pack_answers, pack_calls, parse, parse_answers, parse_calls

u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
short = st.binary(max_size=12)
parts = st.lists(st.tuples(st.integers(0, 255), u32, short), min_size=1, max_size=8)
answers = st.lists(st.builds(Answer, u64, st.integers(0, 255), st.integers(-1, 2**31 - 1), short, short), max_size=5)


@settings(deadline=None)
@given(parts)
def test_parts_come_back_equal_and_in_order(made: list[tuple[int, int, bytes]]) -> None:
    """Joining messages is joining their parts."""
    message = pack(made)
    assert parse(message) == made
    assert parse(message + message) == made + made


@settings(deadline=None)
@given(st.text(max_size=20), u64, st.lists(short, max_size=5))
def test_calls_come_back_equal(path: str, first_number: int, messages: list[bytes]) -> None:
    """Whatever the method is called."""
    assert parse_calls(pack_calls(path, first_number, messages)) == (path, first_number, messages)


@settings(deadline=None)
@given(answers)
def test_answers_come_back_equal(made: list[Answer]) -> None:
    """Codes and delays keep their signs."""
    assert parse_answers(pack_answers(made)) == made
