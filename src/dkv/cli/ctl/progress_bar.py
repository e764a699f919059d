"""One line on stderr that says how far long work is: on a terminal, when it takes longer than two seconds.

The line is drawn over and wiped away at the end, so what was asked for stands alone in the terminal.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from dkv.cli.ctl.units import bytes_text

QUIET_S = 2.0
_BAR_COLUMNS_MAX = 40
_START_OF_LINE, _REST_OF_LINE = "\r", "\x1b[K"


def picture(
    doing: str, done: int, total: int, per_second: float, columns: int, text: Callable[[float], str] = bytes_text
) -> str:
    """Such as `copying    [########------------]  40 %  52.0 MiB of 130 MiB, 31.0 MiB/s`; without a total no bar.
    `text` says how amounts are written."""
    amount = f"{text(done)} of {text(total)}" if total else text(done)
    rate = f", {text(per_second)}/s" if per_second else ""
    head, tail = f"{doing:<10} ", f"{amount}{rate}"
    if not total:
        return f"{head}{tail if done else ''}".rstrip()[:columns]
    share = min(done / total, 1.0)
    tail = f" {share:4.0%}  {tail}"
    width = min(_BAR_COLUMNS_MAX, columns - len(head) - len(tail) - 3)
    if width < 5:
        return f"{head}{tail.strip()}"[:columns]
    filled = int(share * width)
    return f"{head}[{'#' * filled}{'-' * (width - filled)}]{tail}"


class ProgressBar:
    """Owns the last line of the terminal until it is wiped."""

    def __init__(
        self,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
        amount: Callable[[float], str] = bytes_text,
    ) -> None:
        self._stream, self._now, self._amount = stream or sys.stderr, now, amount
        self._begun = now()
        self._is_wanted = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._is_drawn = False
        self._doing = ""
        self._since = self._begun

    def show(self, doing: str, done: int, total: int) -> None:
        """How far it is now."""
        now = self._now()
        if doing != self._doing:
            self._doing, self._since = doing, now
        if not self._is_wanted or now - self._begun < QUIET_S:
            return
        seconds = now - self._since
        line = picture(doing, done, total, done / seconds if seconds else 0.0, self._columns() - 1, self._amount)
        self._stream.write(f"{_START_OF_LINE}{line}{_REST_OF_LINE}")
        self._stream.flush()
        self._is_drawn = True

    def wipe(self) -> None:
        """The work is over, however it ended."""
        if self._is_drawn:
            self._stream.write(f"{_START_OF_LINE}{_REST_OF_LINE}")
            self._stream.flush()
            self._is_drawn = False

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80
