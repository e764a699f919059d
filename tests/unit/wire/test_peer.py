"""The frame of what nodes say to each other."""

from pathlib import Path

import pytest

from dkv.model.errors import InvalidRequest
from dkv.wire.peer import (
    MESSAGE_BYTES,
    Answer,
    Kind,
    Part,
    pack,
    pack_all,
    pack_answers,
    pack_calls,
    pack_number,
    pack_numbers,
    parse,
    parse_answers,
    parse_calls,
    parse_number,
    parse_numbers,
    raft_sender,
    spans,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "peer-v1.hex"
ANSWERS = [Answer(2**64 - 1, 0, -1, b"", b"reply"), Answer(8, 8, 100, b"full", b"\x08\x08")]
CALLS = ("/dkv.serverpb.DKV/Put", 7, [b"\x0a\x01k\x12\x01v", b""])
PARTS: list[Part] = [
    (Kind.RAFT, 1, b"raft"),
    (Kind.READ_INDEX, 2**32 - 1, pack_number(3)),
    (Kind.READ_INDEX_REPLY, 1, pack_numbers(3, 2**64 - 1)),
    (Kind.CALLS, 1, pack_calls(*CALLS)),
    (Kind.READ_INDEX_LOST, 1, pack_number(4)),
    (Kind.ANSWERS, 0, pack_answers(ANSWERS)),
    (200, 0, b"of a later release"),
]


def test_message_with_every_kind_has_the_golden_bytes_and_comes_back_equal() -> None:
    """Nodes of two releases understand each other: the bytes never change."""
    golden = bytes.fromhex(GOLDEN.read_text())
    assert pack(PARTS) == golden
    assert parse(golden) == PARTS


def test_body_of_each_kind_comes_back_equal() -> None:
    """Decoding gives what was encoded."""
    assert parse_number(pack_number(3)) == 3
    assert parse_numbers(pack_numbers(3, 4)) == (3, 4)
    assert parse_calls(pack_calls(*CALLS)) == CALLS
    assert parse_answers(pack_answers(ANSWERS)) == ANSWERS


def test_parts_of_many_bytes_leave_in_several_messages_in_order() -> None:
    """None is split, none lost, and a message takes no part once it is full."""
    half = bytes(MESSAGE_BYTES // 2)
    parts: list[Part] = [(1, number, half * (number % 4)) for number in range(9)]
    messages = pack_all(parts)
    assert [part for message in messages for part in parse(message)] == parts
    assert [len(parse(message)) for message in messages] == [3, 1, 3, 1, 1]
    assert pack_all([]) == []


def test_list_is_cut_where_a_message_is_full() -> None:
    """Each slice but the last fills a message, by its last item."""
    full = MESSAGE_BYTES
    cut = [(each.start, each.stop) for each in spans([1, full, full - 1, 1, 5, 5])]
    assert cut == [(0, 2), (2, 4), (4, 6)]
    assert [list(spans(sizes)) for sizes in ([], [full])] == [[], [slice(0, 1)]]


@pytest.mark.parametrize("cut", [1, 8, 9, 12, 13, 30])
def test_message_that_ends_inside_a_part_is_refused(cut: int) -> None:
    """Nothing of it is believed."""
    whole = pack(PARTS)
    with pytest.raises(InvalidRequest, match=f"message of {len(whole) - cut} bytes ends inside a part"):
        parse(whole[:-cut])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "calls of 0 bytes"),
        (pack_calls(*CALLS)[:-1], "do not end where they say"),
        (pack_calls(*CALLS) + b"x", "do not end where they say"),
        (pack_calls("/a", 1, []).replace(b"/a", b"\xff\xfe"), "do not end where they say"),
        (pack_calls("", 1, [])[:-4] + b"\xff" * 4, "do not end where they say"),
    ],
    ids=["empty", "short", "long", "no text", "count"],
)
def test_calls_that_do_not_fit_their_bytes_are_refused(body: bytes, text: str) -> None:
    """Nothing is set aside for what a count only claims."""
    with pytest.raises(InvalidRequest, match=text):
        parse_calls(body)


def test_numbers_and_answers_of_another_size_are_refused() -> None:
    """The error says what was expected."""
    with pytest.raises(InvalidRequest, match="a part of 7 bytes where 8 belong"):
        parse_number(bytes(7))
    with pytest.raises(InvalidRequest, match="a part of 8 bytes where 16 belong"):
        parse_numbers(bytes(8))
    for cut in (1, 5, 30):
        with pytest.raises(InvalidRequest, match="end inside one"):
            parse_answers(pack_answers(ANSWERS)[:-cut])


@pytest.mark.parametrize(
    ("message", "sender"),
    [
        (b"\x08\x04\x10\x02\x18\x07\x20\x01", 7),
        (b"\x10\x02\x18\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 2**63 - 1),
        (b"\x08\x04\x10\x02\x20\x18", 0),
        (b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 0),
        (b"\x08\x04\x12\x02\x18\x07", 0),
        (b"\x18\x87", 7),
        (b"", 0),
    ],
    ids=["append", "large", "none", "endless", "another type", "cut", "empty"],
)
def test_sender_of_a_message_of_raft_is_found_or_nobody(message: bytes, sender: int) -> None:
    """Bytes that are no message name nobody, or somebody whom nothing is sent to: Raft passes them over."""
    assert raft_sender(message) == sender
