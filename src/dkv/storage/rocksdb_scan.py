"""An ordered walk over RocksDB that cannot end silently.

Three of rocksdict's traps end here. Bounds in `ReadOptions` are mixed up or dangling, so the bound is compared in
Python. `items()` takes damage for the end, so the walk uses `RdictIter` and asks `status()` when there is no next key.
A live iterator keeps the folder locked after close, so `close` drops it, and so does reaching the end.

What a newcomer breaks first: keeping a bound method of the iterator (`self._next = iterator.next`) keeps the iterator.
"""

from rocksdict import Rdict, RdictIter, ReadOptions

from dkv.model.errors import InvariantBroken
from dkv.storage.engine_errors import translated


class RocksDbScan:
    """Owns one iterator, which pins the view of the moment it was made. Used by the store's thread."""

    __slots__ = ("__weakref__", "_bound", "_closed", "_iterator", "_reverse")

    def __init__(self, database: Rdict, start: bytes, end: bytes, reverse: bool) -> None:
        self._reverse = reverse
        self._bound = start if reverse else end
        self._closed = False
        self._iterator: RdictIter | None = None
        if start >= end:
            return
        try:
            iterator = database.iter(_read_options())
            if reverse:
                iterator.seek_for_prev(end)
                if iterator.key() == end:
                    iterator.prev()
            else:
                iterator.seek(start)
        except Exception as error:
            raise translated(error, "open a scan") from error
        self._iterator = iterator

    def take(self, rows_max: int, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """The next rows: at most `rows_max`, and none after the one that reaches `bytes_max`. [] at the checked end."""
        if self._closed:
            raise InvariantBroken("a scan was used after it was closed")
        if self._iterator is None:
            return []
        try:
            rows = self._walk(self._iterator, max(rows_max, 1), bytes_max)
        except Exception as error:
            raise translated(error, "scan") from error
        return rows

    def close(self) -> None:
        """Unpin the view. Idempotent."""
        self._closed = True
        self._iterator = None

    def _walk(self, iterator: RdictIter, rows_max: int, bytes_max: int) -> list[tuple[bytes, bytes]]:
        bound, reverse = self._bound, self._reverse
        read_key, read_row = iterator.key, iterator.value
        advance = iterator.prev if reverse else iterator.next
        rows: list[tuple[bytes, bytes]] = []
        add, left = rows.append, bytes_max
        for _ in range(rows_max):
            key = read_key()
            if key is None:
                iterator.status()
                self._iterator = None
                break
            if key < bound if reverse else key >= bound:
                self._iterator = None
                break
            row = read_row()
            add((key, row))
            advance()
            left -= len(key) + len(row)
            if left <= 0:
                break
        return rows


def _read_options() -> ReadOptions:
    options = ReadOptions()
    options.set_background_purge_on_iterator_cleanup(True)
    return options
