"""The codec of log entries."""

from pathlib import Path

import pytest

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
from dkv.model.errors import Corrupt, InvariantBroken
from dkv.vbucket.entry import decode_entry, encode_entry, is_restore

GOLDEN = Path(__file__).parents[2] / "golden"
SESSION = Session(b"client-1", 7, 5)
ALL: list[Command] = [
    Put(b"k", b"v"),
    Put(b"k", b"", 9),
    Put(b"k", b"v", 0, SESSION),
    Put(b"k", b"v", 2**64 - 1, SESSION),
    Delete(b"k"),
    Delete(b"k", SESSION),
    DeleteRange(b"a", b""),
    DeleteRange(b"a", b"b", SESSION),
    CompareAndSet(b"k", b"", b"new"),
    CompareAndSet(b"k", b"old", b"new", 1234, SESSION),
    MultiPut((Put(b"a", b"1"), Put(b"b", b"2", 77)), SESSION),
    MultiPut(()),
    Sweep(((5, b"k"), (6, b""))),
    Tick(),
]
RESTORE = Restore(b"i" * 16, b"c" * 32, b"h" * 16, 41, 123_000)
LATER = [AddSlave(b"zone@host:8080"), RemoveSlave(b"host:8080")]
"""Kinds that came later: the golden bytes of the first ones stay as they are."""


def test_entry_with_every_command_comes_back_equal() -> None:
    """Decoding gives what was encoded."""
    assert decode_entry(encode_entry(123_456, ALL)) == (123_456, ALL)


def test_entry_with_every_command_has_the_golden_bytes() -> None:
    """The log of an older release can be read: the bytes never change."""
    golden = bytes.fromhex((GOLDEN / "entry-v1.hex").read_text())
    assert encode_entry(123_456, ALL) == golden
    assert decode_entry(golden) == (123_456, ALL)


def test_entry_of_a_restore_has_the_golden_bytes() -> None:
    """A restore is an entry of its own, and keeps its bytes, too."""
    golden = bytes.fromhex((GOLDEN / "entry-v1-restore.hex").read_text())
    assert encode_entry(123_456, [RESTORE]) == golden
    assert decode_entry(golden) == (123_456, [RESTORE])


def test_entry_knows_a_restore_by_one_byte() -> None:
    """Only an entry that is a restore looks like one; the empty first entry of a leader does not."""
    assert is_restore(encode_entry(1, [RESTORE]))
    assert not is_restore(encode_entry(1, ALL))
    assert not is_restore(b"")


def test_entry_with_a_restore_among_others_is_refused_both_ways() -> None:
    """A restore changes where every other command of its entry would apply: it stands alone."""
    with pytest.raises(InvariantBroken, match="a restore among 2 commands"):
        encode_entry(1, [RESTORE, Tick()])
    alone, other = encode_entry(1, [RESTORE]), encode_entry(1, [Tick()])
    both = other[:13] + b"\2" + other[14:] + alone[14:]
    with pytest.raises(Corrupt, match="a restore among 2 commands"):
        decode_entry(both)


def test_entry_of_a_restore_with_fields_of_the_wrong_size_has_no_encoding() -> None:
    """Struct would pad or cut them in silence."""
    with pytest.raises(InvariantBroken, match="fields of"):
        encode_entry(1, [RESTORE._replace(checksum=b"short")])


def test_entry_with_later_commands_has_the_golden_bytes() -> None:
    """Within version 1, as no kind was renumbered."""
    golden = bytes.fromhex((GOLDEN / "entry-v1-slaves.hex").read_text())
    assert encode_entry(123_456, LATER) == golden
    assert decode_entry(golden) == (123_456, LATER)


def test_entry_cut_anywhere_raises_corrupt() -> None:
    """Every proper prefix is refused, naming an offset."""
    data = encode_entry(1, ALL + LATER)
    for size in range(len(data)):
        with pytest.raises(Corrupt, match=r"offset|bytes end inside the head"):
            decode_entry(data[:size])


def test_entry_with_trailing_bytes_raises_corrupt() -> None:
    """Nothing may follow the last command."""
    with pytest.raises(Corrupt, match="1 bytes too many from offset 14"):
        decode_entry(encode_entry(1, []) + b"\0")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("02 00 0000000000000001 00000000", "version 2 at offset 0"),
        ("01 01 0000000000000001 00000000", "flags 0x1 at offset 1"),
        ("01 00 0000000000000001 00000001 0c", "command 0xc at offset 14"),
        ("01 00 0000000000000001 00000001 89 01 61 0000000000000001 0000000000000000", "command 0x89 at offset 14"),
        ("01 00 0000000000000001 00000001 00", "command 0x0 at offset 14"),
        ("01 00 0000000000000001 00000001 88 01 61 0000000000000001 0000000000000000", "command 0x88 at offset 14"),
        ("01 00 0000000000000001 00000001 83 00 0000000000000001 0000000000000000 0000", "session of 0 bytes"),
        ("01 00 0000000000000001 00000001 83 01 61 0000000000000000 0000000000000000 0000", "sequence 0, at offset 15"),
        ("01 00 0000000000000001 00000001 02 0000 00000000 0000000000000000", "without an expiry at offset 21"),
        ("01 00 0000000000000001 00000001 06 00000001 08", "not a put inside a MultiPut at offset 19"),
        ("01 00 0000000000000001 ffffffff", "before command 0 of 4294967295"),
    ],
)
def test_entry_with_a_wrong_field_raises_corrupt_naming_it(data: str, problem: str) -> None:
    """What the encoder never writes is refused, not guessed."""
    with pytest.raises(Corrupt, match=problem):
        decode_entry(bytes.fromhex(data))


@pytest.mark.parametrize(
    "command",
    [
        Put(b"k" * 65_536, b""),
        Put(b"k", b"", 0, Session(b"", 1, 0)),
        Put(b"k", b"", 0, Session(b"s" * 17, 1, 0)),
        Delete(b"k", Session(b"s", 0, 0)),
        MultiPut((Put(b"k", b"", 0, SESSION),)),
        Put(b"k", b"", 1 << 64),
    ],
)
def test_entry_of_what_cannot_be_decoded_is_not_encoded(command: Put | Delete | MultiPut) -> None:
    """An entry that commits and cannot be decoded would stop every replica."""
    with pytest.raises(InvariantBroken):
        encode_entry(1, [command])
