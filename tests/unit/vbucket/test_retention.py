"""How much history is kept (INVARIANTS 14)."""

import pytest

from dkv.vbucket.outcomes import EntryOutcomes, OutcomesAt
from dkv.vbucket.retention import Retention

ENTRY_BYTES = 100
ROWS = [OutcomesAt(index, EntryOutcomes(index * 2, 0, 0, index * ENTRY_BYTES)) for index in range(1, 101)]
"""Entries 1 to 100, two changes and 100 bytes each: numbers 2 to 201."""
LOG_BYTES, LATEST = 100 * ENTRY_BYTES, 201


def first_kept(retention: Retention, first: int = 1, synced: int = 100) -> int | None:
    """The log index with which the history is to begin."""
    found = retention.first_kept(
        LOG_BYTES - first * ENTRY_BYTES,
        LOG_BYTES,
        LATEST,
        (first, synced),
        lambda index: next((row for row in ROWS if row.log_index >= index), None),
    )
    return found.log_index if found else None


@pytest.mark.parametrize(
    ("bytes_max", "changes_min", "kept_from"),
    [
        (10_000, 1, None),
        (4_000, 1, 65),
        (800, 1, 93),
        (800, 20, 91),
        (800, 21, 90),
        (800, 60, 84),
        (800, 202, 84),
        (0, 1, 100),
        (0, 0, 100),
    ],
)
def test_retention_keeps_the_bytes_or_the_minimum(bytes_max: int, changes_min: int, kept_from: int | None) -> None:
    """Within the budget nothing goes; beyond it seven eighths stay, more for the minimum, and never more than twice."""
    assert first_kept(Retention(bytes_max, changes_min)) == kept_from


def test_retention_cuts_nothing_that_is_not_synced() -> None:
    """The engine could need it to catch up after a power loss."""
    assert first_kept(Retention(800, 1), synced=50) == 50


def test_retention_waits_until_a_cut_is_worth_it() -> None:
    """An eighth of the budget at least, as each cut costs every later read a little."""
    assert first_kept(Retention(800, 20), first=90) is None
    assert first_kept(Retention(800, 20), first=89) == 91
    assert first_kept(Retention(800, 1), first=80, synced=81) is None


def test_retention_from_1_keeps_all() -> None:
    """Slaves of the original can only start at the beginning."""
    assert first_kept(Retention(0, 0, keep_from_1=True)) is None
