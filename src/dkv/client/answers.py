"""What came back from a call that did not go well, as a typed error that says whether the call may have happened.

Two things speak of a failure: the server, in a status of its own, and this side, about a connection or a clock. The
native client tells them apart (`Fate`), because only the server's word proves that a write was refused.
"""

from enum import IntEnum
from typing import NamedTuple

from dkv.model.errors import (
    BadReply,
    Cancelled,
    Code,
    ConnectionLost,
    DeadlineExceeded,
    DkvError,
    InvalidRequest,
    OutcomeUnknown,
    Unavailable,
    WriteTimedOut,
)
from dkv.wire.errors import from_status


class Fate(IntEnum):
    """As the native client says it."""

    ANSWERED = 0
    """The status is the server's."""
    NOT_SENT = 1
    """The request never left this process."""
    LOST = 2
    """The status is ours; the server may have the request."""


class Answer(NamedTuple):
    """How one attempt of a call ended."""

    code: int
    text: str
    details: bytes
    reply: bytes
    fate: int


_UNSURE = frozenset((Code.CANCELLED, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.INTERNAL, Code.DATA_LOSS))
"""A server that says one of these may have done what it was asked for."""


def error_of(answer: Answer) -> DkvError:
    """The error that an answer with a code other than OK stands for."""
    if answer.fate == Fate.ANSWERED:
        return from_status(answer.code, answer.text, answer.details)
    match answer.code:
        case Code.UNAVAILABLE:
            return Unavailable(answer.text)
        case Code.DEADLINE_EXCEEDED:
            return DeadlineExceeded(answer.text)
        case Code.CANCELLED:
            return Cancelled(answer.text)
        case Code.RESOURCE_EXHAUSTED:
            return InvalidRequest(answer.text)  # a reply larger than what this side takes
    return BadReply(answer.text)


def may_have_arrived(answer: Answer, error: DkvError) -> bool:
    """Whether a write that was answered so may take effect, now or later."""
    if answer.fate == Fate.ANSWERED:
        return error.may_have_happened or answer.code in _UNSURE
    return answer.fate == Fate.LOST


def of_write(error: DkvError) -> DkvError:
    """The error of a write of which some attempt may have arrived."""
    found: DkvError
    match error:
        case OutcomeUnknown():
            return error
        case DeadlineExceeded():
            found = WriteTimedOut(f"{error}; the write may have happened")
        case Unavailable():
            found = ConnectionLost(f"{error}; the write may have happened")
        case _:
            error.may_have_happened = True
            return error
    found.__cause__ = error
    return found
