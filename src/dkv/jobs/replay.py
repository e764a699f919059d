"""Replaying: from the state that a backup holds to a point in time, by the node's own history.

The staged rows are those of a backup; the changes behind it are still in the log. Applying them, up to a change number
or a log time, gives the state of that moment, rows and expiries alike: what took effect was decided when it was first
applied, so nothing is decided again, and nothing has to be read. Changes that were committed together (a MultiPut) are
replayed together: a point between them stands for the one before.

The history must be the backup's own, without a gap: HistoryPurged otherwise.
"""

from collections.abc import Generator, Iterable
from typing import Protocol, TypeVar

from dkv.model.backups import BackupFacts, Phase, Progress, RestoreOrder
from dkv.model.errors import BeyondHistory
from dkv.ports.store import RowBatch, Store
from dkv.vbucket.apply import Applying
from dkv.vbucket.history import Change, EntryChanges
from dkv.vbucket.sessions import Sessions
from dkv.vbucket.slaves import Slaves

SLICE_CHANGES_MAX = 1_000
MAX = 1 << 64
"""Above every number and time: not asked."""


class Place(Protocol):
    """Where a reader of the history is."""

    next_number: int
    is_waiting: bool


P = TypeVar("P", bound=Place)


class History(Protocol[P]):
    """The node's history, read off the turn."""

    def place(self, first_number: int, history_id: bytes, /) -> P:
        """Raises HistoryPurged when the history does not reach back to it, or is another one."""

    def check(self, place: P, /) -> None:
        """Raises HistoryPurged when it does not any more."""

    def entries(self, place: P, /) -> Iterable[EntryChanges]:
        """What is at hand, and asks for more; the caller moves `next_number`."""


def check_time(order: RestoreOrder, now_ms: int) -> None:
    """A point in time must have come. Raises BeyondHistory."""
    if order.until_time > now_ms:
        raise BeyondHistory(f"the time {order.until_time} is still to come, now is {now_ms}")


def check_number(order: RestoreOrder, facts: BackupFacts, latest: int) -> None:
    """A point must not lie before the backup, nor behind the latest change of its vBucket. Raises BeyondHistory."""
    number, time = order.until_change_number, order.until_time
    if number and not facts.change_number <= number <= latest:
        raise BeyondHistory(
            f"change {number} is not between the last of the backup, {facts.change_number}, and the latest, {latest}"
        )
    if time and time < facts.log_time:
        raise BeyondHistory(f"the time {time} is before that of the backup, {facts.log_time}")


class Replay:
    """The changes behind a backup, on their way into the staged block. Says at each moment which state that is."""

    def __init__(self, order: RestoreOrder, facts: BackupFacts, space: int, earliest_expiry: int | None) -> None:
        self.change_number: int = facts.change_number
        self.log_time: int = facts.log_time
        self.earliest_expiry: int | None = earliest_expiry
        self._history_id, self._vbucket, self._space = facts.history_id, facts.vbucket, space
        self._last_number, self._last_time = order.until_change_number or MAX, order.until_time or MAX
        self._is_over = self.change_number >= self._last_number
        self._bytes = 0

    def run(self, history: History[P], store: Store) -> Generator[Progress, None, None]:
        """Up to the point, or the latest change if that comes first. Raises HistoryPurged."""
        place = history.place(self.change_number + 1, self._history_id)
        while not self._is_over:
            history.check(place)
            taken = 0
            for entry in history.entries(place):
                taken += self._take(entry, store)
                place.next_number = self.change_number + 1
                if self._is_over or taken >= SLICE_CHANGES_MAX:
                    break
            else:
                self._is_over = not place.is_waiting
            yield Progress(Phase.REPLAY, self._bytes, is_waiting=place.is_waiting)

    def _take(self, entry: EntryChanges, store: Store) -> int:
        """Applies an entry as far as the point lets it; returns how many changes."""
        if entry.log_time > self._last_time:
            self._is_over = True
            return 0
        changes: list[Change] = []
        for number, record in entry.records():
            if number + len(record) - 1 > self._last_number:
                self._is_over = True
                break
            changes += map(_without_session, record)
        nobody = Sessions(self._space), Slaves(self._vbucket)  # no change looks at them
        work = Applying(self._space, *nobody, self.change_number, self.log_time, self.earliest_expiry)
        work.entry(entry.log_time, changes, iter(()))
        store.write(RowBatch(list(work.rows.items()), work.ranges))
        self.change_number, self.log_time = work.change_number, work.log_time
        self.earliest_expiry = work.earliest_expiry
        self._is_over = self._is_over or self.change_number >= self._last_number
        self._bytes += entry.size
        return len(changes)


def _without_session(change: Change) -> Change:
    """It was applied once, and is now applied as what it was: a retry would be another entry."""
    return change if change.session is None else change._replace(session=None)
