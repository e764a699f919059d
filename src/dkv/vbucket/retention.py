"""How much history is kept, apart from what Raft needs (INVARIANTS 14): bytes of the node first, then a minimum.

The log is cut to `history_bytes_max`; the latest `history_changes_min` changes of a vBucket stay when they weigh more,
up to twice the budget: a minimum must not fill the disk, and entries without changes (failed compares, sweeps) can lie
behind the last change without end. Nothing goes while `keep_from_1`: a slave of the original can only follow a history
that begins at 1.

A cut frees an eighth of the budget at least, because outcomes rows go by ranges, and many small range deletes slow
every read of the engine.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dkv.model.limits import HISTORY_BYTES_MAX, HISTORY_CHANGES_MIN
from dkv.vbucket.history import find_last
from dkv.vbucket.outcomes import EntryOutcomes, OutcomesAt


@dataclass(frozen=True, slots=True)
class Retention:
    """The rule, as the settings have it."""

    history_bytes_max: int = HISTORY_BYTES_MAX
    history_changes_min: int = HISTORY_CHANGES_MIN
    keep_from_1: bool = False

    def first_kept(
        self,
        history_bytes: int,
        log_bytes: int,
        latest: int,
        indexes: tuple[int, int],
        row_at: Callable[[int], OutcomesAt | None],
    ) -> OutcomesAt | None:
        """The row with which the history is to begin, or None: nothing is worth cutting.

        `history_bytes` are kept now; `log_bytes` and `latest` are the replica's counts; `indexes` the first log index
        kept and the last one that the engine has synced; `row_at` as in `find_last`.
        """
        if self.keep_from_1 or history_bytes <= self.history_bytes_max:
            return None
        slack = self.history_bytes_max // 8
        bytes_wanted = self.history_bytes_max - slack

        def may_be_first(row: EntryOutcomes) -> bool:
            bytes_behind, changes = log_bytes - row.log_bytes, latest - row.first_change_number + 1
            is_minimum_kept = changes >= self.history_changes_min or bytes_behind >= 2 * self.history_bytes_max
            return bytes_behind >= bytes_wanted and is_minimum_kept

        row = find_last(*indexes, row_at, may_be_first)
        bytes_left = log_bytes - row.outcomes.log_bytes if row is not None else history_bytes
        return row if history_bytes - bytes_left > slack else None
