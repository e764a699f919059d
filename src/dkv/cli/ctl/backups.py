"""The commands backup and restore: followed by a bar where the server tells how far it is.

Servers of the original tell nothing; they are asked in their own way, and with their deadline: when it ends the wait,
the server goes on.
"""

from contextlib import closing
from typing import Any

from dkv.cli.ctl.invocation import Session
from dkv.cli.ctl.progress_bar import ProgressBar
from dkv.model.backups import Phase
from dkv.model.errors import Code, DkvError
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.fields import to_fields

_DOING: dict[int, str] = {
    Phase.CHECKPOINT: "preparing",
    Phase.COPY: "copying",
    Phase.VERIFY: "verifying",
    Phase.STAGE: "loading",
    Phase.REPLAY: "replaying",
    Phase.SPREAD: "sending",
    Phase.SWITCH: "switching",
}
_FACTS = ("changeNumber", "historyId", "logTime")


def backup(session: Session, words: list[bytes]) -> None:
    path = words[0].decode(errors="replace")
    try:
        facts = _follow(session, methods.TAKE_BACKUP_PATH, pb.TakeBackupRequest(path=path).SerializeToString())
    except DkvError as error:
        facts = _ask_plainly(session, error, methods.BACKUP_PATH, pb.BackupRequest(backupPath=path).SerializeToString())
    session.result({"ok": True, **facts}, "Successfully backed up")


def restore(session: Session, words: list[bytes]) -> None:
    """With --until, to a point in time: only our own servers can."""
    path, until = words[0].decode(errors="replace"), session.options.until
    request = pb.RestoreBackupRequest(path=path, untilChangeNumber=until.change_number, untilTime=until.time_ms)
    try:
        facts = _follow(session, methods.RESTORE_BACKUP_PATH, request.SerializeToString())
    except DkvError as error:
        if until.is_given:
            raise
        facts = _ask_plainly(
            session, error, methods.RESTORE_PATH, pb.RestoreRequest(restorePath=path).SerializeToString()
        )
    session.result({"ok": True, **facts}, "Successfully restored")


def _follow(session: Session, path: str, request: bytes) -> dict[str, Any]:
    """Shows a stream of progress; what its last message says of the result."""
    bar, told = ProgressBar(), pb.BackupProgress()
    try:
        with closing(session.client.stream(path, request)) as messages:
            for message in messages:
                told = pb.BackupProgress.FromString(message)
                bar.show(_DOING.get(told.phase, "finishing"), told.bytesDone, told.bytesTotal)
    finally:
        bar.wipe()
    fields = to_fields(told)
    return {name: fields[name] for name in _FACTS} | {"historyId": told.historyId.hex()}


def _ask_plainly(session: Session, error: DkvError, path: str, request: bytes) -> dict[str, Any]:
    if error.code != Code.UNIMPLEMENTED:
        raise error
    session.client.call(path, request)
    return {}
