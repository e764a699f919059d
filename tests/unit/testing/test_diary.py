"""The diary offers only points in time whose state it knows exactly."""

import random
from types import SimpleNamespace
from typing import Any, cast

from dkv.model.backups import BackupFacts
from dkv.storage.memory import MemoryStore
from dkv.testing.clients import ALL_KEYS
from dkv.testing.diary import Diary, Point

HISTORY_ID = b"h" * 16


def diary(*turns: tuple[int, int, int], history_id: bytes = HISTORY_ID) -> Diary:
    """Of turns that ended at these (log index, change number, log time)."""
    made, store = Diary(), MemoryStore()
    for index, number, time in turns:
        replica = SimpleNamespace(
            applied_index=index,
            change_number=number,
            log_time=time,
            history_id=history_id,
            row_keys=lambda keys: keys,
        )
        made.note(cast(Any, replica), store)
    return made


def points(made: Diary, applied_index: int = 1) -> set[tuple[int, int, int]]:
    """All that it offers for a backup: (change number, time, log index of the state)."""
    facts = BackupFacts(1, 0, applied_index, 1, 0, 0, HISTORY_ID)
    drawn = [made.point(facts, random.Random(seed)) for seed in range(200)]
    return {(each.until_change_number, each.until_time, each.moment.log_index) for each in drawn if each is not None}


def test_diary_offers_the_end_of_each_turn_by_number_and_both_ends_of_a_lone_entry_by_time() -> None:
    """From the turn's log time to just before that of the next entry."""
    made = diary((1, 5, 100), (2, 6, 100), (3, 7, 130))
    assert points(made) == {(5, 0, 1), (6, 0, 2), (7, 0, 3), (0, 100, 2), (0, 129, 2)}


def test_diary_offers_no_time_before_a_turn_of_several_entries() -> None:
    """One of them may have that time, and the state behind it is not known."""
    assert points(diary((1, 5, 100), (3, 7, 130))) == {(5, 0, 1), (7, 0, 3)}


def test_diary_knows_from_when_to_when_a_state_was_the_present() -> None:
    """Up to the next entry's time, not including it; of the last state nobody knows how long it lasts."""
    facts = BackupFacts(1, 0, 1, 1, 0, 0, HISTORY_ID)
    spans = diary((1, 5, 100), (2, 6, 130), (3, 7, 150)).spans(facts)
    assert [(span.begin, span.end, span.moment.log_index) for span in spans] == [(100, 130, 1), (130, 150, 2)]


def test_diary_offers_nothing_before_the_backup_or_of_another_history() -> None:
    """Neither can be replayed to."""
    assert points(diary((1, 5, 100), (2, 6, 130)), applied_index=2) == {(6, 0, 2)}
    assert points(diary((1, 5, 100), history_id=b"o" * 16)) == set()


def test_diary_notes_a_turn_without_news_once() -> None:
    """Most turns apply nothing."""
    assert len(diary((1, 5, 100), (1, 5, 100))._moments) == 1


def test_diary_knows_every_key() -> None:
    """A restore writes all of them."""
    facts = BackupFacts(1, 0, 1, 1, 0, 0, HISTORY_ID)
    point = diary((1, 5, 100)).point(facts, random.Random(1))
    assert isinstance(point, Point)
    assert point.moment.rows == dict.fromkeys(ALL_KEYS)
