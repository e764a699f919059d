"""A hundred iterates on one turn made every other call wait for a hundred slices: more than a second."""

from typing import Any

import pytest

from dkv.node.scans import SLICES_PER_TURN_MAX
from dkv.ports.clock import Now
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods


def test_iterates_share_the_slices_of_a_turn_and_all_come_to_their_end(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn feeds more than a few readers, the one who has waited longest first, and each gets everything."""
    puts = [wire.PutRequest(key=b"%04d" % number, value=b"v") for number in range(5_000)]
    house.call(methods.MULTI_PUT, wire.MultiPutRequest(putRequest=puts).SerializeToString())
    fed: list[set[int]] = []
    feed = house.node.sole.scans.feed

    def note(turn: Turn, now: Now) -> None:
        feed(turn, now)
        fed.append({call_id for call_id, _ in turn.items})

    monkeypatch.setattr(house.node.sole.scans, "feed", note)
    calls = [house.edge.call(methods.ITERATE, b"") for _ in range(20)]
    replies = []
    while len(replies) < len(calls):
        house.node.turn(0)
        replies += house.edge.take_replies()
    assert max(map(len, fed)) == SLICES_PER_TURN_MAX
    assert set(calls) == set().union(*fed)
    assert {(reply.code, len(reply.items)) for reply in replies} == {(0, 5_000)}
