"""What an operator is told once when it begins and once when it ends."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from dkv.ports.store import Pressure
from dkv.server.conditions import TEXTS, Conditions


@pytest.fixture
def node() -> Any:
    """As much of a node as is looked at."""
    return SimpleNamespace(
        clock=SimpleNamespace(now=lambda: None),
        disk=SimpleNamespace(full=lambda _: None),
        peering=None,
        store=SimpleNamespace(pressure=lambda: Pressure(False, 0)),
        sole=SimpleNamespace(
            replica=SimpleNamespace(clock=SimpleNamespace(frozen=False)), is_serving=True, is_removed=False
        ),
    )


def said(caplog: pytest.LogCaptureFixture, conditions: Conditions) -> list[str]:
    caplog.clear()
    conditions.look()
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", TEXTS)
def test_condition_is_told_when_it_begins_and_when_it_ends(
    node: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """And not in between."""

    def set_to(holds: bool) -> None:
        if name == "disk":
            node.disk.full = lambda _: "full" if holds else None
        elif name == "engine":
            node.store.pressure = lambda: Pressure(holds, 0)
        elif name == "clock":
            node.sole.replica.clock.frozen = holds
        elif name == "removed":
            node.sole.is_removed = holds
        elif name == "refused":
            node.peering = SimpleNamespace(is_refused=holds)
        else:
            node.sole.is_serving = not holds

    caplog.set_level(logging.WARNING)
    conditions = Conditions(node, logging.getLogger("conditions"))
    assert said(caplog, conditions) == []
    set_to(True)
    assert said(caplog, conditions) == [TEXTS[name][0]]
    assert said(caplog, conditions) == []
    set_to(False)
    assert said(caplog, conditions) == [TEXTS[name][1]]


def test_clock_that_the_start_has_told_of_is_not_told_again(node: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The start says more about it, and what to do."""
    caplog.set_level(logging.WARNING)
    node.sole.replica.clock.frozen = True
    assert said(caplog, Conditions(node, logging.getLogger("conditions"))) == []
