"""FAST writes: answered once the leader has proposed them (INVARIANTS 24)."""

from typing import Any

import pytest
from tests.unit.node.test_cluster_turns import Member, Trio

from dkv.wire import messages as pb
from dkv.wire.kv import STATUS_OK

FAST = pb.Acknowledgement.FAST
PUT = pb.PutRequest(key=b"k", value=b"v", acknowledgement=FAST)


@pytest.fixture
def trio() -> Trio:
    return Trio(has_fast_writes=True)


def one_turn(member: Member, name: str, request: Any) -> Any:
    """The reply of the turn in which it was asked."""
    call_id = member.call_alone(name, request)
    member.node.turn(0)
    return member.reply(call_id)


def test_fast_put_is_answered_in_its_turn_without_a_change_number_and_then_applied(trio: Trio) -> None:
    """Nothing is on any disk then; a moment later it is on all."""
    reply = one_turn(trio.leader, "Put", PUT)
    assert (reply.code, reply.message) == (0, STATUS_OK)
    trio.run()
    assert {trio.get(member).value for member in trio.members} == {b"v"}
    assert trio.leader.edge.violations == []


def test_fast_delete_is_answered_in_its_turn(trio: Trio) -> None:
    """And takes a number like any."""
    trio.put(trio.leader, b"v")
    reply = one_turn(trio.leader, "Delete", pb.DeleteRequest(key=b"k", acknowledgement=FAST))
    assert (reply.code, reply.message) == (0, STATUS_OK)
    trio.run()
    assert not trio.get(trio.leader).found
    assert trio.put(trio.leader, b"w") == 3


def test_fast_and_other_writes_share_an_entry_and_each_gets_its_answer(trio: Trio) -> None:
    """Those that wait wait."""
    leader = trio.leader
    slow, fast, last = (
        leader.call_alone("Put", pb.PutRequest(key=b"k", value=value, acknowledgement=level))
        for value, level in ((b"1", 0), (b"2", FAST), (b"3", pb.Acknowledgement.ALL))
    )
    leader.node.turn(0)
    assert [leader.reply(call_id) is None for call_id in (slow, fast, last)] == [True, False, True]
    trio.run()
    numbers = [pb.PutResponse.FromString(leader.reply(call_id).message).changeNumber for call_id in (slow, fast, last)]  # type: ignore[union-attr]
    assert numbers == [1, 0, 3]
    assert trio.get(leader).value == b"3"


def test_fast_put_on_a_follower_is_answered_by_the_leader(trio: Trio) -> None:
    """One hop, no quorum."""
    follower = trio.followers[0]
    assert trio.ask(follower, "Put", PUT).message == STATUS_OK


def test_fast_put_of_a_leader_without_a_quorum_is_lost(trio: Trio) -> None:
    """That is what was asked for: it was acknowledged, and another leader knows nothing of it."""
    old = trio.leader
    trio.isolate(old)
    assert one_turn(old, "Put", PUT).code == 0
    trio.run(100)
    trio.wire.cut = set()
    trio.run(100)
    assert not any(trio.get(member).found for member in trio.members)
    assert old.edge.violations == []


def test_fast_put_that_a_node_cannot_propose_is_refused(trio: Trio) -> None:
    """Who does not lead, and knows nobody who does, has accepted nothing."""
    follower = trio.followers[0]
    trio.isolate(follower)
    trio.run(100)
    assert one_turn(follower, "Put", PUT).code == 14


@pytest.mark.parametrize(
    ("name", "request_", "text"),
    [
        ("MultiPut", pb.MultiPutRequest(acknowledgement=FAST), "only Put and Delete can be acknowledged FAST"),
        (
            "CompareAndSet",
            pb.CompareAndSetRequest(key=b"k", acknowledgement=FAST),
            "only Put and Delete can be acknowledged FAST",
        ),
        (
            "Put",
            pb.PutRequest(key=b"k", acknowledgement=FAST, session=b"s", sequence=1),
            "a FAST write has no session: its answer comes before the session is looked at",
        ),
    ],
)
def test_fast_is_refused_where_it_cannot_keep_what_the_request_asks(
    trio: Trio, name: str, request_: Any, text: str
) -> None:
    """The answer would have to say what nobody knows yet."""
    reply = one_turn(trio.leader, name, request_)
    assert (reply.code, reply.reason) == (3, text)


def test_fast_is_refused_unless_the_server_permits_it() -> None:
    """The operator decides, and the text says how."""
    reply = one_turn(Trio().leader, "Put", PUT)
    text = "FAST writes are not permitted here: the server was started without --fast-writes"
    assert (reply.code, reply.reason) == (3, text)
