"""Lines on their way to a file, a pipe or a terminal, none of which may stop the server.

One thread does nothing but wait in the operating system's `write`, as the thread that syncs the engine does
(INVARIANTS 16): a slow disk or a reader who does not read holds up this thread, never a turn. What waits is bounded;
lines beyond the bound, and lines that a full disk refuses, are lost and counted, and the count is written in their
place.
"""

import os
import threading
from collections.abc import Callable

WAITING_BYTES_MAX = 4 << 20
WRITE_BYTES_MAX = 64 << 10
"""A bound on one write, so that the count of a full disk is exact to that many bytes."""


class LineWriter:
    """Owns what waits, the thread, and the descriptor if it opened it. Callable from any thread."""

    def __init__(self, descriptor: int, reopen: Callable[[], int] | None = None) -> None:
        """`reopen` opens the same file anew; None: it is not ours to open or close."""
        self._descriptor, self._open_anew = descriptor, reopen
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._lost_lines = 0
        self._is_writing = self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="dkv-lines", daemon=True)
        self._thread.start()

    def offer(self, lines: bytes) -> None:
        """Whole lines, each with its end. Returns at once; they may be lost."""
        with self._changed:
            if self._waiting_bytes + len(lines) > WAITING_BYTES_MAX:
                self._lost_lines += lines.count(b"\n")
                return
            self._waiting.append(lines)
            self._waiting_bytes += len(lines)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything offered is written or lost. False: not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_writing, timeout_s)

    def reopen(self) -> None:
        """Go on in the file that has the name now. Raises OSError, and then goes on in the old one."""
        if self._open_anew is None:
            return
        fresh = self._open_anew()
        try:
            os.dup2(fresh, self._descriptor, inheritable=False)
        finally:
            os.close(fresh)

    def close(self, timeout_s: float) -> None:
        """Writes what waits, for so long, and ends. Idempotent."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._open_anew is not None and not self._thread.is_alive():
            os.close(self._descriptor)
            self._open_anew = None

    def _run(self) -> None:
        while (lines := self._next()) is not None:
            self._write(lines)
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()

    def _next(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            if not self._waiting:
                return None
            lines = b"".join(self._waiting)
            if self._lost_lines:
                lines = b"(%d lines were lost)\n" % self._lost_lines + lines
            self._waiting, self._waiting_bytes, self._lost_lines, self._is_writing = [], 0, 0, True
            return lines

    def _write(self, lines: bytes) -> None:
        start = 0
        while start < len(lines):
            try:
                start += os.write(self._descriptor, lines[start : start + WRITE_BYTES_MAX])
            except OSError:
                with self._changed:
                    self._lost_lines += lines.count(b"\n", start)
                return


def open_lines(path: str) -> LineWriter:
    """A writer behind the end of a file, which is made if need be. Raises OSError, also for a pipe without a reader."""

    def open_file() -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        os.set_blocking(descriptor, True)  # only the opening must not wait
        return descriptor

    return LineWriter(open_file(), open_file)
