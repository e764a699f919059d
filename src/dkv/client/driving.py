"""What both drivers of operations need, whether threads wait or tasks: names, times, and how things end."""

import os
from collections.abc import Callable
from typing import TypeVar

from dkv.client.answers import Answer
from dkv.client.exchange import Exchange
from dkv.model.errors import BadReply, DeadlineExceeded, DkvError
from dkv.wire.replies import MalformedReply

T = TypeVar("T")
U = TypeVar("U")
SESSION_BYTES = 16


def session_name() -> bytes:
    """A name that no other client has."""
    return os.urandom(SESSION_BYTES)


def failed_stream(end: tuple[int, str, bytes, int]) -> Answer:
    """The end of a stream as that of a call."""
    code, text, details, fate = end
    return Answer(code, text, details, b"", fate)


def whole(take: Callable[[U], T], messages: U) -> T:
    """What `take` makes of messages; BadReply when they are none."""
    try:
        return take(messages)
    except MalformedReply as garbage:
        raise bad_reply(garbage, False) from garbage


def bad_reply(garbage: MalformedReply, is_write: bool) -> BadReply:
    """Whoever answers a write with garbage has seen it, and may have done it."""
    error = BadReply(f"the reply is not one: {garbage}")
    error.may_have_happened = is_write
    return error


def out_of_time(timeout_s: float, exchange: Exchange | None) -> DkvError:
    """What a call that can not be tried any more ends with: the last reason says more than that time is over."""
    if exchange is not None and exchange.last is not None:
        return exchange.final(exchange.last)
    return DeadlineExceeded(f"no time is left of {timeout_s:g} s")


def to_ms(seconds: float) -> int:
    """At least one: 0 would be over before it began."""
    return max(1, int(seconds * 1_000))
