"""grpc.health.v1.Health: Check answers now; Watch at once, on every change, and every 10 seconds.

`service` is ignored, as the original does: the node answers for all it serves. Time comes with `beat`, once a turn.
"""

from collections.abc import Iterable, Sequence

from dkv.model.errors import Overloaded
from dkv.services.calls import Accept, fail, parse_each
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

BEAT_INTERVAL_MS = 10_000
WATCHERS_MAX = 1_000
"""Every list has a limit; a watcher costs an open stream."""

SERVING = wire.HealthCheckResponse(status=wire.HealthCheckResponse.SERVING).SerializeToString()
NOT_SERVING = wire.HealthCheckResponse(status=wire.HealthCheckResponse.NOT_SERVING).SerializeToString()


class HealthService:
    """Owns whether the node serves, and the open watches."""

    def __init__(self) -> None:
        self.is_serving: bool = True
        self.is_shutting_down: bool = False
        self._watchers: set[int] = set()
        self._told = SERVING
        self._beat_ms: int | None = None
        self.accepts: dict[int, Accept] = {methods.HEALTH_CHECK: self.check, methods.HEALTH_WATCH: self.watch}
        """By method number."""

    @property
    def watchers(self) -> int:
        """How many watches are open."""
        return len(self._watchers)

    def check(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """HealthCheckRequest, unary."""
        ids, _ = parse_each(wire.HealthCheckRequest.FromString, call_ids, messages, turn)
        turn.reply_ids += ids
        turn.replies += [self._status()] * len(ids)

    def watch(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """HealthCheckRequest, streaming."""
        ids, _ = parse_each(wire.HealthCheckRequest.FromString, call_ids, messages, turn)
        for call_id in ids:
            if len(self._watchers) >= WATCHERS_MAX:
                fail(turn, call_id, Overloaded(f"{WATCHERS_MAX} health watches are open already", 1_000))
                continue
            turn.items.append((call_id, [self._status()]))
            self._watchers.add(call_id)

    def beat(self, turn: Turn, monotonic_ms: int, is_serving: bool) -> None:
        """Once a turn, after its calls: note whether the node serves, and tell the watchers what they are due."""
        self.is_serving = is_serving and not self.is_shutting_down
        status = self._status()
        if self._beat_ms is None:
            self._beat_ms = monotonic_ms
        if status != self._told or monotonic_ms - self._beat_ms >= BEAT_INTERVAL_MS:
            self._told, self._beat_ms = status, monotonic_ms
            turn.items += [(call_id, [status]) for call_id in sorted(self._watchers)]
        if self.is_shutting_down:
            turn.finished += [(call_id, 0, "", b"", -1) for call_id in sorted(self._watchers)]
            self._watchers.clear()

    def forget(self, closed: Iterable[int]) -> None:
        """The callers have gone."""
        self._watchers.difference_update(closed)

    def shutting_down(self) -> None:
        """From now on the node does not serve; the next beat tells every watcher and ends its stream."""
        self.is_shutting_down = True
        self.is_serving = False

    def _status(self) -> bytes:
        return SERVING if self.is_serving else NOT_SERVING
