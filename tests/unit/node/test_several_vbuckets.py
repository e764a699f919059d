"""A database of several vBuckets: every call finds its own, and what concerns several is answered when all have."""

from typing import Any

import pytest
from tests.unit.node.test_cluster_turns import Member, Trio

from dkv.model.errors import Code
from dkv.model.limits import Limits
from dkv.node.scattering import Scattering
from dkv.services.turn import Turn
from dkv.vbucket.routing import vbucket_of
from dkv.wire import messages as pb
from dkv.wire import methods

COUNT = 4
KEYS = [b"key %d" % number for number in range(20)]


@pytest.fixture
def trio() -> Trio:
    """Different nodes may lead different vBuckets."""
    trio = Trio(COUNT)
    trio.run(100)
    return trio


def fill(trio: Trio) -> None:
    for at, key in enumerate(KEYS):
        reply = trio.ask(trio.members[at % 3], "Put", pb.PutRequest(key=key, value=b"of " + key))
        assert reply.code == 0, reply.reason
    trio.run(20)


def iterate(trio: Trio, member: Member, request: pb.IterateRequest) -> list[bytes]:
    reply = trio.ask(member, "Iterate", request)
    assert reply.code == 0, reply.reason
    return [pb.IterateResponse.FromString(item).key for item in reply.items]


@pytest.mark.parametrize(
    ("key", "shards"), [(b"foo", (0, 1, 0, 9)), (b"hello", (0, 1, 2, 7)), (b"K_CLI_1", (0, 1, 1, 9))]
)
def test_vbucket_of_a_key_is_the_shard_of_the_originals_clients(key: bytes, shards: tuple[int, ...]) -> None:
    """Golden values of COMPATIBILITY 6, counted from vBucket 1."""
    assert tuple(vbucket_of(key, count) - 1 for count in (1, 2, 3, 10)) == shards


def test_every_key_is_found_from_every_node_in_its_own_vbucket(trio: Trio) -> None:
    """Written through any node, read on any node."""
    fill(trio)
    for member in trio.members:
        for key in KEYS:
            found = pb.GetResponse.FromString(trio.ask(member, "Get", pb.GetRequest(key=key)).message)
            assert found.value == b"of " + key
        numbers = [each.replica.change_number for each in member.node.vbuckets.values()]
        assert sum(numbers) == len(KEYS)
        assert all(numbers)


@pytest.mark.parametrize("level", [pb.ReadConsistency.SEQUENTIAL, pb.ReadConsistency.LINEARIZABLE])
def test_multi_get_over_several_vbuckets_keeps_the_order_of_the_request(trio: Trio, level: int) -> None:
    """Duplicates twice, absent ones left out."""
    fill(trio)
    keys = [*reversed(KEYS), b"absent", KEYS[0]]
    reply = trio.ask(trio.members[1], "MultiGet", pb.MultiGetRequest(keys=keys, readConsistency=level))
    found = pb.MultiGetResponse.FromString(reply.message)
    assert [pair.key for pair in found.keyValues] == [key for key in keys if key != b"absent"]
    assert found.servedConsistency == level


@pytest.mark.parametrize("level", [pb.ReadConsistency.SEQUENTIAL, pb.ReadConsistency.LINEARIZABLE])
def test_iterate_over_several_vbuckets_is_in_byte_order(trio: Trio, level: int) -> None:
    """Forwards, backwards, with a limit and a prefix."""
    fill(trio)
    member = trio.members[2]
    assert iterate(trio, member, pb.IterateRequest(readConsistency=level)) == sorted(KEYS)
    backwards = pb.IterateRequest(readConsistency=level, reverse=True, limit=3)
    assert iterate(trio, member, backwards) == sorted(KEYS)[:-4:-1]
    prefixed = pb.IterateRequest(readConsistency=level, keyPrefix=b"key 1")
    assert iterate(trio, member, prefixed) == [key for key in sorted(KEYS) if key.startswith(b"key 1")]


def test_iterate_with_a_start_that_lacks_the_prefix_is_told_in_the_stream(trio: Trio) -> None:
    """As in one vBucket."""
    reply = trio.ask(trio.members[0], "Iterate", pb.IterateRequest(keyPrefix=b"a", startKey=b"b"))
    assert (reply.code, pb.IterateResponse.FromString(reply.items[0]).status.code) == (0, -1)


