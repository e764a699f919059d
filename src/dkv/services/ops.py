"""HTTP for operators and their tools: /metrics and its kin, /healthz (the process runs), /readyz (the node serves)."""

from collections.abc import Callable, Collection, Sequence
from urllib.parse import urlsplit

from dkv.ports.edge import HttpRequest
from dkv.services.health import HealthService
from dkv.services.metrics import Metrics
from dkv.services.metrics_json import snapshot
from dkv.services.metrics_stream import EVENTS, MetricsStream
from dkv.services.profiles import Profiles
from dkv.services.scrapes import EXPOSITION, Scrapes
from dkv.services.turn import Turn

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
METRICS_PATH = "/metrics"
STREAM_PATH = "/metrics/stream"
PROFILES_PATH = "/debug/pprof"

Page = tuple[int, str, bytes]
"""(status, content type, body)"""


class OpsService:
    """Owns the routes. Never raises for what a caller sent."""

    def __init__(self, health: HealthService, metrics: Metrics) -> None:
        self._health = health
        self._routes: dict[str, Callable[[int], Page]] = {
            METRICS_PATH: lambda _: (200, EXPOSITION, b""),
            "/metrics/json": lambda now_ms: (200, JSON, snapshot(metrics.sources, now_ms) + b"\n"),
            "/healthz": lambda _: (200, TEXT, b"ok\n"),
            "/readyz": lambda _: self._readiness(),
        }
        self.scrapes: Scrapes = Scrapes(metrics.families)
        self.stream: MetricsStream = MetricsStream(lambda now_ms: snapshot(metrics.sources, now_ms))
        self.profiles: Profiles = Profiles()

    def accept_http(self, requests: Sequence[HttpRequest], turn: Turn) -> None:
        """Answers every request in this turn, but for scrapes, streams and profiles: they end in a later one."""
        for call_id, method, target, _ in requests:
            path, query = _split(target)
            if method == "GET" and path == METRICS_PATH:
                self.scrapes.open(call_id)
            elif method == "GET" and path == STREAM_PATH and not self.stream.is_full:
                self.stream.open(call_id, turn)
            elif method == "GET" and (path == PROFILES_PATH or path.startswith(PROFILES_PATH + "/")):
                self.profiles.accept(call_id, path, query, turn)
            else:
                status, content_type, body = self.page(method, path, turn.log_time)
                turn.http.append((call_id, status, content_type, b"" if method == "HEAD" else body, False))

    @property
    def has_work(self) -> bool:
        """The next turn need not wait for news."""
        return self.scrapes.has_work

    def page(self, method: str, path: str, now_ms: int) -> Page:
        """What a GET or HEAD of `path` gets."""
        if method not in ("GET", "HEAD"):
            return 405, TEXT, b"method not allowed\n"
        if path == STREAM_PATH:
            full = 503, TEXT, b"%d streams are open already\n" % self.stream.readers
            return full if self.stream.is_full else (200, EVENTS, b"")
        route = self._routes.get(path)
        return route(now_ms) if route is not None else (404, TEXT, b"not found\n")

    def beat(self, turn: Turn, monotonic_ms: int, is_closing: bool) -> None:
        """Once a turn, before its effects leave."""
        self.scrapes.beat(turn, is_closing)
        self.stream.beat(turn, monotonic_ms, is_closing)
        self.profiles.beat(turn, monotonic_ms, is_closing)

    def forget(self, closed: Collection[int]) -> None:
        """Callers have gone."""
        self.stream.forget(closed)
        self.profiles.forget(closed)

    def _readiness(self) -> Page:
        return (200, TEXT, b"ready\n") if self._health.is_serving else (503, TEXT, b"not ready\n")


def _split(target: str) -> tuple[str, str]:
    """(path, query) of a request target; empty for a strange one."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "", ""
    return parts.path, parts.query
