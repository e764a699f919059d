"""A MultiGet whose keys name far more than its reply may hold."""

from collections.abc import Sequence
from typing import Any

import pytest

from dkv.model.errors import Code
from dkv.wire import messages as wire
from dkv.wire import methods


def test_multi_get_beyond_the_reply_limit_stops_reading_there(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of a few kilobytes that names one large value again and again does not load it each time."""
    put = wire.PutRequest(key=b"k", value=bytes(1 << 20))
    assert house.call(methods.PUT, put.SerializeToString()).code == Code.OK
    read: list[int] = []
    get_many = house.store.get_many

    def counted(keys: Sequence[bytes]) -> list[bytes | None]:
        read.append(len(keys))
        rows: list[bytes | None] = get_many(keys)
        return rows

    monkeypatch.setattr(house.store, "get_many", counted)
    reply = house.call(methods.MULTI_GET, wire.MultiGetRequest(keys=[b"k"] * 10_000).SerializeToString())
    assert (reply.code, reply.reason.partition(" is ")[0]) == (Code.INVALID_ARGUMENT, "reply bytes")
    assert sum(read) < 100


def test_multi_get_of_many_keys_answers_all_in_order(house: Any) -> None:
    """Reading in parts loses no key, keeps the order and repeats what is asked twice."""
    puts = [wire.PutRequest(key=b"%03d" % number, value=b"v%d" % number) for number in range(0, 200, 2)]
    house.call(methods.MULTI_PUT, wire.MultiPutRequest(putRequest=puts).SerializeToString())
    asked = [b"%03d" % number for number in [*range(199, -1, -1), 4, 4]]
    reply = house.call(methods.MULTI_GET, wire.MultiGetRequest(keys=asked).SerializeToString())
    found = [pair.key for pair in wire.MultiGetResponse.FromString(reply.message).keyValues]
    assert found == [key for key in asked if int(key) % 2 == 0]
