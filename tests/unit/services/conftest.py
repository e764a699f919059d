"""Turns and views as a node would make them."""

from collections.abc import Callable

import pytest

from dkv.model.commands import Outcome
from dkv.model.limits import Limits
from dkv.services.registry import Services
from dkv.services.turn import Turn, View

NOW_MS = 1_700_000_000_000
HISTORY = b"h" * 16


@pytest.fixture
def limits() -> Limits:
    return Limits(
        value_bytes_max=1_000,
        request_bytes_max=2_500,
        multi_get_keys_max=10,
        multi_put_entries_max=10,
        reply_bytes_max=2_000,
    )


@pytest.fixture
def services(limits: Limits) -> Services:
    return Services(limits)


@pytest.fixture
def turn() -> Turn:
    return Turn(NOW_MS, history_id=HISTORY)


@pytest.fixture
def view() -> View:
    return View(NOW_MS, 500, HISTORY)


@pytest.fixture
def apply(turn: Turn) -> Callable[..., None]:
    """Answers the turn's commands with consecutive change numbers, or with the given outcomes."""

    def answer(*outcomes: Outcome) -> None:
        given = outcomes or tuple(Outcome(True, 300 + at) for at in range(len(turn.commands)))
        for call_id, reply, outcome in zip(turn.command_calls, turn.command_answers, given, strict=True):
            reply(turn, [call_id], [outcome], NOW_MS)

    return answer


@pytest.fixture
def read(turn: Turn, view: View) -> Callable[..., None]:
    """Answers the turn's reads from a dictionary of rows."""

    def answer(rows: dict[bytes, bytes], at: View = view) -> None:
        for each in turn.reads:
            found = [rows.get(key) for key in each.keys]
            each.answer(turn, [found[:2], found[2:]], at)

    return answer
