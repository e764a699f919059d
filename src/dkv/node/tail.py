"""The latest changes, as apply had them in hand: what readers share who are up to date.

Kept only while somebody follows, and bounded; who falls behind it reads the log. It begins with the first entry applied
after it was opened, and has every entry with changes from `first_index` on.
"""

from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter

from dkv.vbucket.history import EntryChanges

TAIL_BYTES_MAX = 4 << 20
"""A second of heavy writing. The decoded changes and what was encoded of them come on top, about twice. Of a node: the
tails of its vBuckets divide it."""
TAIL_BYTES_MIN = 16 << 10
"""What a vBucket among many has all the same: who reads in the turn that applies needs no more."""
_INDEX = attrgetter("log_index")


class Tail:
    """Owned by the history of a node."""

    def __init__(self) -> None:
        self._entries: list[EntryChanges] = []
        self._bytes, self._bytes_max = 0, TAIL_BYTES_MAX
        self.first_index: int | None = None
        """None: closed, nothing is kept."""

    def open(self, first_index: int, bytes_max: int) -> None:
        """From this entry on all are kept. Nothing changes for a tail that is open."""
        if self.first_index is None:
            self.first_index, self._bytes_max = first_index, bytes_max

    def close(self) -> None:
        """Nobody follows any more."""
        self._entries, self._bytes, self.first_index = [], 0, None

    def add(self, entries: Iterable[EntryChanges]) -> None:
        """What was applied, in order. The oldest half goes when all together are too large."""
        for entry in entries:
            self._entries.append(entry)
            self._bytes += entry.size
        if self._bytes > self._bytes_max:
            self._drop(self._bytes - self._bytes_max // 2)

    def _drop(self, bytes_wanted: int) -> None:
        count = 0
        while bytes_wanted > 0:
            bytes_wanted -= self._entries[count].size
            self._bytes -= self._entries[count].size
            count += 1
        self.first_index = self._entries[count - 1].log_index + 1
        del self._entries[:count]

    def covers(self, index: int) -> bool:
        """Whether every entry with changes from `index` on is here."""
        return self.first_index is not None and index >= self.first_index

    def behind(self, index: int) -> Iterable[EntryChanges]:
        """The entries from `index` on, which `covers`."""
        entries = self._entries
        return (entries[at] for at in range(bisect_left(entries, index, key=_INDEX), len(entries)))