def test_multi_put_is_atomic_in_one_vbucket_and_refused_over_several(trio: Trio) -> None:
    """It says so, and nothing is written."""
    together = [key for key in KEYS if vbucket_of(key, COUNT) == vbucket_of(KEYS[0], COUNT)]
    puts = [pb.PutRequest(key=key, value=b"v") for key in together]
    assert trio.ask(trio.members[0], "MultiPut", pb.MultiPutRequest(putRequest=puts)).code == 0
    trio.run(20)
    apart = [pb.PutRequest(key=key, value=b"w") for key in KEYS]
    reply = trio.ask(trio.members[0], "MultiPut", pb.MultiPutRequest(putRequest=apart))
    text = "the keys of a MultiPut must lie in one vBucket, as it is atomic; these lie in 4"
    assert (reply.code, reply.reason) == (3, text)
    assert iterate(trio, trio.members[1], pb.IterateRequest()) == sorted(together)


def test_vbucket_without_a_leader_holds_up_its_own_keys_only(trio: Trio) -> None:
    """The others go on, also when calls for both arrive together."""
    fill(trio)
    member = trio.members[0]
    lost = vbucket_of(KEYS[0], COUNT)
    for each in trio.members:
        each.node.vbuckets[lost].step = lambda node, message: None  # type: ignore[method-assign]
    trio.run(60)
    other = next(key for key in KEYS if vbucket_of(key, COUNT) != lost)
    level = pb.ReadConsistency.LINEARIZABLE
    first = member.call("Get", pb.GetRequest(key=KEYS[0], readConsistency=level))
    assert trio.ask(member, "Get", pb.GetRequest(key=other, readConsistency=level)).code == 0
    assert member.reply(first) is None


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ((Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED), Code.DEADLINE_EXCEEDED),
        ((Code.UNAVAILABLE, Code.OK), Code.DEADLINE_EXCEEDED),
        ((Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED), Code.UNAVAILABLE),
        ((Code.OK, Code.OK), Code.OK),
    ],
)
def test_delete_range_is_refused_only_where_every_part_was(codes: tuple[Code, ...], code: Code) -> None:
    """A part that is done, or that may be, makes the outcome of the whole unknown, whichever was told first."""
    scattering = Scattering([methods.DELETE_RANGE_PATH], [1, 2], Limits())
    turns = {vbucket: Turn(0) for vbucket in (1, 2)}
    message = pb.DeleteRangeRequest(start=b"k", end=b"l").SerializeToString()
    parts = [batch[1][0] for _, batch in scattering.route([(0, [7], [message])], turns, 1)]
    for part, each in zip(parts, codes, strict=True):
        if each is Code.OK:
            turns[1].reply_ids.append(part)
            turns[1].replies.append(b"")
        else:
            turns[1].finished.append((part, each, "why", b"", -1))
    scattering.collect(turns[1])
    told = dict.fromkeys(turns[1].reply_ids, Code.OK) | {each[0]: each[1] for each in turns[1].finished}
    assert told == {7: code}


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("MultiGet", pb.MultiGetRequest(keys=KEYS, readConsistency=pb.ReadConsistency.LINEARIZABLE)),
        ("Iterate", pb.IterateRequest(readConsistency=pb.ReadConsistency.LINEARIZABLE)),
    ],
)
def test_caller_who_leaves_takes_the_parts_of_his_call_along(trio: Trio, name: str, request_: Any) -> None:
    """What is answered later has nobody to go to: the edge never hears of the ids of parts."""
    member = trio.members[0]
    call_id = member.call(name, request_)
    while member.edge.waiting():
        member.step()
    assert member.reply(call_id) is None
    member.edge.leave(call_id)
    trio.run(30)
    assert member.edge.violations == []


def test_limits_hold_for_a_multi_get_and_not_for_each_of_its_parts(trio: Trio) -> None:
    """Of keys, and of the reply."""
    limits = Limits()
    member = trio.members[0]
    reply = trio.ask(member, "MultiGet", pb.MultiGetRequest(keys=KEYS * (limits.multi_get_keys_max // len(KEYS) + 1)))
    assert (reply.code, "keys is" in reply.reason) == (3, True)
    value = bytes(limits.reply_bytes_max // 6)
    for key in KEYS[:8]:
        assert trio.ask(member, "Put", pb.PutRequest(key=key, value=value)).code == 0
    trio.run(20)
    reply = trio.ask(member, "MultiGet", pb.MultiGetRequest(keys=KEYS[:8]))
    assert (reply.code, "reply bytes is" in reply.reason) == (3, True)
