"""dkvsrv, put together: folder, log, engine, replica, services, edge, then turns until a signal.

The order is the safety: the folder is locked before anything in it is read, the log is synced and checked before Raft
sees it, the first entry of the own term is applied before the port opens.
"""

import logging
import os
import signal
import time
from types import FrameType

from dkv import __version__
from dkv.edge import EdgeServer
from dkv.model.backups import RestoreOrder
from dkv.model.errors import Corrupt, DkvError, FolderRefused, InvariantBroken, StorageFailed
from dkv.server.logs import configure, say
from dkv.server.notify import READY, STOPPING, Notifier
from dkv.server.parts import Parts, assemble
from dkv.settings import Settings

EXIT_OK, EXIT_FAILED = 0, 1


class _Signals:
    """Remembers the first stop signal; a second one ends the process at once."""

    def __init__(self) -> None:
        self.caught: str | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.caught is not None:
            os._exit(EXIT_FAILED)
        self.caught = {signal.SIGINT: "interrupt", signal.SIGQUIT: "quit"}.get(signal.Signals(number), "terminated")


def run(settings: Settings, warnings: list[str]) -> int:
    """Serve until a signal. Returns the exit status; every failure is one clear line on stderr."""
    logger = configure(settings.log_level)
    for warning in warnings:
        logger.warning("%s", warning)
    try:
        return _serve(settings, logger)
    except (FolderRefused, Corrupt) as refused:
        say(f"dkvsrv: {refused}")
    except DkvError as failure:
        logger.error("the server ends: %s", failure)
    except OSError as failure:
        say(f"dkvsrv: {failure}")
    return EXIT_FAILED


def _serve(settings: Settings, logger: logging.Logger) -> int:
    signals, notifier = _Signals(), Notifier()
    started = time.monotonic()
    parts = assemble(settings)
    try:
        parts.node.recover()
        _check_clock(parts, settings, logger)
        _begin_with_backup(parts, settings, signals)
        served = _listen(parts.edge, settings, logger)
        _announce(parts, settings, served, time.monotonic() - started)
        notifier.tell(READY)
        _turn_until_signal(parts, signals, logger)
        notifier.tell(STOPPING)
        parts.services.shutting_down()
        if not parts.node.drain(settings.drain_timeout_ms):
            logger.warning("some calls did not end within the drain timeout and were dropped")
        parts.edge.close()
        parts.node.close()
        return EXIT_OK
    finally:
        parts.close()


def _check_clock(parts: Parts, settings: Settings, logger: logging.Logger) -> None:
    """A clock far ahead of the last write may be wrong, and would expire keys for good (INVARIANTS 7)."""
    clock, now = parts.node.replica.clock, parts.node.clock.now()
    if not clock.frozen:
        return
    if settings.confirm_clock:
        clock.confirm(now)
        return
    logger.warning(
        "the clock is %d s ahead of the last write: no key expires until you confirm it. Check the time, then start "
        "with --confirm-clock",
        clock.behind_ms(now) // 1000,
    )


def _begin_with_backup(parts: Parts, settings: Settings, signals: _Signals) -> None:
    """Restore into a folder without data, before anybody is served. Raises FolderRefused when there is data."""
    if not settings.restore_from:
        return
    node = parts.node
    if node.replica.change_number:
        raise FolderRefused(
            f"{parts.folder.path} has data already; nothing was changed. Start without --restore-from, and restore "
            "with dkvctl --restore"
        )
    running = node.jobs.start(RestoreOrder(settings.restore_from))
    while running.outcome is None and signals.caught is None:
        node.turn()
    if isinstance(running.outcome, DkvError):
        raise running.outcome


def _turn_until_signal(parts: Parts, signals: _Signals, logger: logging.Logger) -> None:
    turn = parts.node.turn
    try:
        while signals.caught is None:
            turn()
    except (StorageFailed, InvariantBroken) as failure:
        replica = parts.node.replica
        logger.error("vBucket %d, applied index %d: %s", replica.vbucket, replica.applied_index, failure)
        raise
    say(f"[WARN] Caught signal: {signals.caught}. Shutting down...")


def _listen(edge: EdgeServer, settings: Settings, logger: logging.Logger) -> str:
    """What is served and where, as bound: port 0 has become a number."""
    served = f"gRPC on {edge.listen(settings.listen_addr)}"
    try:
        return f"{served}, HTTP on {edge.listen_http(settings.http_listen_addr)}"
    except OSError as busy:
        if settings.http_listen_given:
            raise
        logger.warning("no metrics and health over HTTP: %s", busy)
        return served


def _announce(parts: Parts, settings: Settings, served: str, seconds: float) -> None:
    replica = parts.node.replica
    say(
        f"dkvsrv {__version__} serves {served}; {settings.db_engine} in {parts.folder.path}; "
        f"recovered {replica.change_number} changes in {seconds:.2f} s"
    )
