"""What a server tells about itself after each turn: access log, slow calls, StatsD, conditions, long turns.

None of it can stop the server or holds up a turn: files and sockets are written natively or not at all. What nobody
asked for costs a comparison a turn.
"""

import logging
from collections.abc import Callable

from dkv.edge import EdgeServer
from dkv.node.node import Node
from dkv.ports.edge import EndedCall
from dkv.server.access_log import AccessLog
from dkv.server.conditions import Conditions
from dkv.server.slow_calls import SlowCalls
from dkv.server.statsd import StatsdSender
from dkv.services.statsd import StatsdReport
from dkv.settings import Settings

INTERVAL_S = 1.0
LONG_TURN_SECONDS = 0.01
"""At level debug longer ones are told."""


class Reports:
    """Owns what is told to whom. The server's loop calls it; `close` lets go of files and sockets."""

    def __init__(self, node: Node, edge: EdgeServer, settings: Settings, logger: logging.Logger) -> None:
        """Raises OSError when the access log cannot be opened, or the StatsD server has no address."""
        self._node, self._edge, self._logger = node, edge, logger
        self._stopwatch: Callable[[], float] = node.meter.stopwatch
        self._due_s = self._looked_s = self._stopwatch()
        self._conditions = Conditions(node, logger)
        self._statsd = self._statsd_of(settings) if settings.statsd_addr else None
        self._slow = SlowCalls(logger, settings.slow_request_ms, node.meter) if settings.slow_request_ms else None
        self._access = AccessLog(settings.access_log, settings.log_format) if settings.access_log else None
        self._keeps_calls = self._access is not None or self._slow is not None
        if self._keeps_calls:
            edge.keep_ended_calls(0 if self._access is not None else 1000 * settings.slow_request_ms)

    def after_turn(self) -> None:
        """Once a turn, after its effects have left."""
        if self._keeps_calls:
            self._tell_calls()
        if (now := self._stopwatch()) >= self._due_s:
            self._due_s = now + INTERVAL_S
            self._conditions.look()
            if self._statsd is not None:
                self._statsd.send()
            if self._logger.isEnabledFor(logging.DEBUG):
                self._tell_long_turns()
            self._looked_s = now

    def reopen(self) -> None:
        """The access log was renamed: go on in a new file, or, if that fails, in the old one."""
        if self._access is None:
            return
        try:
            self._access.reopen()
        except OSError as failure:
            self._logger.warning("the access log goes on in its old file: %s", failure)

    def close(self) -> None:
        """Tell what ended last, then let go. The node takes no turn any more."""
        if self._keeps_calls:
            self._tell_calls()
        if self._access is not None:
            self._access.close()
        if self._statsd is not None:
            self._statsd.close()

    def _tell_calls(self) -> None:
        calls: list[EndedCall]
        calls, lost = self._edge.take_ended_calls()  # type: ignore[assignment]  # plain tuples of the same shape
        if self._access is not None:
            self._access.write(calls, lost)
        if self._slow is not None:
            self._slow.tell(calls)

    def _tell_long_turns(self) -> None:
        for turn in self._node.meter.long_turns:
            if turn.ended_s > self._looked_s and turn.seconds >= LONG_TURN_SECONDS:
                facts = {phase: round(seconds, 6) for phase, seconds in turn.phases._asdict().items()}
                self._logger.debug("long turn", extra={"facts": {"seconds": round(turn.seconds, 6), **facts}})

    def _statsd_of(self, settings: Settings) -> StatsdSender:
        tags = (f"database:{settings.database}", f"vbucket:{settings.vbucket}", f"node:{settings.node_name}")
        named = [tag for tag in tags if not tag.endswith(":")]
        return StatsdSender(settings.statsd_addr, StatsdReport(self._node.services.metrics.sources, named))
