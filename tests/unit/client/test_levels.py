"""What reads ask for: the bytes that the message classes would write."""

from typing import Any

import pytest

import dkv
from dkv.client.levels import Levels
from dkv.wire import messages as wire
from dkv.wire.requests import LINEARIZABLE_STRICT

LINEARIZABLE = {"readConsistency": 1, "strict": True}


def get(fields: bytes) -> dict[str, Any]:
    message = wire.GetRequest.FromString(fields)
    return {field.name: value for field, value in message.ListFields()}


def scan(fields: bytes) -> dict[str, Any]:
    return {field.name: value for field, value in wire.IterateRequest.FromString(fields).ListFields()}


def reply(number: int, history_id: bytes = b"h" * 16) -> bytes:
    return wire.PutResponse(status=wire.Status(), changeNumber=number, historyId=history_id).SerializeToString()


def test_levels_are_terms_of_requests() -> None:
    """A bound alone is a sequential read."""
    levels = Levels()
    assert levels.plain == LINEARIZABLE_STRICT
    assert get(levels.of_get("linearizable", None)) == LINEARIZABLE
    assert get(levels.of_get("sequential", None)) == {}
    assert get(levels.of_get(None, 1.5)) == {"maxStalenessMs": 1_500}
    assert scan(levels.of_scan(None, None)) == {"readConsistency": 1}
    assert scan(levels.of_scan("sequential", 2)) == {"maxStalenessMs": 2_000}


def test_own_writes_are_seen_by_the_number_of_the_last() -> None:
    """Numbers may come in any order; a new history begins anew."""
    levels = Levels("read_your_writes")
    levels.knows_vbuckets(1)
    assert get(levels.plain) == {}
    for number in (7, 9, 8):
        levels.wrote(reply(number))
    assert get(levels.plain) == {"minChangeNumber": 9}
    assert get(levels.of_get(None, 3)) == {"minChangeNumber": 9, "maxStalenessMs": 3_000}
    assert scan(levels.of_scan("read_your_writes", None)) == {"minChangeNumber": 9}
    levels.wrote(reply(0, b""))  # of a write that has no number yet
    assert get(levels.plain) == {"minChangeNumber": 9}
    levels.wrote(reply(3, b"i" * 16))
    levels.wrote(b"\xff")
    assert get(levels.plain) == {"minChangeNumber": 3}


def test_own_writes_of_several_lines_or_unknown_ones_are_read_linearizable() -> None:
    """A number of one line says nothing about another."""
    levels = Levels("read_your_writes")
    levels.wrote(reply(7))
    assert get(levels.plain) == LINEARIZABLE
    levels.knows_vbuckets(1)
    assert get(levels.plain) == {"minChangeNumber": 7}
    levels.knows_vbuckets(4)
    assert get(levels.plain) == LINEARIZABLE


@pytest.mark.parametrize(
    ("level", "max_staleness", "why"),
    [
        ("strong", None, "a level is linearizable, read_your_writes, sequential, not 'strong'"),
        ("linearizable", 1.0, "never stale"),
        (None, 0, "1 ms to one day"),
        ("sequential", 100_000, "1 ms to one day"),
    ],
)
def test_level_that_is_none_is_refused(level: Any, max_staleness: float | None, why: str) -> None:
    """Before anything is sent."""
    for terms in (Levels().of_get, Levels().of_scan):
        with pytest.raises(dkv.InvalidRequest, match=why):
            terms(level, max_staleness)
