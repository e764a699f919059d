"""backup and restore of dkvctl: followed where the server tells, asked plainly where it does not."""

import io
import json
import time
from typing import Any

import pytest

from dkv.cli.ctl.progress_bar import ProgressBar, picture
from dkv.cli.ctl.until import Until, parse_until
from dkv.cli.dkvctl import main
from dkv.wire import messages as pb
from dkv.wire import methods

DONE = pb.BackupProgress(phase=pb.BackupPhase.BACKUP_PHASE_DONE, changeNumber=7, historyId=b"\xff" * 16, logTime=9)
COPYING = pb.BackupProgress(phase=pb.BackupPhase.BACKUP_PHASE_COPY, bytesDone=1, bytesTotal=2)


def run(server: Any, *argv: str) -> int:
    return main(argv, lambda options: server.client())


def test_server_that_tells_is_followed(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The same words at the end; nothing on stderr, which is no terminal here."""
    server.replies[methods.TAKE_BACKUP_PATH] = [COPYING, DONE]
    server.replies[methods.RESTORE_BACKUP_PATH] = [DONE]
    assert run(server, "--backup", "/p") == 0
    assert run(server, "restore", "/p") == 0
    assert capfdbinary.readouterr() == (b"Successfully backed up\nSuccessfully restored\n", b"")
    assert [path for path, _ in server.requests] == [methods.TAKE_BACKUP_PATH, methods.RESTORE_BACKUP_PATH]


def test_result_as_a_document_has_the_facts(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """History ids in hexadecimal, as everywhere."""
    server.replies[methods.TAKE_BACKUP_PATH] = [DONE]
    assert run(server, "--json", "backup", "/p") == 0
    assert json.loads(capfdbinary.readouterr().out) == {
        "ok": True, "changeNumber": 7, "historyId": "ff" * 16, "logTime": 9
    }  # fmt: skip


@pytest.mark.parametrize("line", ["--backup /p", "--restore /p"])
def test_failure_that_is_told_is_not_asked_for_again(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str
) -> None:
    """Only a server that does not know the stream is asked plainly."""
    for path in (methods.TAKE_BACKUP_PATH, methods.RESTORE_BACKUP_PATH):
        server.failures[path] = (10, "Another global keyspace mutation is in progress")
    assert run(server, *line.split()) == 1
    assert b"code = Aborted desc = Another global keyspace mutation is in progress\n" in capfdbinary.readouterr().out
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("text", "number", "time_ms"),
    [("12", 12, 0), ("2026-01-31T15:00Z", 0, 1_769_871_600_000), ("2026-01-31T15:00:00.5+01:00", 0, 1_769_868_000_500)],
)
def test_restore_until_a_point_sends_it(server: Any, text: str, number: int, time_ms: int) -> None:
    """A change number, or a time with its zone."""
    server.replies[methods.RESTORE_BACKUP_PATH] = [DONE]
    assert run(server, "--restore", "/p", "--until", text) == 0
    request = pb.RestoreBackupRequest.FromString(server.requests[0][1])
    assert (request.path, request.untilChangeNumber, request.untilTime) == ("/p", number, time_ms)


def test_restore_until_a_point_is_never_asked_for_plainly(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A server that cannot do it would restore something else."""
    assert run(server, "--restore", "/p", "--until", "5") == 1
    assert b"code = Unimplemented" in capfdbinary.readouterr().out
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "text", ["0", "-1", "", "yesterday", "9" * 19, "1969-01-01", "2026-13-01", "0001-01-01T00:00Z"]
)
def test_restore_until_nothing_that_can_be_understood_is_a_usage_error(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], text: str
) -> None:
    """Nothing is sent."""
    assert run(server, "--restore", "/p", f"--until={text}") == 2
    assert b"invalid point in time" in capfdbinary.readouterr().err
    assert server.requests == []


def test_point_without_a_zone_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a person reads it off a clock on the wall."""
    monkeypatch.setenv("TZ", "XYZ-2")
    time.tzset()
    assert parse_until("2026-01-31T15:00") == parse_until("2026-01-31T13:00Z") != Until()
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("progress", "columns", "line"),
    [
        (("copying", 52 << 20, 130 << 20, 31 << 20), 79,
         "copying    [##########-----------------]  40%  52.0 MiB of 130 MiB, 31.0 MiB/s"),
        (("loading", 1 << 30, 1 << 30, 0.0), 60, "loading    [#####################] 100%  1.0 GiB of 1.0 GiB"),
        (("loading", 5, 1, 0.0), 60, "loading    [#############################] 100%  5 B of 1 B"),
        (("copying", 52 << 20, 130 << 20, 0.0), 40, "copying    40%  52.0 MiB of 130 MiB"),
        (("copying", 52 << 20, 130 << 20, 0.0), 12, "copying    4"),
        (("replaying", 3 << 20, 0, 1 << 20), 79, "replaying  3.0 MiB, 1.0 MiB/s"),
        (("preparing", 0, 0, 0.0), 79, "preparing"),
    ],
)  # fmt: skip
def test_picture_fits_its_columns(progress: tuple[str, int, int, float], columns: int, line: str) -> None:
    """A bar where there is room, words where there is not."""
    drawn = picture(*progress, columns)
    assert len(drawn) <= columns
    assert drawn == line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_is_drawn_only_after_two_seconds_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short work leaves no trace; long work neither, at its end."""
    monkeypatch.setenv("TERM", "xterm")
    clock, terminal = [0.0], Terminal()
    bar = ProgressBar(terminal, now=lambda: clock[0])
    bar.show("copying", 1 << 20, 4 << 20)
    clock[0] = 1.9
    bar.show("copying", 2 << 20, 4 << 20)
    bar.wipe()
    assert terminal.getvalue() == ""
    clock[0] = 2.0
    bar.show("copying", 2 << 20, 4 << 20)
    bar.wipe()
    bar.wipe()
    drawn, rest = terminal.getvalue().split("\x1b[K", 1)
    assert drawn.startswith("\rcopying    [")
    assert drawn.endswith(" 50%  2.0 MiB of 4.0 MiB, 1.0 MiB/s")
    assert rest == "\r\x1b[K"


@pytest.mark.parametrize(("stream", "term"), [(io.StringIO(), "xterm"), (Terminal(), "dumb")])
def test_bar_is_not_drawn_where_nobody_can_see_it(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str
) -> None:
    """A file, or a terminal that cannot be drawn over."""
    monkeypatch.setenv("TERM", term)
    clock = [0.0]
    bar = ProgressBar(stream, now=lambda: clock[0])
    clock[0] = 5.0
    bar.show("copying", 1, 2)
    bar.wipe()
    assert stream.getvalue() == ""
