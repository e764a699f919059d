"""Refusals that the node itself decides."""

from typing import Any

import pytest

from dkv.model.errors import OutcomeUnknown, Overloaded
from dkv.model.limits import Limits
from dkv.node.scans import Scans
from dkv.ports.clock import Now
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.errors import from_status


def test_put_on_a_full_disk_is_refused_with_typed_details(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client learns from the details when to come back, as from refusals that services decide."""
    house.clock.advance(1_000)
    monkeypatch.setattr(house.node.disk, "free_bytes_min", 1 << 62)
    reply = house.call(methods.PUT, wire.PutRequest(key=b"k", value=b"v").SerializeToString())
    error = from_status(reply.code, reply.reason, reply.details)
    assert isinstance(error, Overloaded)
    assert error.retry_after_ms == 1_000


def test_put_without_a_quorum_for_too_long_is_a_typed_outcome_unknown(house: Any) -> None:
    """Without the type a client takes DEADLINE_EXCEEDED for a deadline of its own."""
    house.edge.call(methods.PUT, wire.PutRequest(key=b"k", value=b"v").SerializeToString())
    while house.edge.waiting():
        house.node.turn(0)
    turn = Turn(0)
    house.node.sole.writes.give_up(turn, Now(0, 1 << 40))
    ((_, code, text, details, _),) = turn.finished
    assert isinstance(from_status(code, text, details), OutcomeUnknown)


def test_iterate_beyond_the_open_ones_is_refused_with_typed_details(house: Any) -> None:
    """The same for streams."""
    house.node.sole.scans = Scans(house.store, house.node.sole.replica, Limits(iterates_open_max=0))
    reply = house.call(methods.ITERATE, b"")
    error = from_status(reply.code, reply.reason, reply.details)
    assert isinstance(error, Overloaded)
    assert error.retry_after_ms == 1_000
