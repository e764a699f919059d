"""Replies as long as the limits allow, through a real server."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import grpc

MIB = 1 << 20


def test_multi_get_of_twelve_mebibytes_is_answered(client: Any) -> None:
    """The limit of a MultiGet's reply is 16 MiB, also for the transport."""
    client("Put", key=b"large", value=bytes(4 * MIB))
    pairs = client("MultiGet", keys=[b"large"] * 3).keyValues
    assert [len(pair.value) for pair in pairs] == [4 * MIB] * 3


def test_value_above_the_default_limit_is_read_back_where_it_may_be_written(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Who raises the limit of values can read them by Get and by Iterate, not only write them."""
    limits = ("--value-bytes-max", "12M", "--request-bytes-max", "13M")
    client = make_client(make_server(*limits))
    client("Put", key=b"large", value=bytes(12 * MIB))
    assert len(client("Get", key=b"large").value) == 12 * MIB
    assert [len(pair.value) for pair in client.all("Iterate")] == [12 * MIB]


def test_large_gets_at_once_are_answered_or_refused_in_bounded_memory(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Values of 4 MiB asked for 150 times at once do not lie in memory together; who is refused may try again."""
    server = make_server()
    client = make_client(server)
    client("Put", key=b"large", value=bytes(4 * MIB))
    before = server.resident_bytes("VmHWM")
    request = client.wire.message("dkv.serverpb.GetRequest")(key=b"large").SerializeToString()
    get = client.channel.unary_unary("/dkv.serverpb.DKV/Get", response_deserializer=len)
    calls = [get.future(request, timeout=60) for _ in range(150)]
    codes = Counter(call.code() for call in calls)
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes[grpc.StatusCode.OK] >= 40
    assert server.resident_bytes("VmHWM") - before < 1_000 * MIB
    assert len(client("Get", key=b"large").value) == 4 * MIB
