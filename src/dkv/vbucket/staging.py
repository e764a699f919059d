"""The staging row: what a restore has put beside the served rows, ready to take their place (INVARIANTS 4, 22).

A restore fills a fresh block of spaces while the old one is served. When everything is there it writes this row and
syncs; only then is the command proposed. So whoever applies the command - now, or again after a crash - finds the row,
and with it the block. The flip of the metadata row deletes the staging row in the same batch. A staging row that is
there when every entry of the log is applied belongs to a restore that was cut short: it is deleted, with its block.

Row: space 0, kind 2, vBucket. Layout in docs/formats/rows.md.
"""

from dataclasses import replace
from struct import Struct
from typing import NamedTuple

from dkv.model.commands import Restore
from dkv.model.errors import Corrupt
from dkv.vbucket.metadata import Metadata
from dkv.vbucket.rows import STAGING_KIND

VERSION = 1
_ROW, _U32 = Struct(">B16sI32sBQ"), Struct(">I")


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


def staging_key(vbucket: int) -> bytes:
    """Where the staging row of a vBucket lies."""
    return STAGING_KIND + _U32.pack(vbucket)


def encode_staged(staged: Staged) -> bytes:
    has_expiry = staged.earliest_expiry is not None
    return _ROW.pack(VERSION, staged.restore_id, staged.space, staged.checksum, has_expiry, staged.earliest_expiry or 0)


def decode_staged(row: bytes) -> Staged:
    """Raises Corrupt."""
    if len(row) != _ROW.size:
        raise Corrupt(f"staging: row of {len(row)} bytes, not {_ROW.size}")
    version, restore_id, space, checksum, has_expiry, earliest = _ROW.unpack(row)
    if version != VERSION:
        raise Corrupt(f"staging: version {version} at offset 0 is not known to this release")
    if has_expiry > 1 or (earliest and not has_expiry):
        raise Corrupt(f"staging: has expiry is {has_expiry} at offset 53, the expiry {earliest}")
    return Staged(restore_id, space, checksum, earliest if has_expiry else None)


def flipped(
    before: Metadata, staged: Staged | None, restore: Restore, index: int, term: int, log_time: int
) -> Metadata:
    """The metadata row as of a restore command: the staged block, a new history, numbers and time that only went up.

    The number that the restore takes is above both histories and below `earliest_change`: nobody is served it, and a
    reader who is at or below it learns that its history is purged (INVARIANTS 12). Raises Corrupt, for good, when what
    the command names is not staged here: without other replicas there is nowhere to fetch it from.
    """
    if staged is None or (staged.restore_id, staged.checksum) != (restore.restore_id, restore.checksum):
        raise Corrupt(f"vBucket {before.vbucket}: entry {index} restores what is not staged here; restore a backup")
    number = max(before.change_number, restore.change_number) + 1
    return replace(
        before,
        space=staged.space,
        applied_index=index,
        applied_term=term,
        change_number=number,
        earliest_change=number + 1,
        log_time=max(before.log_time, log_time, restore.log_time),
        history_id=restore.history_id,
    )
