"""HTTP for operators and their tools: /metrics, /healthz (the process runs), /readyz (the node serves)."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from dkv.ports.edge import HttpRequest
from dkv.services.health import HealthService
from dkv.services.metrics import Metrics
from dkv.services.turn import Turn

TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

Page = tuple[int, str, bytes]
"""(status, content type, body)"""


class OpsService:
    """Owns the routes. Never raises for what a caller sent."""

    def __init__(self, health: HealthService, metrics: Metrics) -> None:
        self._health, self._metrics = health, metrics
        self._routes: dict[str, Callable[[], Page]] = {
            "/metrics": lambda: (200, EXPOSITION, self._metrics.exposition()),
            "/healthz": lambda: (200, TEXT, b"ok\n"),
            "/readyz": self._readiness,
        }

    def accept_http(self, requests: Sequence[HttpRequest], turn: Turn) -> None:
        """Answers every request in this turn."""
        for call_id, method, target, _ in requests:
            status, content_type, body = self.page(method, target)
            turn.http.append((call_id, status, content_type, b"" if method == "HEAD" else body))

    def page(self, method: str, target: str) -> Page:
        """What a GET or HEAD of `target` (a path, maybe with a query) gets."""
        if method not in ("GET", "HEAD"):
            return 405, TEXT, b"method not allowed\n"
        route = self._routes.get(_path(target))
        return route() if route is not None else (404, TEXT, b"not found\n")

    def _readiness(self) -> Page:
        return (200, TEXT, b"ready\n") if self._health.is_serving else (503, TEXT, b"not ready\n")


def _path(target: str) -> str:
    try:
        return urlsplit(target).path
    except ValueError:
        return ""
