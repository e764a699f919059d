"""The staging row: what a restore has put beside the served rows, ready to take their place (INVARIANTS 4, 22).

A restore fills a fresh block of spaces while the old one is served. The row names the block from its first row on, so
that nobody else takes it; when everything is there it says so, and is synced; only then is the command proposed. So
whoever applies the command - now, or again after a crash - finds the row, and with it the block. The flip of the
metadata row deletes the staging row in the same batch.

Only the leader who staged it proposes the command, and in the same term. So a row is of no use, and goes with its
block, once an entry of a later term is applied: the command would have come before it. One that was not whole when the
process ended is of no use at once.

Row: space 0, kind 2, vBucket. Layout in docs/formats/rows.md.
"""

from struct import Struct
from typing import NamedTuple

from dkv.model.commands import Restore
from dkv.model.errors import Corrupt
from dkv.vbucket.metadata import Metadata
from dkv.vbucket.rows import SLAVES_KIND, STAGING_KIND, Range

VERSION = 2
_ROW, _ROW_V1, _U32 = Struct(">B16sI32sBQQB"), Struct(">B16sI32sBQ"), Struct(">I")


class Staged(NamedTuple):
    """A whole state that waits for its restore command."""

    restore_id: bytes
    """16 bytes."""
    space: int
    """Its block."""
    checksum: bytes
    """32 bytes."""
    earliest_expiry: int | None
    """Where its expiry index begins; None: it is empty."""
    term: int
    """Of the leader who staged it, and may propose the command."""
    is_whole: bool = True
    """Everything is in the block."""


def staging_key(vbucket: int) -> bytes:
    """Where the staging row of a vBucket lies."""
    return STAGING_KIND + _U32.pack(vbucket)


def staging_range() -> Range:
    """Those of every vBucket of the folder."""
    return STAGING_KIND, SLAVES_KIND


def decode_staging_key(row_key: bytes) -> int:
    """The vBucket of a row of `staging_range`."""
    return int.from_bytes(row_key[len(STAGING_KIND) :], "big")


def encode_staged(staged: Staged) -> bytes:
    restore_id, space, checksum, earliest, term, is_whole = staged
    return _ROW.pack(VERSION, restore_id, space, checksum, earliest is not None, earliest or 0, term, is_whole)


def decode_staged(row: bytes) -> Staged:
    """Also of version 1, which knew of no terms and was written when the block was whole. Raises Corrupt."""
    if len(row) == _ROW_V1.size and row[0] == 1:
        row = bytes((VERSION,)) + row[1:] + bytes(8) + b"\1"
    if len(row) != _ROW.size:
        raise Corrupt(f"staging: row of {len(row)} bytes, not {_ROW.size}")
    version, restore_id, space, checksum, has_expiry, earliest, term, is_whole = _ROW.unpack(row)
    if version != VERSION:
        raise Corrupt(f"staging: version {version} at offset 0 is not known to this release")
    if has_expiry > 1 or (earliest and not has_expiry):
        raise Corrupt(f"staging: has expiry is {has_expiry} at offset 53, the expiry {earliest}")
    if is_whole > 1:
        raise Corrupt(f"staging: is whole is {is_whole} at offset 70")
    return Staged(restore_id, space, checksum, earliest if has_expiry else None, term, bool(is_whole))


def is_staged_for(staged: Staged | None, restore: Restore) -> bool:
    """Whether it is what this command is to serve."""
    return staged is not None and (staged.restore_id, staged.checksum) == (restore.restore_id, restore.checksum)


def flipped(
    before: Metadata, staged: Staged | None, restore: Restore, index: int, term: int, log_time: int
) -> Metadata:
    """The metadata row as of a restore command: the staged block, a new history, numbers and time that only went up.

    The number that the restore takes is above both histories and below `earliest_change`: nobody is served it, and a
    reader who is at or below it learns that its history is purged (INVARIANTS 12). Raises Corrupt, for good, when what
    the command names is not staged here. Where there are other replicas that is asked before, see `Replica.lacks`.
    """
    if staged is None or not is_staged_for(staged, restore):
        raise Corrupt(f"vBucket {before.vbucket}: entry {index} restores what is not staged here; restore a backup")
    number = max(before.change_number, restore.change_number) + 1
    return before._replace(
        space=staged.space,
        applied_index=index,
        applied_term=term,
        change_number=number,
        earliest_change=number + 1,
        log_time=max(before.log_time, log_time, restore.log_time),
        history_id=restore.history_id,
    )
