"""One line for every gRPC call that has ended, also for those that were refused before any turn.

Method, code, time and sizes: no key and no value. Lines are made and handed over once a turn.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from dkv.ports.edge import EndedCall
from dkv.server.line_writer import LineWriter, open_lines

STANDARD = {"stdout": 1, "stderr": 2}
_LAST_LINES_SECONDS_MAX = 1.0
_TEXT = "%s.%03dZ peer=%s method=%s code=%d seconds=%.6f request_bytes=%d reply_bytes=%d\n"
_JSON = '{"time":"%s.%03dZ","peer":"%s","method":"%s","code":%d,"seconds":%.6f,"request_bytes":%d,"reply_bytes":%d}\n'
"""Peers and method paths come from the edge, and need no escapes."""


class AccessLog:
    """Owns the writer of the file."""

    def __init__(self, target: str, log_format: str) -> None:
        """`target`: stdout, stderr or a path. Raises OSError when the file cannot be opened."""
        descriptor = STANDARD.get(target)
        self._writer = open_lines(target) if descriptor is None else LineWriter(descriptor)
        self._form = _JSON if log_format == "json" else _TEXT
        self._second, self._date = -1, ""

    def write(self, calls: Sequence[EndedCall], lost: int) -> None:
        """The calls of a turn. `lost`: so many more ended than the edge had room for."""
        lines = "".join([self._line(*call) for call in calls])
        if lost:
            lines += f"({lost} calls were lost)\n"
        if lines:
            self._writer.offer(lines.encode())

    def reopen(self) -> None:
        """Raises OSError; then the old file goes on."""
        self._writer.reopen()

    def close(self) -> None:
        self._writer.close(_LAST_LINES_SECONDS_MAX)

    def _line(
        self,
        unix_ms: int,
        method: str,
        code: int,
        received_s: float,
        served_s: float,
        sent_s: float,
        request_bytes: int,
        reply_bytes: int,
        peer: str,
    ) -> str:
        second, ms = divmod(unix_ms, 1000)
        if second != self._second:
            self._second, self._date = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        took = received_s + served_s + sent_s
        return self._form % (self._date, ms, peer, method, code, took, request_bytes, reply_bytes)
