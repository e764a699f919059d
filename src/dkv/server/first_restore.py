"""--restore-from: a folder without data begins with a backup, before anybody is served.

The same job as for a caller, so a crash in the middle leaves a folder without data, and the next start begins anew.
"""

from dkv.model.backups import RestoreOrder
from dkv.model.errors import DkvError, FolderRefused
from dkv.server.notify import MORE_TIME, Notifier
from dkv.server.parts import Parts
from dkv.server.signals import Signals

TELL_INTERVAL_MS = 10_000


def begin_with_backup(parts: Parts, path: str, signals: Signals, notifier: Notifier) -> None:
    """Turns until it is restored, or a signal. Raises FolderRefused when there are data, or what is wrong with it."""
    node = parts.node
    if node.sole.replica.change_number:
        raise FolderRefused(
            f"{parts.folder.path} has data already; nothing was changed. Start without --restore-from, and restore "
            "with dkvctl --restore"
        )
    running, told_ms = node.jobs.start(RestoreOrder(path)), -TELL_INTERVAL_MS
    while running.outcome is None and signals.caught is None:
        if (now_ms := node.clock.now().monotonic_ms) - told_ms >= TELL_INTERVAL_MS:
            told_ms = now_ms
            notifier.tell(MORE_TIME)
        node.turn()
    if isinstance(running.outcome, DkvError):
        raise running.outcome
