"""Outcomes: what makes the Raft log serve as history without a second copy of the data (INVARIANT 10).

An entry holds what was *asked*; which of its commands took effect, and from which change number on, was decided when it
was applied. One small row per entry that took a number keeps that: `first change number:u64 BE | log time:u64 BE |
bitmap`, keyed by the log index. Bit i (byte i // 8, lowest bit first) is set when command i took *no* effect: a failed
compare-and-set, a repeated or refused session write. The bitmap ends with its last set bit, so it is mostly empty.
"""

from struct import Struct
from typing import NamedTuple

from dkv.model.errors import Corrupt
from dkv.vbucket.rows import OUTCOMES

_KEY, _ROW = Struct(">IQ"), Struct(">QQ")


class EntryOutcomes(NamedTuple):
    """What one applied entry did to the numbers."""

    first_change_number: int
    log_time: int
    without_effect: int
    """Bit i: command i took no effect and no number."""


def outcomes_key(space: int, index: int) -> bytes:
    """The row key of the entry at a log index; also the exclusive end of all before it."""
    return _KEY.pack(space + OUTCOMES, index)


def encode_outcomes(first_change_number: int, log_time: int, without_effect: int) -> bytes:
    row = _ROW.pack(first_change_number, log_time)
    if without_effect:
        row += without_effect.to_bytes((without_effect.bit_length() + 7) // 8, "little")
    return row


def decode_outcomes(row: bytes) -> EntryOutcomes:
    """Raises Corrupt when the row is too short or its bitmap ends in a zero byte."""
    if len(row) < _ROW.size:
        raise Corrupt(f"outcomes: {len(row)} bytes end inside the numbers")
    if len(row) > _ROW.size and not row[-1]:
        raise Corrupt(f"outcomes: bitmap ends in a zero byte at offset {len(row) - 1}")
    first, log_time = _ROW.unpack_from(row)
    return EntryOutcomes(first, log_time, int.from_bytes(row[_ROW.size :], "little"))
