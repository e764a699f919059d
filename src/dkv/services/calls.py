"""What all services do with a call that is wrong, and how a batch is parsed one by one."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError

from dkv.model.errors import DkvError, InvalidRequest
from dkv.services.turn import Turn
from dkv.wire.errors import to_details

Accept = Callable[[Sequence[int], Sequence[bytes], Turn], None]
"""Takes the calls of one method: (call ids, their messages, the turn to fill)."""
MALFORMED = InvalidRequest("malformed request")
Parsed = TypeVar("Parsed")


def fail(turn: Turn, call_id: int, error: DkvError) -> None:
    """Ends a call with the status of `error`, typed details included."""
    turn.fail(call_id, error, to_details(error))


def parse_each(
    parse: Callable[[bytes], Parsed], call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn
) -> tuple[list[int], list[Parsed]]:
    """The calls that are right, in order: (their ids, what `parse` made of them). The others are ended."""
    ids: list[int] = []
    found: list[Parsed] = []
    for call_id, message in zip(call_ids, messages, strict=True):
        try:
            found.append(parse(message))
        except DecodeError:
            fail(turn, call_id, MALFORMED)
        except DkvError as error:
            fail(turn, call_id, error)
        else:
            ids.append(call_id)
    return ids, found
