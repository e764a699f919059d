"""Logs of the server: stderr, ISO-8601 time, lower-case level. Values of keys are never printed.

Whoever reads stderr may go away, and its disk may be full: neither stops the server.
"""

import logging
import os
import sys
from datetime import UTC, datetime
from typing import TextIO

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_NAMES = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warn", logging.ERROR: "error"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = _NAMES.get(record.levelno, record.levelname.lower())
        text = f"{time.replace('+00:00', 'Z')} {level} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class _Handler(logging.StreamHandler[TextIO]):
    """Does not mind where its lines cannot go."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        failure = sys.exc_info()[1]
        if isinstance(failure, OSError):
            _lost(failure)
        else:
            super().handleError(record)


def say(line: str) -> None:
    """One line on stderr, as it is."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError as failure:
        _lost(failure)


def _lost(failure: OSError) -> None:
    """A pipe nobody reads never comes back: what is left of the output, now and at the end, goes nowhere."""
    if isinstance(failure, BrokenPipeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


def configure(level: str) -> logging.Logger:
    """The logger of the server, writing to stderr from `level` on."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("dkv")
    logger.handlers[:] = [handler]
    logger.setLevel(LEVELS[level])
    logger.propagate = False
    return logger
