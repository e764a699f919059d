"""Backup and restore: the original's dkv.serverpb.DKVBackupRestore, and dkv.v1.Backups with progress.

Both ask the node for the same job. A plain call is answered when it is over; a stream is told on the way. What is wrong
with a path is found by who touches it, never here: a look at a slow disk would stop the node.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dkv.model.backups import BackupOrder, Finished, Order, Phase, Progress, RestoreOrder
from dkv.model.errors import Code, DkvError, InvalidRequest
from dkv.services.calls import Accept, fail, parse_each
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

STATUS_OK = wire.Status().SerializeToString()


@dataclass(slots=True)
class PlainCall:
    """Answered once, with a Status."""

    call_id: int
    order: Order

    def tell(self, turn: Turn, progress: Progress) -> None:
        """It cannot be told."""

    def finish(self, turn: Turn, finished: Finished) -> None:
        turn.reply_ids.append(self.call_id)
        turn.replies.append(STATUS_OK)

    def fail(self, turn: Turn, error: DkvError) -> None:
        fail(turn, self.call_id, error)


@dataclass(slots=True)
class ProgressStream:
    """Told how far it is, then what came of it."""

    call_id: int
    order: Order

    def tell(self, turn: Turn, progress: Progress) -> None:
        message = wire.BackupProgress(
            phase=progress.phase, bytesDone=progress.bytes_done, bytesTotal=progress.bytes_total
        )
        turn.items.append((self.call_id, [message.SerializeToString()]))

    def finish(self, turn: Turn, finished: Finished) -> None:
        message = wire.BackupProgress(
            phase=Phase.DONE,
            changeNumber=finished.change_number,
            historyId=finished.history_id,
            logTime=finished.log_time,
        )
        turn.items.append((self.call_id, [message.SerializeToString()]))
        turn.finished.append((self.call_id, int(Code.OK), "", b"", -1))

    def fail(self, turn: Turn, error: DkvError) -> None:
        fail(turn, self.call_id, error)


class BackupService:
    """Stateless: the node owns the job. Never raises for what a caller sent."""

    def __init__(self) -> None:
        self.accepts: dict[int, Accept] = {
            methods.BACKUP: _asking(_plain_backup, PlainCall),
            methods.RESTORE: _asking(_plain_restore, PlainCall),
            methods.TAKE_BACKUP: _asking(_take, ProgressStream),
            methods.RESTORE_BACKUP: _asking(_restore, ProgressStream),
        }
        """By method number."""


def _asking(parse: Callable[[bytes], Order], answer: Callable[[int, Order], PlainCall | ProgressStream]) -> Accept:
    def accept(call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        ids, orders = parse_each(parse, call_ids, messages, turn)
        turn.jobs += map(answer, ids, orders)

    return accept


def _plain_backup(message: bytes) -> Order:
    return BackupOrder(_path(wire.BackupRequest.FromString(message).backupPath))


def _plain_restore(message: bytes) -> Order:
    return RestoreOrder(_path(wire.RestoreRequest.FromString(message).restorePath))


def _take(message: bytes) -> Order:
    return BackupOrder(_path(wire.TakeBackupRequest.FromString(message).path))


def _restore(message: bytes) -> Order:
    request = wire.RestoreBackupRequest.FromString(message)
    if request.untilChangeNumber and request.untilTime:
        raise InvalidRequest("untilChangeNumber and untilTime exclude each other")
    return RestoreOrder(_path(request.path), request.untilChangeNumber, request.untilTime)


def _path(path: str) -> str:
    if not path.strip() or "\0" in path:
        raise InvalidRequest("valid path must be provided")
    return path
