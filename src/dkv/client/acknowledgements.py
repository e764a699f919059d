"""Who has a write before it is answered, as words of a caller and as fields of a request.

| acknowledgement | the write is answered once | tried again |
|---|---|---|
| quorum | a majority has it on disk | while there is time: it applies once |
| all | every voter has it on disk; one that is away makes the outcome unknown, though it is committed | the same |
| fast | the leader has accepted it: no disk has it, and it may be lost | never |

A fast write has no session, as its answer comes before a session could be looked at; so nobody could tell a second
attempt from a second write. Only puts and deletes can be fast, and only where the server permits it.
"""

from typing import Literal

from dkv.client.exchange import Call
from dkv.model.errors import InvalidRequest
from dkv.wire.requests import ACKNOWLEDGED_BY_ALL, ACKNOWLEDGED_FAST

OnDisk = Literal["quorum", "all"]
Acknowledgement = Literal["quorum", "all", "fast"]
ACKNOWLEDGEMENTS: tuple[Acknowledgement, ...] = ("quorum", "all", "fast")


def write(
    path: str, key: bytes, request: bytes, acknowledgement: Acknowledgement, *, may_be_fast: bool = False
) -> Call:
    """The call of a write. `key`: as of `Call`. Raises InvalidRequest."""
    match acknowledgement:
        case "quorum":
            return Call(path, request, True, key=key)
        case "all":
            return Call(path, request + ACKNOWLEDGED_BY_ALL, True, key=key)
        case "fast" if may_be_fast:
            return Call(path, request + ACKNOWLEDGED_FAST, is_fast=True)
        case "fast":
            raise InvalidRequest("only put, without if_absent, and delete can be acknowledged fast")
    raise InvalidRequest(f"an acknowledgement is {', '.join(ACKNOWLEDGEMENTS)}, not {acknowledgement!r}")
