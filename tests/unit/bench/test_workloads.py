"""Which calls a benchmark makes, with which keys: those of the original's, byte for byte."""

import pytest

from dkv.bench.workloads import BadShape, Shape, UnknownName, workload
from dkv.wire import messages as pb
from dkv.wire import methods


def chance(count: int) -> bytes:
    return bytes(number % 251 for number in range(count))


def test_insert_puts_new_keys_with_values_of_the_size() -> None:
    """Numbered from 0; no two calls in a row have the same value."""
    asked = workload("Insert", Shape(value_bytes=7), chance)
    puts = [pb.PutRequest.FromString(asked.request(number)) for number in (0, 1, 12)]
    assert [put.key for put in puts] == [b"NewKey0", b"NewKey1", b"NewKey12"]
    assert {len(put.value) for put in puts} == {7}
    assert len({put.value for put in puts}) == 3
    assert (asked.path, asked.title) == (methods.PUT_PATH, "API: dkv.serverpb.DKV.Put, Value Size: 7 bytes")


def test_insert_without_bytes_puts_empty_values() -> None:
    """Which are values."""
    put = pb.PutRequest.FromString(workload("insert", Shape(value_bytes=0), chance).request(3))
    assert (put.key, put.value) == (b"NewKey3", b"")


def test_update_goes_round_in_the_hot_keys() -> None:
    """Its title says how many they are."""
    asked = workload("update", Shape(hot_keys=3), chance)
    keys = [pb.PutRequest.FromString(asked.request(number)).key for number in range(4)]
    assert keys == [b"ExistingKey0", b"ExistingKey1", b"ExistingKey2", b"ExistingKey0"]
    assert asked.title == "API: dkv.serverpb.DKV.Put, Value Size: 10 bytes, Hot Keys: 3"
    assert asked.found is None


def test_get_asks_for_the_hot_keys_and_knows_what_was_found() -> None:
    """An empty value is a value."""
    asked = workload(" GET ", Shape(hot_keys=2), chance)
    assert [pb.GetRequest.FromString(asked.request(number)).key for number in (0, 3)] == [
        b"ExistingKey0",
        b"ExistingKey1",
    ]
    assert (asked.path, asked.title) == (methods.GET_PATH, "API: dkv.serverpb.DKV.Get, Hot Keys: 2")
    assert asked.found is not None
    replies = [pb.GetResponse(value=b"v", found=True), pb.GetResponse(found=True), pb.GetResponse()]
    assert [asked.found(each.SerializeToString()) for each in replies] == [1, 1, 0]


def test_get_all_asks_for_groups_one_behind_the_other() -> None:
    """Behind the last hot key comes the first; what is found is counted by pairs."""
    asked = workload("GetAll", Shape(hot_keys=5, batch_keys=3), chance)
    keys = [list(pb.MultiGetRequest.FromString(asked.request(number)).keys) for number in (0, 1)]
    assert keys == [
        [b"ExistingKey0", b"ExistingKey1", b"ExistingKey2"],
        [b"ExistingKey3", b"ExistingKey4", b"ExistingKey0"],
    ]
    assert asked.title == "API: dkv.serverpb.DKV.MultiGet, Hot Keys: 5, Batch Size: 3"
    assert asked.found is not None
    reply = pb.MultiGetResponse(keyValues=[pb.KVPair(key=b"a", value=b"1"), pb.KVPair(key=b"b")])
    assert asked.found(reply.SerializeToString()) == 2


def test_batch_beyond_the_hot_keys_is_refused() -> None:
    """In the original's words."""
    with pytest.raises(BadShape) as refusal:
        workload("GetAll", Shape(hot_keys=5, batch_keys=6), chance)
    assert str(refusal.value) == (
        "Batch size must be less than or equal to the number of hot keys. Given batchSize: 6, numHotKeys: 5"
    )


@pytest.mark.parametrize("name", ["", "Delete", "Get All"])
def test_benchmark_nobody_knows_is_refused(name: str) -> None:
    """With the name as it was given."""
    with pytest.raises(UnknownName, match=f"^Unknown or invalid benchmark name given: '{name}'$"):
        workload(name, Shape(), chance)
