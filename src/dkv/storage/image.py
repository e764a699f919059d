"""An ordered map in plain Python: rows by key, and the keys in order.

Invariant: `keys` is sorted and holds exactly the keys of `rows`. What a newcomer breaks first: inserting one by one
into a large list; many new keys are appended and sorted once, which is a merge for Python's sort.
"""

from bisect import bisect_left, insort

from dkv.ports.store import RowBatch

_INSORT_MAX = 16
"""Up to here single insertions (a memory move each) beat sorting the whole list."""


class Image:
    """What a store holds at one moment. Owned by one store; `copy` shares nothing."""

    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.rows: dict[bytes, bytes] = {}

    def copy(self) -> "Image":
        """An independent image with the same rows."""
        image = Image()
        image.keys, image.rows = list(self.keys), dict(self.rows)
        return image

    def apply(self, batch: RowBatch) -> None:
        """Ranges first, then operations in their order."""
        for start, end in batch.ranges:
            self._delete_range(start, end)
        added, removed = self._apply_operations(batch.operations)
        for key in removed:
            del self.keys[bisect_left(self.keys, key)]
        if len(added) > _INSORT_MAX:
            self.keys.extend(added)
            self.keys.sort()
        else:
            for key in added:
                insort(self.keys, key)

    def between(self, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
        """Rows in [start, end), ascending."""
        low = bisect_left(self.keys, start)
        return [(key, self.rows[key]) for key in self.keys[low : bisect_left(self.keys, end, low)]]

    def _delete_range(self, start: bytes, end: bytes) -> None:
        low = bisect_left(self.keys, start)
        high = bisect_left(self.keys, end, low)
        for key in self.keys[low:high]:
            del self.rows[key]
        del self.keys[low:high]

    def _apply_operations(self, operations: list[tuple[bytes, bytes | None]]) -> tuple[set[bytes], set[bytes]]:
        """Change `rows`; which keys are new to `keys`, and which are gone from it."""
        rows, added, removed = self.rows, set[bytes](), set[bytes]()
        for key, row in operations:
            if row is None:
                if rows.pop(key, None) is not None:
                    (added.discard if key in added else removed.add)(key)
            else:
                if key not in rows:
                    (removed.discard if key in removed else added.add)(key)
                rows[key] = row
        return added, removed
