"""A backup as its caller sees it: how far it is, and what it holds in the end."""

from typing import NamedTuple

from google.protobuf.message import DecodeError

from dkv.wire import messages as wire
from dkv.wire.replies import MalformedReply

SILENCE_S_MAX = 60.0
"""A server at work says more often how far it is."""


class BackupProgress(NamedTuple):
    """Where a backup stands."""

    phase: str
    """checkpoint, copy, and in the end done."""
    bytes_done: int
    """Of the phase."""
    bytes_total: int
    """0: not known yet."""
    change_number: int
    """In the end: the last change that the backup holds."""
    history_id: bytes
    """In the end: the line of numbers it belongs to."""
    time_ms: int
    """In the end: log time of the state that was backed up, milliseconds since the Unix epoch."""


NOT_BEGUN = BackupProgress("unknown", 0, 0, 0, b"", 0)


def take_backup(path: str) -> bytes:
    """The request."""
    return wire.TakeBackupRequest(path=path).SerializeToString()


def progress(message: bytes) -> BackupProgress:
    """One message of the reply."""
    try:
        reply = wire.BackupProgress.FromString(message)
    except DecodeError as error:
        raise MalformedReply("not a BackupProgress") from error
    phase = wire.BackupPhase.Name(reply.phase) if reply.phase in wire.BackupPhase.values() else "unknown"
    return BackupProgress(
        phase.removeprefix("BACKUP_PHASE_").lower(),
        reply.bytesDone,
        reply.bytesTotal,
        reply.changeNumber,
        reply.historyId,
        reply.logTime,
    )
