"""The words of backup and restore: what is asked for, how far it is, what came of it."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class Phase(IntEnum):
    """What a backup or restore is doing. The numbers are those of the wire (`dkv.v1.BackupPhase`)."""

    CHECKPOINT = 1
    COPY = 2
    VERIFY = 3
    STAGE = 4
    REPLAY = 5
    SWITCH = 6
    DONE = 7
    SPREAD = 8


class BackupOrder(NamedTuple):
    """Take a backup."""

    path: str


class RestoreOrder(NamedTuple):
    """Replace everything by what a backup holds, and perhaps by what this node did after it."""

    path: str
    until_change_number: int = 0
    """Replay the node's own history up to and including this change. 0: not asked."""
    until_time: int = 0
    """The same up to and including this log time, milliseconds. 0: not asked."""


Order = BackupOrder | RestoreOrder


class BackupFacts(NamedTuple):
    """Which state of a vBucket a backup holds."""

    vbucket: int
    space: int
    """The block of spaces in which its rows lie."""
    applied_index: int
    applied_term: int
    change_number: int
    log_time: int
    history_id: bytes


class Progress(NamedTuple):
    """How far the work is. `is_waiting`: others do it now, and looking again at once would show nothing new."""

    phase: Phase
    bytes_done: int = 0
    bytes_total: int = 0
    """0: not known."""
    is_waiting: bool = False


class Finished(NamedTuple):
    """What a backup holds, or a restore has made."""

    change_number: int
    history_id: bytes
    log_time: int


def together(parts: Sequence[Finished]) -> Finished:
    """Of all vBuckets. Numbers and lines of numbers of several are no one's: 0 and empty then."""
    if len(parts) == 1:
        return parts[0]
    return Finished(0, b"", max(part.log_time for part in parts))
