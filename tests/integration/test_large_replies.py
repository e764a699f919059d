"""Replies as long as the limits allow, through a real server."""

from collections.abc import Callable
from typing import Any

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
