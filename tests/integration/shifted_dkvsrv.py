"""dkvsrv with another wall clock: `shifted_dkvsrv.py FILE flags...`. The file has the seconds that it is ahead, and is
read at every look at the clock, so that it can be set while the server runs.

A script of its own and no test: the clock is a parameter of the server, and here is another one than the machine's.
"""

import os
import sys
from pathlib import Path

from dkv.ports.clock import Now
from dkv.server.clock import SystemClock
from dkv.server.main import run
from dkv.settings import load, parse_argv


class ShiftedClock:
    """The machine's, and so many seconds ahead."""

    def __init__(self, file: Path) -> None:
        self._file, self._machine = file, SystemClock()

    def now(self) -> Now:
        now = self._machine.now()
        return now._replace(wall_ms=now.wall_ms + 1_000 * int(self._file.read_text()))


if __name__ == "__main__":
    loaded = load(parse_argv(sys.argv[2:]), os.environ)
    sys.exit(run(loaded.settings, loaded.warnings, ShiftedClock(Path(sys.argv[1]))))
