"""dkvsrv, put together: folder, log, engine, replica, services, edge, then turns until a signal.

The order is the safety: the folder is locked before anything in it is read, the log is synced and checked before Raft
sees it, the first entry of the own term is applied before the port opens.
"""

import logging
import time

from dkv import __version__
from dkv.model.errors import (
    ClusterRefused,
    Corrupt,
    DkvError,
    FolderRefused,
    InvalidRequest,
    InvariantBroken,
    StorageFailed,
)
from dkv.node.life import drain, recover
from dkv.ports.clock import Clock
from dkv.server.addresses import listen_addresses, reachable
from dkv.server.clock import SystemClock, SystemRandom
from dkv.server.conditions import disbelieved, named
from dkv.server.first_restore import begin_with_backup
from dkv.server.forming import Forming, Stopped
from dkv.server.garbage import collect_rarely
from dkv.server.logs import Logs
from dkv.server.notify import READY, STOPPING, Notifier
from dkv.server.parts import Parts, assemble
from dkv.server.reports import Reports
from dkv.server.sampler import SignalSampler
from dkv.server.signals import Signals
from dkv.settings import Settings

EXIT_OK, EXIT_FAILED = 0, 1
SYSTEM_CLOCK = SystemClock()


def run(settings: Settings, warnings: list[str], clock: Clock = SYSTEM_CLOCK) -> int:
    """Serve until a signal. Returns the exit status; every failure is one clear line on stderr. `clock`: what the node
    takes for the time."""
    logs = Logs(settings.log_level, settings.log_format)
    for warning in warnings:
        logs.logger.warning("%s", warning)
    try:
        return _serve(settings, logs, clock)
    except (FolderRefused, ClusterRefused, Corrupt, InvalidRequest) as refused:
        logs.refuse(f"dkvsrv: {refused}")
    except DkvError as failure:
        logs.logger.error("the server ends: %s", failure)
    except OSError as failure:
        where = f": {failure.filename}" if failure.filename else ""
        logs.refuse(f"dkvsrv: {failure.strerror or failure}{where}")
    finally:
        logs.close()
    return EXIT_FAILED


def _serve(settings: Settings, logs: Logs, clock: Clock) -> int:
    signals, notifier, logger = Signals(), Notifier(), logs.logger
    started = time.monotonic()
    try:
        parts = assemble(settings, Forming(signals, clock, SystemRandom(), logs.say, notifier))
    except Stopped:
        logs.say(f"[WARN] Caught signal: {signals.caught}. Shutting down...", level="warn")
        return EXIT_OK
    for warning in parts.warnings:
        logger.warning("%s", warning)
    try:
        if parts.node.peering is None:
            recover(parts.node)
        _check_clock(parts, settings, logger)
        if settings.restore_from and parts.node.peering is not None:
            raise InvalidRequest("--restore-from is for a server on its own; restore a cluster with dkvctl --restore")
        if settings.restore_from:
            begin_with_backup(parts, settings.restore_from, signals, notifier)
        if settings.pprof:
            parts.services.ops.profiles.sampler = SignalSampler()
        reports = Reports(parts.node, parts.edge, settings, logger)
        try:
            served = _listen(parts, settings, logger)
            logs.say(_announcement(parts, settings, served, time.monotonic() - started))
            notifier.tell(READY)
            collect_rarely()
            _turn_until_signal(parts, reports, signals, logs)
            notifier.tell(STOPPING)
            parts.services.shutting_down()
            if not drain(parts.node, settings.drain_timeout_ms):
                logger.warning("some calls did not end within the drain timeout and were dropped")
            parts.edge.close()
        finally:
            reports.close()
        parts.node.close()
        return EXIT_OK
    finally:
        parts.close()


def _check_clock(parts: Parts, settings: Settings, logger: logging.Logger) -> None:
    """A clock far ahead of the last write may be wrong, and would expire keys for good (INVARIANTS 7)."""
    now = parts.node.clock.now()
    if settings.confirm_clock:
        for hosted in parts.node.vbuckets.values():
            hosted.replica.clock.believe(now)  # of a cluster's, each counts where it leads
    vbuckets = parts.node.vbuckets
    if not (where := disbelieved(parts.node)):
        return
    logger.warning(
        "the clock is %d s ahead of the last write%s: no key expires until you confirm it. Check the time, then start "
        "with --confirm-clock",
        max(vbuckets[vbucket].replica.clock.behind_ms(now) for vbucket in where) // 1000,
        named(where, len(vbuckets)),
    )


def _turn_until_signal(parts: Parts, reports: Reports, signals: Signals, logs: Logs) -> None:
    turn, after_turn = parts.node.turn, reports.after_turn
    try:
        while signals.caught is None:
            turn()
            after_turn()
            if signals.has_wishes:
                _grant(signals, reports, logs)
    except (StorageFailed, InvariantBroken) as failure:
        replica = parts.node.sole.replica
        logs.logger.error("vBucket %d, applied index %d: %s", replica.vbucket, replica.applied_index, failure)
        raise
    logs.say(f"[WARN] Caught signal: {signals.caught}. Shutting down...", level="warn")


def _grant(signals: Signals, reports: Reports, logs: Logs) -> None:
    """What was asked by signals that do not stop the server."""
    if steps := signals.take_level_steps():
        logs.change_level(steps)
    if signals.take_reopen():
        reports.reopen()


def _listen(parts: Parts, settings: Settings, logger: logging.Logger) -> str:
    """What is served and where, as bound: port 0 has become a number."""
    grpc_address, *_ = [parts.edge.listen(address) for address in listen_addresses(settings)]
    http_address = ""
    try:
        http_address = parts.edge.listen_http(settings.http_listen_addr)
    except OSError as busy:
        if settings.http_listen_given:
            raise
        logger.warning("no metrics and health over HTTP: %s", busy.strerror)
    parts.services.reached_at(settings.advertise_addr or reachable(grpc_address), reachable(http_address))
    return f"gRPC on {grpc_address}" + (f", HTTP on {http_address}" if http_address else "")


def _announcement(parts: Parts, settings: Settings, served: str, seconds: float) -> str:
    changes = sum(hosted.replica.change_number for hosted in parts.node.vbuckets.values())
    return (
        f"dkvsrv {__version__} serves {served}; {settings.db_engine} in {parts.folder.path}; "
        f"recovered {changes} changes in {seconds:.2f} s"
    )
