"""Lines on their way to files and pipes that may not take them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dkv.server import line_writer
from dkv.server.line_writer import LineWriter, open_lines

PATIENCE_S = 20


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            continue


def test_lines_are_written_in_order(tmp_path: Path) -> None:
    """Whatever is offered before the end is written at the end."""
    writer = open_lines(str(tmp_path / "log"))
    for number in range(1000):
        writer.offer(b"%d\n" % number)
    writer.close(PATIENCE_S)
    writer.close(PATIENCE_S)
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % number for number in range(1000))


def test_file_that_exists_is_continued(tmp_path: Path) -> None:
    """A restart does not forget."""
    (tmp_path / "log").write_bytes(b"old\n")
    writer = open_lines(str(tmp_path / "log"))
    writer.offer(b"new\n")
    writer.close(PATIENCE_S)
    assert (tmp_path / "log").read_bytes() == b"old\nnew\n"


def test_pipe_without_a_reader_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    """A start that waits for somebody to read its log would look like a start that hangs."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="No such device"):
        open_lines(str(tmp_path / "pipe"))


def test_reopen_after_a_rename_goes_on_in_a_new_file(tmp_path: Path) -> None:
    """Rotation: rename, then reopen. No line is lost, and none is in both."""
    path = tmp_path / "log"
    writer = open_lines(str(path))
    writer.offer(b"1\n")
    assert writer.flush(PATIENCE_S)
    path.rename(tmp_path / "log.1")
    writer.offer(b"2\n")
    assert writer.flush(PATIENCE_S)
    writer.reopen()
    writer.offer(b"3\n")
    writer.close(PATIENCE_S)
    assert (tmp_path / "log.1").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


def test_reopen_that_fails_goes_on_in_the_old_file(tmp_path: Path) -> None:
    """The folder may have gone: the error is the caller's, the lines are not lost."""
    (tmp_path / "logs").mkdir()
    writer = open_lines(str(tmp_path / "logs" / "log"))
    (tmp_path / "logs").rename(tmp_path / "moved")
    with pytest.raises(OSError, match="No such file"):
        writer.reopen()
    writer.offer(b"kept\n")
    writer.close(PATIENCE_S)
    assert (tmp_path / "moved" / "log").read_bytes() == b"kept\n"


def test_reader_who_does_not_read_costs_bounded_memory_and_no_time(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offers return; what does not fit is counted and told once the reader reads again."""
    monkeypatch.setattr(line_writer, "WAITING_BYTES_MAX", 200_000)
    reading, writing = pipe
    writer = LineWriter(writing)
    line = b"x" * 999 + b"\n"
    for _ in range(2_000):
        writer.offer(line)
    assert not writer.flush(0.01)
    received = b""
    while b"lines were lost" not in received:
        received += os.read(reading, 1 << 20)
        writer.offer(line)
    writer.close(0)


def test_reader_who_left_is_not_missed(pipe: tuple[int, int]) -> None:
    """A broken pipe loses the lines and nothing else."""
    reading, writing = pipe
    os.close(reading)
    writer = LineWriter(writing)
    writer.offer(b"nobody\n")
    assert writer.flush(PATIENCE_S)
    writer.close(PATIENCE_S)


def test_full_disk_loses_lines_and_tells_their_count_when_there_is_room(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing goes on by itself."""
    refusals = iter([True, False, False])
    really_write: Callable[[int, bytes], int] = os.write

    def write(descriptor: int, lines: bytes) -> int:
        if next(refusals):
            raise OSError(28, "No space left on device")
        return really_write(descriptor, lines)

    reading, writing = pipe
    writer = LineWriter(writing)
    monkeypatch.setattr(line_writer.os, "write", write)
    writer.offer(b"a\nb\n")
    assert writer.flush(PATIENCE_S)
    writer.offer(b"c\n")
    writer.close(PATIENCE_S)
    assert os.read(reading, 1000) == b"(2 lines were lost)\nc\n"


def test_close_does_not_wait_for_a_reader_for_ever(pipe: tuple[int, int]) -> None:
    """A stop has a bound; what was not taken is lost."""
    _, writing = pipe
    writer = LineWriter(writing)
    writer.offer(bytes(1 << 20) + b"\n")
    writer.close(0.01)
