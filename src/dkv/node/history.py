"""Where the changes come from that readers of the history want: the tail, or the log, read off the turn.

An entry of the log becomes changes by its outcomes row. Both are read only up to the applied index, so both are there:
log and outcomes are cut together, and `earliest_change` rises before either goes. A reader whose next change is below
it, or who follows another history, gets HistoryPurged, before anything is looked at: never a silent hole.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from dkv.model.errors import Corrupt, HistoryPurged, StaleRead
from dkv.node.tail import Tail
from dkv.ports.consensus import Consensus, EntryTuple
from dkv.ports.store import Store
from dkv.vbucket.history import EntryChanges, find_last, read_entry
from dkv.vbucket.outcomes import EntryOutcomes, OutcomesAt, decode_outcomes_at
from dkv.vbucket.replica import EntryResult, Replica

FETCH_BYTES = 256 << 10
"""Of the log, read at once for one reader."""
_TOKEN_BITS = 32
"""Of a token, those that count; the rest name the vBucket: `vbucket_of`."""
_ROWS_BYTES_MAX = 1 << 30
"""Outcomes rows are small and as many as entries, which are counted."""


@dataclass(slots=True)
class Place:
    """Where one reader is in the history."""

    history_id: bytes
    next_number: int
    index: int | None
    """No entry before it has changes that are wanted; None: not looked up yet."""
    read: deque[tuple[EntryTuple, EntryOutcomes]] = field(default_factory=deque)
    """Of the log, not handed out yet."""
    is_waiting: bool = False
    """The log is being read for it."""


def vbucket_of(token: int) -> int:
    """Whose history asked."""
    return token >> _TOKEN_BITS


class History:
    """The one that asks consensus for entries of the log."""

    def __init__(self, store: Store, consensus: Consensus, replica: Replica) -> None:
        self._store, self._consensus, self._replica = store, consensus, replica
        self._waiting: dict[int, Place] = {}
        self._token = replica.vbucket << _TOKEN_BITS
        self.tail: Tail = Tail()
        """What is applied while somebody follows; who follows opens and closes it."""

    def place(self, first_number: int | None, history_id: bytes) -> Place:
        """Before the change `first_number`; None: behind the latest. Raises HistoryPurged, or StaleRead when the one
        before it is not known here."""
        replica = self._replica
        latest = replica.change_number
        number = latest + 1 if first_number is None else first_number
        place = Place(history_id or replica.history_id, number, replica.applied_index + 1 if number > latest else None)
        self.check(place)
        if number > latest + 1:
            raise StaleRead.behind(number - 1, latest)
        return place

    def check(self, place: Place) -> None:
        """Raises HistoryPurged when what the reader wants next is not in this history."""
        replica = self._replica
        if place.history_id != replica.history_id or place.next_number < replica.earliest_change:
            raise HistoryPurged(place.next_number, replica.earliest_change, replica.change_number)

    def index_of(self, number: int) -> int:
        """The entry with this change, which is in the history."""
        replica = self._replica
        row = find_last(
            replica.earliest_index,
            replica.applied_index,
            self.outcomes_at,
            lambda outcomes: outcomes.first_change_number <= number,
        )
        if row is None:
            raise Corrupt(f"vBucket {replica.vbucket}: change {number} has no outcomes row")
        return row.log_index

    def outcomes_at(self, index: int) -> OutcomesAt | None:
        """The first outcomes row at or behind an index."""
        rows = self._outcomes(index, 1)
        return rows[0] if rows else None

    def _outcomes(self, index: int, count: int) -> list[OutcomesAt]:
        scan = self._store.scan(*self._replica.outcomes_after(index - 1))
        try:
            return [decode_outcomes_at(row) for row in scan.take(count, _ROWS_BYTES_MAX)]
        finally:
            scan.close()

    def open_tail(self, bytes_max: int) -> None:
        """Somebody follows: what is applied from now on is kept at hand."""
        self.tail.open(self._replica.applied_index + 1, bytes_max)

    def note(self, results: list[EntryResult]) -> None:
        """These were applied."""
        if self.tail.first_index is not None:
            self.tail.add(changes for result in results if (changes := result.changes()) is not None)

    @property
    def is_waiting(self) -> bool:
        """The log is being read for somebody."""
        return bool(self._waiting)

    def take_fetched(self, token: int, entries: list[EntryTuple] | str) -> None:
        """What was read of the log for one of the readers, or why it could not be."""
        place = self._waiting.pop(token)
        place.is_waiting = False
        if isinstance(entries, list):
            self._pair(place, entries)
        elif place.index is None or place.index >= self._replica.earliest_index:
            raise Corrupt(f"vBucket {self._replica.vbucket}: the log cannot be read: {entries}")

    def _pair(self, place: Place, entries: list[EntryTuple]) -> None:
        first, last = entries[0][0], entries[-1][0]
        rows = self._outcomes(first, len(entries))
        place.read.extend((entries[index - first], outcomes) for index, outcomes in rows if index <= last)
        place.index = last + 1

    def is_at_hand(self, place: Place) -> bool:
        """What comes next is in memory, or there is nothing yet."""
        if place.read or place.next_number > self._replica.change_number:
            return True
        return place.index is not None and self.tail.covers(place.index)

    def entries(self, place: Place) -> Iterator[EntryChanges]:
        """The next entries that are at hand, as far as the caller takes them; asks for more of the log at the end.

        Each is taken off the place before it is handed out; the caller moves `next_number`."""
        while place.read:
            (index, _, _, data), outcomes = place.read.popleft()
            yield read_entry(index, data, outcomes)
        if place.is_waiting:
            return
        if place.index is None:
            place.index = self.index_of(place.next_number)
        if self.tail.covers(place.index):
            for entry in self.tail.behind(place.index):
                place.index = entry.log_index + 1
                yield entry
        elif place.next_number <= self._replica.change_number:
            self._fetch(place)

    def _fetch(self, place: Place) -> None:
        assert place.index is not None
        place.index = max(place.index, self._replica.earliest_index)
        self._token += 1
        self._waiting[self._token] = place
        place.is_waiting = True
        high = self._replica.applied_index + 1
        self._consensus.fetch(self._token, self._replica.vbucket, place.index, high, FETCH_BYTES)
