"""What the node's state was after each turn that changed it: the points in time that a restore may be asked for.

The diary is the second version of a replay. It was written when the changes happened, and knows nothing of the log.
A turn may apply several entries, and what was true between two of them is in no diary. So a point by number is always
one that a turn has ended with, and a point by time lies between two turns of which the later applied a single entry.
"""

from collections.abc import Mapping
from itertools import pairwise
from random import Random
from typing import NamedTuple

from dkv.model.backups import BackupFacts
from dkv.storage.memory import MemoryStore
from dkv.testing.clients import ALL_KEYS
from dkv.vbucket.replica import Replica


class Moment(NamedTuple):
    """The state at the end of a turn."""

    log_index: int
    change_number: int
    log_time: int
    history_id: bytes
    rows: dict[bytes, bytes | None]
    """By key; None: no row."""


class Point(NamedTuple):
    """A point in time, and the state that it stands for."""

    until_change_number: int
    until_time: int
    moment: Moment


class Target(NamedTuple):
    """A point in time of every vBucket."""

    until_change_number: int
    until_time: int
    moments: Mapping[int, Moment]
    """By vBucket."""


class Span(NamedTuple):
    """From `begin` on and before `end` the state was that of a moment, by the log's own time."""

    begin: int
    end: int
    moment: Moment


class Diary:
    """Owned by the world; outlives every process."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []

    def note(self, replica: Replica, store: MemoryStore) -> None:
        """A turn has ended."""
        if not self._moments or self._moments[-1].log_index != replica.applied_index:
            rows = dict(zip(ALL_KEYS, store.get_many(replica.row_keys(list(ALL_KEYS))), strict=True))
            found = replica.applied_index, replica.change_number, replica.log_time, replica.history_id
            self._moments.append(Moment(*found, rows))

    def point(self, facts: BackupFacts, rng: Random) -> Point | None:
        """One that this backup can be replayed to, as far as the history is kept; None: none is known."""
        points = [Point(moment.change_number, 0, moment) for moment in self._behind(facts) if moment.change_number]
        points += [Point(0, rng.choice([span.begin, span.end - 1]), span.moment) for span in self.spans(facts)]
        return rng.choice(points) if points else None

    def spans(self, facts: BackupFacts) -> list[Span]:
        """The times whose state is known."""
        return [
            Span(earlier.log_time, later.log_time, earlier)
            for earlier, later in pairwise(self._behind(facts))
            if later.log_index == earlier.log_index + 1 and earlier.log_time < later.log_time
        ]

    def _behind(self, facts: BackupFacts) -> list[Moment]:
        return [
            moment
            for moment in self._moments
            if moment.history_id == facts.history_id and moment.log_index >= facts.applied_index
        ]
