"""Row keys, rows, outcomes and the metadata row."""

from pathlib import Path

import pytest

from dkv.model.errors import Corrupt, InvariantBroken
from dkv.vbucket import rows
from dkv.vbucket.metadata import Metadata, decode_metadata, encode_metadata
from dkv.vbucket.outcomes import (
    EntryOutcomes,
    OutcomesAt,
    decode_outcomes,
    decode_outcomes_at,
    encode_outcomes,
    outcomes_key,
)

GOLDEN = Path(__file__).parents[2] / "golden"
METADATA = Metadata(
    3, 2**62 + 5, 12, 900, 4, 1234, 17, 1_700_000_000_000, b"0123456789abcdef", ([7, 8], [9], [], [1], True)
)

OUTCOMES = EntryOutcomes(1234, 1_700_000_000_000, 0b1_00000010, 987_654)


def test_row_of_each_kind_has_the_golden_bytes() -> None:
    """A folder of an older release opens: keys and rows never change."""
    made = {
        "metadata key": rows.metadata_key(3),
        "data prefix": rows.prefix(rows.formed_space(3)),
        "plain row": rows.encode_row(b"value", 0),
        "expiring row": rows.encode_row(b"value", 1_700_000_000_000),
        "expiry index key": rows.expiry_row_key(12, 1_700_000_000_000, b"key"),
        "outcomes key": outcomes_key(12, 900),
        "outcomes row": encode_outcomes(OUTCOMES),
        "metadata row": encode_metadata(METADATA),
        "registry of slaves key": rows.slave_key(3, b"zone@host:8080"),
    }
    text = "".join(f"{name}: {data.hex()}\n" for name, data in made.items())
    assert text == (GOLDEN / "rows-v2.txt").read_text()


def test_outcomes_row_of_version_1_is_still_read() -> None:
    """A folder of the first release opens; its rows do not say how long the log is."""
    golden = dict(line.split(": ") for line in (GOLDEN / "rows-v1.txt").read_text().splitlines())
    assert decode_outcomes(bytes.fromhex(golden["outcomes row"])) == OUTCOMES._replace(log_bytes=0)


@pytest.mark.parametrize("value", [b"", b"v", b"\1\0"])
@pytest.mark.parametrize("expires_at", [0, 1, 2**64 - 1])
def test_row_comes_back_equal(value: bytes, expires_at: int) -> None:
    """Decoding gives what was encoded."""
    assert rows.decode_row(rows.encode_row(value, expires_at)) == (value, expires_at)


def test_row_is_visible_until_its_expiry() -> None:
    """Expired means expiry <= log time; an empty value is a value."""
    row = rows.encode_row(b"", 100)
    assert (rows.visible(row, 99), rows.visible(row, 100), rows.visible(None, 0)) == (b"", None, None)
    assert rows.visible(rows.encode_row(b"v", 0), 2**64 - 1) == b"v"


@pytest.mark.parametrize("row", [b"", b"\2", b"\1", b"\1" + b"\0" * 7, b"\1" + b"\0" * 8])
def test_row_that_is_malformed_raises_corrupt(row: bytes) -> None:
    """Also when only asked whether it is visible."""
    with pytest.raises(Corrupt, match="offset"):
        rows.decode_row(row)
    with pytest.raises(Corrupt, match="offset"):
        rows.visible(row, 0)


def test_expiry_key_comes_back_equal_and_sorts_by_expiry() -> None:
    """The index is walked in order of expiry."""
    early, late = rows.expiry_row_key(12, 255, b"z"), rows.expiry_row_key(12, 256, b"a")
    assert rows.decode_expiry_key(early) == (255, b"z")
    start, end = rows.expiry_range(12)
    assert start <= early < late < end
    with pytest.raises(Corrupt):
        rows.decode_expiry_key(early[:11])


def test_spaces_of_a_block_are_apart_and_cover_it() -> None:
    """No range reaches into another, and the block's covers all four."""
    ranges = [rows.data_range(12), rows.expiry_range(12), rows.outcomes_range(12), rows.session_range(12)]
    assert [end for _, end in ranges[:-1]] == [start for start, _ in ranges[1:]]
    assert rows.block_range(12) == (ranges[0][0], ranges[-1][1])
    start, end = rows.metadata_range()
    assert start < rows.metadata_key(1) < rows.metadata_key(2**32 - 1) < end < ranges[0][0]


def test_fresh_space_is_never_one_that_is_taken() -> None:
    """An install fills a block that nothing names (INVARIANTS 4)."""
    first = rows.fresh_space([rows.formed_space(1), rows.formed_space(2)])
    assert first == rows.INSTALLED_SPACE_MIN
    assert rows.fresh_space([4, first]) == first + 4
    with pytest.raises(InvariantBroken):
        rows.formed_space(1 << 29)


def test_expiry_in_seconds_saturates_and_never_stays_never() -> None:
    """2^64-1 is what old clients mean by never."""
    never = 2**64 - 1
    assert rows.expires_at_of_ts(never) == never
    assert rows.ts_of_expires_at(never) == never
    assert rows.expires_at_of_ts(17) == 17_000
    assert [rows.ts_of_expires_at(ms) for ms in (0, 1, 17_000, 17_001)] == [0, 1, 17, 18]


def test_metadata_comes_back_equal_and_strict() -> None:
    """Every prefix, and trailing bytes, are refused."""
    row = encode_metadata(METADATA)
    assert decode_metadata(row) == METADATA
    for size in range(len(row)):
        with pytest.raises(Corrupt, match="offset"):
            decode_metadata(row[:size])
    for bad in (row + b"\0", b"\2" + row[1:], row.replace(b"0123456789abcdef\1", b"0123456789abcdef\2")):
        with pytest.raises(Corrupt, match="offset"):
            decode_metadata(bad)


def test_outcomes_come_back_equal_and_strict() -> None:
    """The bitmap has one spelling."""
    for outcomes in (EntryOutcomes(5, 6, 0, 7), EntryOutcomes(5, 6, 1 << 9, 0)):
        assert decode_outcomes(encode_outcomes(outcomes)) == outcomes
        assert decode_outcomes_at((outcomes_key(12, 9), encode_outcomes(outcomes))) == OutcomesAt(9, outcomes)
    row = encode_outcomes(EntryOutcomes(5, 6, 0, 7))
    for bad in (row[:-1], row + b"\0", b"\1" + row[1:], b"", bytes(15)):
        with pytest.raises(Corrupt):
            decode_outcomes(bad)
    with pytest.raises(Corrupt, match="key of 11 bytes"):
        decode_outcomes_at((outcomes_key(12, 9)[:-1], row))
