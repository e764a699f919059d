"""Whatever is sent, services answer or refuse it: they never raise, and no call is lost."""

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.services.test_cluster import OWN, House

from dkv.model.commands import Outcome
from dkv.model.limits import Limits
from dkv.services.cluster_changes import TIMEOUT_MS
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.services.turn import Turn, View
from dkv.wire import messages as wire
from dkv.wire import methods

LIMITS = Limits(value_bytes_max=50, request_bytes_max=100, reply_bytes_max=60)
HOUSE = House()
SERVICES = Services(LIMITS, NodeIdentity(role="master"), OWN)
assert SERVICES.cluster is not None
SERVICES.cluster.observe(HOUSE)
U64 = st.integers(0, 2**64 - 1)
SHORT = st.binary(max_size=60)
NEAR_MISSES = st.one_of(
    st.builds(
        lambda **fields: wire.PutRequest(**fields).SerializeToString(),
        key=SHORT,
        value=SHORT,
        expireTS=U64,
        ttlMs=U64,
        session=SHORT,
        sequence=U64,
    ),
    st.builds(
        lambda **fields: wire.GetRequest(**fields).SerializeToString(),
        key=SHORT,
        readConsistency=st.integers(-1, 2),
        minChangeNumber=U64,
    ),
)
MESSAGES = st.lists(st.one_of(st.binary(max_size=200), NEAR_MISSES), min_size=1, max_size=6)
ROWS = [None, b"\x00", b"\x00v", b"\x01" + (5).to_bytes(8, "big") + b"v", b"\x01" + b"\xff" * 8]


@given(st.integers(0, len(methods.METHODS) - 1), MESSAGES, st.data())
def test_any_bytes_to_any_method_are_answered_or_refused(
    method: int, messages: list[bytes], data: st.DataObject
) -> None:
    """Every call ends up exactly once in replies, streams, scans, jobs, or with a status."""
    turn = Turn(10)
    call_ids = list(range(1, len(messages) + 1))
    SERVICES.accept(method, call_ids, messages, turn)
    for each in turn.reads:
        rows = [data.draw(st.sampled_from(ROWS)) for _ in each.keys]
        each.answer(turn, [rows[:1], rows[1:]], View(10, 20, b"h" * 16))
    for call_id, reply in zip(turn.command_calls, turn.command_answers, strict=True):
        reply(turn, [call_id], [Outcome(True, 1)], 10)
    HOUSE.now_ms += TIMEOUT_MS + 1
    SERVICES.cluster.beat(turn, HOUSE.now_ms)
    SERVICES.forget(call_ids)
    ended = turn.reply_ids + [each[0] for each in turn.finished]
    ended += [each.call_id for each in (*turn.scans, *turn.histories, *turn.jobs)]
    streamed = {call_id for call_id, _ in turn.items} - set(ended)
    assert sorted(ended + list(streamed)) == call_ids
    assert len(turn.replies) == len(turn.reply_ids)


@given(st.text(max_size=30), st.text(max_size=60))
def test_any_http_request_is_answered(method: str, target: str) -> None:
    """No target raises."""
    turn = Turn(0)
    SERVICES.accept_http([(1, method, target, b"")], turn)
    assert turn.http[0][1] in (200, 404, 405)
