"""Logs of the server: stderr, ISO-8601 time, lower-case level, as text or as one JSON object a line.

Keys and values are never printed. Whoever reads stderr may go away or stop reading, and its disk may be full: none of
it stops the server.
"""

import json
import logging
import sys
from datetime import UTC, datetime

from dkv.server.line_writer import LineWriter

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {number: name for name, number in LEVELS.items()}
_LAST_WORDS_SECONDS_MAX = 1.0
"""What a stop waits for a reader who does not read."""


def iso_time(unix_s: float) -> str:
    """Milliseconds, UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Formatter(logging.Formatter):
    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """A record may carry `facts`, a mapping of names to numbers and short texts."""
        time, level = iso_time(record.created), _NAMES.get(record.levelno, record.levelname.lower())
        facts: dict[str, object] = getattr(record, "facts", {})
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        if self._as_json:
            line = {"time": time, "level": level, "message": record.getMessage(), **facts}
            return json.dumps({**line, "exception": trace} if trace else line)
        told = "".join(f" {name}={value}" for name, value in facts.items())
        return f"{time} {level} {record.getMessage()}{told}" + (f"\n{trace}" if trace else "")


class _Handler(logging.Handler):
    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.offer(self.format(record).encode(errors="backslashreplace") + b"\n")


class Logs:
    """Owns the logger of the server and its way to stderr."""

    def __init__(self, level: str, log_format: str) -> None:
        """`log_format`: text or json."""
        self._as_json = log_format == "json"
        self._writer = LineWriter(sys.stderr.fileno())
        self._handler = _Handler(self._writer)
        self._handler.setFormatter(_Formatter(self._as_json))
        self.logger: logging.Logger = logging.getLogger("dkv")
        self.logger.handlers[:] = [self._handler]
        self.logger.setLevel(LEVELS[level])
        self.logger.propagate = False

    @property
    def level(self) -> str:
        return _NAMES[self.logger.level]

    def change_level(self, steps: int) -> None:
        """So many steps towards debug, or, below 0, towards error; says what it is now."""
        names = list(LEVELS)
        place = names.index(self.level) - steps
        level = names[min(max(place, 0), len(names) - 1)]
        self.logger.setLevel(LEVELS[level])
        self.say(f"[WARN] log level: {level}", level="warn")

    def say(self, line: str, *, level: str = "info") -> None:
        """What is said whatever is logged otherwise."""
        record = logging.LogRecord(self.logger.name, LEVELS[level], "", 0, line, None, None)
        self._handler.emit(record)

    def refuse(self, line: str) -> None:
        """Why there is no start: in text the bare line, as any command says it to whoever has typed it."""
        if self._as_json:
            self.say(line, level="error")
        else:
            self._writer.offer(line.encode(errors="backslashreplace") + b"\n")

    def close(self) -> None:
        """The last lines leave, if anybody takes them."""
        self._writer.close(_LAST_WORDS_SECONDS_MAX)
