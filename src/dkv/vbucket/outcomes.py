"""Outcomes: what makes the Raft log serve as history without a second copy of the data (INVARIANTS 10).

An entry holds what was *asked*; which of its commands took effect, and from which change number on, was decided when it
was applied. One small row per entry with commands keeps that, keyed by the log index: `version:u8 | first change
number, log time, log bytes, each u64 BE | bitmap`. Bit i (byte i // 8, lowest bit first) is set when command i took
*no* effect: a failed compare-and-set, a repeated or refused session write. The bitmap ends with its last set bit, so it
is mostly empty. *Log bytes* counts the entries from the vBucket's first up to this one; the difference of two rows is
what the log keeps between them, so retention needs no table of sizes (INVARIANTS 14).

Version 1 had neither version nor log bytes, and only entries that took a number had a row: `first change number | log
time | bitmap`. It begins with a zero byte, as no number reaches 2^56, and is still read.
"""

from struct import Struct
from typing import NamedTuple

from dkv.model.errors import Corrupt
from dkv.vbucket.rows import OUTCOMES

VERSION = 2
"""Persisted."""
_KEY, _ROW, _ROW_V1 = Struct(">IQ"), Struct(">BQQQ"), Struct(">QQ")


class EntryOutcomes(NamedTuple):
    """What one applied entry did to the numbers."""

    first_change_number: int
    """That of the entry's first change; of an entry without one, the next one to be taken."""
    log_time: int
    without_effect: int
    """Bit i: command i took no effect and no number."""
    log_bytes: int
    """Of all entries up to and with this one; 0 in a row of version 1."""


class OutcomesAt(NamedTuple):
    """An outcomes row and where it lies."""

    log_index: int
    outcomes: EntryOutcomes


def outcomes_key(space: int, index: int) -> bytes:
    """The row key of the entry at a log index; also the exclusive end of all before it."""
    return _KEY.pack(space + OUTCOMES, index)


def encode_outcomes(outcomes: EntryOutcomes) -> bytes:
    first, log_time, without_effect, log_bytes = outcomes
    row = _ROW.pack(VERSION, first, log_time, log_bytes)
    if without_effect:
        row += without_effect.to_bytes((without_effect.bit_length() + 7) // 8, "little")
    return row


def decode_outcomes(row: bytes) -> EntryOutcomes:
    """Raises Corrupt when the version is unknown, the row is too short or its bitmap ends in a zero byte."""
    version = row[0] if row else 0
    if version not in (0, VERSION):
        raise Corrupt(f"outcomes: version {version} at offset 0 is not known to this release")
    head = _ROW if version else _ROW_V1
    if len(row) < head.size:
        raise Corrupt(f"outcomes: {len(row)} bytes end inside the numbers")
    if len(row) > head.size and not row[-1]:
        raise Corrupt(f"outcomes: bitmap ends in a zero byte at offset {len(row) - 1}")
    without_effect = int.from_bytes(row[head.size :], "little")
    if not version:
        first, log_time = head.unpack_from(row)
        return EntryOutcomes(first, log_time, without_effect, 0)
    _, first, log_time, log_bytes = head.unpack_from(row)
    return EntryOutcomes(first, log_time, without_effect, log_bytes)


def decode_outcomes_at(row: tuple[bytes, bytes]) -> OutcomesAt:
    """A row with its key. Raises Corrupt."""
    row_key, data = row
    if len(row_key) != _KEY.size:
        raise Corrupt(f"outcomes: key of {len(row_key)} bytes, not {_KEY.size}")
    return OutcomesAt(_KEY.unpack(row_key)[1], decode_outcomes(data))
