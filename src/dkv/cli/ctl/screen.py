"""The terminal while one command has all of it: drawn over and over, given back as it was however the command ends.

Keys come one by one, without Enter and without an echo; Ctrl-C, Ctrl-Z and the end of the connection do as ever.
"""

import os
import select
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any, Self

_TAKE = "\x1b[?1049h\x1b[?25l"
"""The other page of the terminal, and no cursor."""
_GIVE_BACK = "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_PAGE = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """Owns the modes of the terminal between enter and exit."""

    def __init__(self) -> None:
        self._modes: list[Any] | None = None
        self._handlers: dict[int, Any] = {}

    @staticmethod
    def is_there() -> bool:
        """Whether stdout is a terminal that can be drawn on."""
        return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and hasattr(signal, "SIGTSTP")

    @staticmethod
    def size() -> tuple[int, int]:
        """(columns, lines), now: people resize their windows."""
        return os.get_terminal_size(sys.stdout.fileno())

    def draw(self, lines: list[str]) -> None:
        """Replaces all that is shown."""
        body = f"{_REST_OF_LINE}\r\n".join(lines)
        self._write(f"{_HOME}{body}{_REST_OF_LINE}{_REST_OF_PAGE}")

    def wait(self, seconds: float) -> str:
        """The key that was pressed in that time, or nothing."""
        if self._modes is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        return os.read(sys.stdin.fileno(), 1).decode("ascii", "replace") if ready else ""

    def __enter__(self) -> Self:
        sys.stdout.flush()
        for number, handler in ((signal.SIGTERM, _end), (signal.SIGHUP, _end), (signal.SIGTSTP, self._suspend)):
            self._handlers[number] = signal.signal(number, handler)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _take(self) -> None:
        if sys.stdin.isatty():
            import termios  # Not on Windows, where there is no screen.
            import tty

            self._modes = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        self._write(_TAKE)

    def _give_back(self) -> None:
        self._write(_GIVE_BACK)
        if self._modes is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSANOW, self._modes)  # a terminal that stands still may never drain
            self._modes = None

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets a terminal that works, and so do we when it lets us go on."""
        self._give_back()
        signal.raise_signal(signal.SIGSTOP)
        self._take()

    @staticmethod
    def _write(text: str) -> None:
        """Past `sys.stdout`, which refuses who interrupts it while it waits for a slow terminal: Ctrl-Z writes, too."""
        left = memoryview(text.encode())
        while left:
            left = left[os.write(sys.stdout.fileno(), left) :]


def _end(number: int, _frame: FrameType | None) -> None:
    """Leaves through every `finally` on the way."""
    raise SystemExit(128 + number)
