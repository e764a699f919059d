"""Iterating: rows in, messages of a reply stream out, a slice a turn (INVARIANTS 20).

What a row shows is decided by the log time at the start of the stream, as the scan's view is of that moment; expired
rows are passed over. The slice is bounded where rows are taken: `scan.take(rows_max, bytes_max)`.
"""

from collections.abc import Callable, Sequence

from dkv.vbucket.rows import decode_row

SPACE_BYTES = 4


class IterateJob:
    """One open iterate."""

    __slots__ = ("_encode", "_left", "_log_time", "done", "resume_key")

    def __init__(self, encode: Callable[[bytes, bytes, int], bytes], log_time: int, limit: int) -> None:
        """`encode` makes a message of (key, value, expires_at); `limit` 0: all."""
        self._encode = encode
        self._log_time = log_time
        self._left = limit if limit else -1
        self.done: bool = False
        """The limit is reached: no more rows are wanted."""
        self.resume_key: bytes = b""
        """The last user key that was looked at; empty before the first."""

    def slice(self, rows: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """The messages of these rows; fewer than rows, even none, where keys expired. Raises Corrupt."""
        messages: list[bytes] = []
        add, encode, log_time, left = messages.append, self._encode, self._log_time, self._left
        row_key = b""
        for row_key, row in rows:
            if row[:1] == b"\0":
                add(encode(row_key[SPACE_BYTES:], row[1:], 0))
            else:
                value, expires_at = decode_row(row)
                if expires_at <= log_time:
                    continue
                add(encode(row_key[SPACE_BYTES:], value, expires_at))
            left -= 1
            if not left:
                self.done = True
                break
        if rows:
            self.resume_key = row_key[SPACE_BYTES:]
        self._left = left
        return messages
