"""dkvctl at a terminal, against a real server: top draws and gives the terminal back, the shell edits and remembers."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS_MAX = 20
OTHER_PAGE, FIRST_PAGE = b"\x1b[?1049h", b"\x1b[?1049l"
TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, signal.SIG_DFL); "  # ignored in what a script runs in the background
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """A terminal of 80 by 24 with one command in it."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        self.modes = termios.tcgetattr(self.slave)
        self.shown = b""
        command = [sys.executable, "-m", "dkv.cli.dkvctl", *words]
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm", **environment},
        )  # fmt: skip

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: bytes, count: int = 1) -> None:
        """Until so much of it has been shown."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.shown.count(text) < count:
            ready, _, _ = select.select([self.master], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown: {self.shown.decode(errors='replace')}"
            self.shown += os.read(self.master, 65_536)

    def end(self) -> int:
        """The exit code; the command leaves by itself."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            assert time.monotonic() < deadline, f"it goes on: {self.shown.decode(errors='replace')}"
            if select.select([self.master], [], [], 0.01)[0]:
                self.shown += os.read(self.master, 65_536)
        return self.process.returncode

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.modes

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(server: Any) -> Iterator[Callable[..., Terminal]]:
    """Commands in terminals of their own, connected to the server."""
    made: list[Terminal] = []

    def make(*words: str, **environment: str) -> Terminal:
        made.append(Terminal("-a", server.address, *words, **environment))
        return made[-1]

    yield make
    for each in made:
        each.close()


def leave_by_key(top: Terminal) -> None:
    top.type(b"q")


def leave_by_interrupt(top: Terminal) -> None:
    top.type(b"\x03")


def leave_by_signal(top: Terminal) -> None:
    top.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("leave", "code"), [(leave_by_key, 0), (leave_by_interrupt, 0), (leave_by_signal, 128 + signal.SIGTERM)]
)
def test_top_draws_and_gives_the_terminal_back(
    terminal: Callable[..., Terminal], leave: Callable[[Terminal], None], code: int
) -> None:
    """The other page while it runs, the first one and the old modes afterwards, however it was left."""
    top = terminal("top")
    top.wait_for(b"SERVING", count=2)
    assert not top.is_as_before()
    leave(top)
    assert top.end() == code
    assert top.is_as_before()
    assert top.shown.count(OTHER_PAGE) == top.shown.count(FIRST_PAGE) == 1
    assert top.shown.index(OTHER_PAGE) < top.shown.index(b"METHOD") < top.shown.index(FIRST_PAGE)
    assert b"Traceback" not in top.shown


def test_top_stopped_and_continued_draws_again(terminal: Callable[..., Terminal]) -> None:
    """Ctrl-Z leaves a terminal that a shell can use."""
    top = terminal("top")
    top.wait_for(b"SERVING")
    top.type(b"\x1a")
    top.wait_for(FIRST_PAGE)
    os.waitid(os.P_PID, top.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert top.is_as_before()
    top.process.send_signal(signal.SIGCONT)
    top.wait_for(OTHER_PAGE, count=2)
    top.wait_for(b"SERVING", count=2)
    top.type(b"q")
    assert top.end() == 0
    assert top.is_as_before()


def test_shell_completes_runs_and_remembers(terminal: Callable[..., Terminal], client: Any, tmp_path: Path) -> None:
    """Tab finds the key on the server; the line with a value is not in the history, which its owner alone can read."""
    client("Put", key=b"terminal-key", value=b"its value")
    shell = terminal("shell", XDG_STATE_HOME=str(tmp_path))
    shell.wait_for(b"dkv> ")
    shell.type(b"ge\tterminal-\t\n")
    shell.wait_for(b"dkv> ", count=2)
    assert b"its value" in shell.shown
    shell.type(b"set terminal-2 secret\n")
    shell.wait_for(b"dkv> ", count=3)
    shell.type(b"\x04")
    assert shell.end() == 0
    kept = tmp_path / "dkv" / "shell_history"
    assert kept.read_text() == "get terminal-key\n"
    assert kept.stat().st_mode & 0o777 == 0o600
    again = terminal("shell", XDG_STATE_HOME=str(tmp_path))
    again.wait_for(b"dkv> ")
    again.type(b"\x1b[A\n")
    again.wait_for(b"its value")
    again.type(b"exit\n")
    assert again.end() == 0


def test_shell_takes_bytes_that_are_not_text(terminal: Callable[..., Terminal], client: Any, tmp_path: Path) -> None:
    """Even where Python would refuse them."""
    client("Put", key=b"\xff", value=b"of a strange key")
    shell = terminal("shell", XDG_STATE_HOME=str(tmp_path), PYTHONIOENCODING="utf-8:strict", LC_ALL="C")
    shell.wait_for(b"dkv> ")
    shell.type(b"get \xff\n")
    shell.wait_for(b"of a strange key")
    shell.type(b"exit\n")
    assert shell.end() == 0


def test_shell_whose_history_cannot_be_kept_says_so(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    """And has worked all the same."""
    (tmp_path / "dkv").write_text("a file where the folder belongs")
    shell = terminal("shell", XDG_STATE_HOME=str(tmp_path))
    shell.wait_for(b"dkv> ")
    shell.type(b"health\n")
    shell.wait_for(b"SERVING")
    shell.type(b"exit\n")
    assert shell.end() == 0
    assert b"The history of the shell is not kept: " in shell.shown


def test_stats_of_a_real_server_have_their_numbers(server: Any, client: Any) -> None:
    """What the parts of a node are asked for is what they tell: none of it is a default."""
    client("Put", key=b"stats-key", value=b"v")
    done = subprocess.run(
        [sys.executable, "-m", "dkv.cli.dkvctl", "-a", server.address, "stats", "--json"],
        capture_output=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["address"], found["folder"], found["isServing"]) == (server.address, str(server.folder), True)
    assert found["vBuckets"][0]["raftRole"] == "LEADER"
    for part, names in {
        "storage": "rowsEstimate memtableBytes freeBytes freeBytesMin",
        "log": "appends appendBytes syncs syncSecondsTotal syncSecondsMax diskBytes",
        "edge": "connections methods latencyBoundsSeconds",
        "turns": "turns calls secondsTotal",
    }.items():
        assert [name for name in names.split() if not found[part][name]] == []
    assert found["storage"]["engine"] == "rocksdb"
