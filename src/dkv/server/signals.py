"""What the operator asks by signals, remembered until the server's loop looks.

| signal | asks |
|---|---|
| SIGINT, SIGTERM, SIGQUIT | to stop; the second one ends the process at once |
| SIGHUP | to open the access log anew, after it was renamed |
| SIGUSR1, SIGUSR2 | to log one level more, one level less |
"""

import os
import signal
from types import FrameType

EXIT_AT_ONCE = 1


class Signals:
    """Owns the handlers. They only remember: whatever they interrupt is left as it was."""

    def __init__(self) -> None:
        self.caught: str | None = None
        """The first signal to stop."""
        self._level_steps = 0
        self._wants_reopen = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
            signal.signal(number, self._stop)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, self._note)

    @property
    def has_wishes(self) -> bool:
        """Something below is to be taken."""
        return self._wants_reopen or self._level_steps != 0

    def take_level_steps(self) -> int:
        """Steps towards debug (above 0) or error since the last call."""
        steps, self._level_steps = self._level_steps, 0
        return steps

    def take_reopen(self) -> bool:
        """Whether files are to be opened anew."""
        wanted, self._wants_reopen = self._wants_reopen, False
        return wanted

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self.caught is not None:
            os._exit(EXIT_AT_ONCE)
        self.caught = {signal.SIGINT: "interrupt", signal.SIGQUIT: "quit"}.get(signal.Signals(number), "terminated")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._wants_reopen = True
        else:
            self._level_steps += 1 if number == signal.SIGUSR1 else -1
