"""What an operator is told once when it begins and once when it ends."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from dkv.ports.store import Pressure
from dkv.server.conditions import TEXTS, Conditions


def hosted(vbucket: int) -> Any:
    """A vBucket that is well."""
    clock = SimpleNamespace(frozen=False)
    return SimpleNamespace(
        vbucket=vbucket, replica=SimpleNamespace(clock=clock), is_leader=True, is_serving=True, is_removed=False
    )


def node_of(*vbuckets: int) -> Any:
    """As much of a node as is looked at."""
    return SimpleNamespace(
        clock=SimpleNamespace(now=lambda: None),
        disk=SimpleNamespace(full=lambda _: None),
        peering=None,
        duties=None,
        store=SimpleNamespace(pressure=lambda: Pressure(False, 0)),
        vbuckets={vbucket: hosted(vbucket) for vbucket in vbuckets},
    )


@pytest.fixture
def node() -> Any:
    return node_of(1)


def said(caplog: pytest.LogCaptureFixture, conditions: Conditions) -> list[str]:
    caplog.clear()
    conditions.look()
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("name", TEXTS)
def test_condition_is_told_when_it_begins_and_when_it_ends(
    node: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """And not in between."""
    first = node.vbuckets[1]

    def set_to(holds: bool) -> None:
        if name == "disk":
            node.disk.full = lambda _: "full" if holds else None
        elif name == "engine":
            node.store.pressure = lambda: Pressure(holds, 0)
        elif name == "clock":
            first.replica.clock.frozen = holds
        elif name == "wrong":
            node.duties = SimpleNamespace(clocks=SimpleNamespace(is_own_wrong=holds))
        elif name == "removed":
            first.is_removed, first.is_serving = holds, not holds
        elif name == "refused":
            node.peering = SimpleNamespace(is_refused=holds)
        else:
            first.is_serving = not holds

    caplog.set_level(logging.WARNING)
    conditions = Conditions(node, logging.getLogger("conditions"))
    also = ["leader"] if name == "removed" else []  # whoever is removed follows nobody
    assert said(caplog, conditions) == []
    set_to(True)
    assert said(caplog, conditions) == [TEXTS[each][0].format(where="") for each in (name, *also)]
    assert said(caplog, conditions) == []
    set_to(False)
    assert said(caplog, conditions) == [TEXTS[each][1] for each in (name, *also)]


def test_clock_that_the_start_has_told_of_is_not_told_again(node: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The start says more about it, and what to do."""
    caplog.set_level(logging.WARNING)
    node.vbuckets[1].replica.clock.frozen = True
    assert said(caplog, Conditions(node, logging.getLogger("conditions"))) == []


def test_condition_of_some_vbuckets_names_them_and_is_over_when_it_is_in_all(caplog: pytest.LogCaptureFixture) -> None:
    """It is told again when there are more of them, not when there are fewer."""
    caplog.set_level(logging.WARNING)
    node = node_of(*range(1, 10))
    conditions = Conditions(node, logging.getLogger("conditions"))

    def serve(*ill: int) -> list[str]:
        for vbucket, each in node.vbuckets.items():
            each.is_serving = vbucket not in ill
        return said(caplog, conditions)

    assert serve(7) == ["no leader is known in vBucket 7: calls are refused"]
    assert serve(7, 2) == ["no leader is known in vBuckets 2 and 7: calls are refused"]
    assert serve(2) == []
    assert serve(2, 3, 4) == ["no leader is known in vBuckets 2, 3 and 4: calls are refused"]
    assert serve(*range(2, 10)) == ["no leader is known in vBuckets 2, 3, 4, 5, 6 and 3 others: calls are refused"]
    assert serve(*range(1, 10)) == ["no leader is known in all 9 vBuckets: calls are refused"]
    assert serve() == ["calls are answered again"]


def test_clock_is_believed_or_not_by_who_leads(caplog: pytest.LogCaptureFixture) -> None:
    """A follower's does not count."""
    caplog.set_level(logging.WARNING)
    node = node_of(1, 2, 3)
    conditions = Conditions(node, logging.getLogger("conditions"))
    for each in node.vbuckets.values():
        each.replica.clock.frozen, each.is_leader = True, each.vbucket == 3
    assert said(caplog, conditions) == ["the clock is ahead of what is believed in vBucket 3: no key expires"]
