"""The screen of a command that is stopped while it waits for its terminal."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time

PROGRAM = "from dkv.cli.ctl.screen import Screen\nwith Screen() as screen:\n    screen.draw(['x' * 1_000] * 1_000)"
PIPE_BYTES_MIN = 4_096
WAIT_SECONDS_MAX = 20
FIRST_PAGE, OTHER_PAGE = b"\x1b[?1049l", b"\x1b[?1049h"


def unread(pipe: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0])


def test_screen_stopped_in_the_middle_of_drawing_gives_the_terminal_back_and_goes_on() -> None:
    """Nobody reads what it draws, so it is in the middle of it when Ctrl-Z comes, which writes as well."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        pipe, before, deadline = process.stdout.fileno(), -1, time.monotonic() + WAIT_SECONDS_MAX
        while before < PIPE_BYTES_MIN or unread(pipe) > before:  # until the pipe is full
            assert time.monotonic() < deadline
            before = unread(pipe)
            time.sleep(0.05)
        process.send_signal(signal.SIGTSTP)
        shown = b""
        while FIRST_PAGE not in shown:
            shown += os.read(pipe, 65_536)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        process.send_signal(signal.SIGCONT)
        rest, said = process.communicate(timeout=WAIT_SECONDS_MAX)
    assert (process.returncode, said) == (0, b"")
    assert (shown + rest).count(b"x") == 1_000_000
    assert rest.count(OTHER_PAGE) == rest.count(FIRST_PAGE) == 1
