"""A warning for every unary call that took long: where its time went, and the longest turn of that time.

Method and sizes are told, neither keys nor values: a log is read by more people than the data. Streams last as long as
their readers want, and are never slow.
"""

import logging
from collections.abc import Sequence

from dkv.node.meter import Meter
from dkv.ports.edge import EndedCall
from dkv.wire.methods import METHODS, UNARY

LINES_PER_SECOND_MAX = 20
"""When everything is slow, more lines make it slower."""
_UNARY = frozenset(path for path, mode in METHODS if mode == UNARY)


class SlowCalls:
    """Owns the count of lines of this second."""

    def __init__(self, logger: logging.Logger, threshold_ms: int, meter: Meter) -> None:
        self._logger, self._threshold_s, self._meter = logger, threshold_ms / 1000, meter
        self._second_ends_s = 0.0
        self._lines = self._untold = 0

    def tell(self, calls: Sequence[EndedCall]) -> None:
        """The slow ones among the calls that ended in this turn."""
        slow = [call for call in calls if call[3] + call[4] + call[5] >= self._threshold_s and call[1] in _UNARY]
        if not slow and not self._untold:
            return
        now = self._meter.stopwatch()
        if now >= self._second_ends_s:
            if self._untold:
                self._logger.warning("%d more calls were slow", self._untold)
            self._second_ends_s, self._lines, self._untold = now + 1.0, 0, 0
        room = LINES_PER_SECOND_MAX - self._lines
        for call in slow[:room]:
            self._tell_one(EndedCall(*call), now)
        self._lines += min(len(slow), room)
        self._untold += max(0, len(slow) - room)

    def _tell_one(self, call: EndedCall, now: float) -> None:
        took = call.received_s + call.served_s + call.sent_s
        facts: dict[str, object] = {
            "method": call.method,
            "code": call.code,
            "seconds": round(took, 6),
            "received": round(call.received_s, 6),
            "served": round(call.served_s, 6),
            "sent": round(call.sent_s, 6),
            "request_bytes": call.request_bytes,
            "reply_bytes": call.reply_bytes,
            "peer": call.peer,
        }
        longest = self._meter.longest_turn_since(now - took)
        if longest is not None:
            facts["turn"] = round(longest.seconds, 6)
            facts |= {f"turn_{phase}": round(seconds, 6) for phase, seconds in longest.phases._asdict().items()}
        self._logger.warning("slow call", extra={"facts": facts})
