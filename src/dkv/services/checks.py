"""What a request may contain: texts and codes of COMPATIBILITY 1.3 and 1.6. Each check returns the model's value.

Time on the wire is in seconds, in the model in milliseconds; both saturate at 2^64 - 1, which never comes.
"""

from typing import Protocol

from dkv.model.commands import Session
from dkv.model.errors import InvalidRequest, LimitExceeded
from dkv.model.limits import Limits
from dkv.model.times import NEVER_EXPIRES_TS
from dkv.vbucket.rows import expires_at_of_ts
from dkv.wire.kv import SESSION_BYTES_MAX
from dkv.wire.messages import Acknowledgement, ReadConsistency

CONSISTENCIES = frozenset((ReadConsistency.SEQUENTIAL, ReadConsistency.LINEARIZABLE))
ACKNOWLEDGEMENTS = frozenset((Acknowledgement.QUORUM, Acknowledgement.ALL))


class HasSession(Protocol):
    """The messages with fields 110 to 112."""

    session: bytes
    sequence: int
    lowestOutstanding: int  # noqa: N815 (the name on the wire)


def check_key(key: bytes, limits: Limits, index: int = -1) -> bytes:
    """`key`, if it may be one. `index` is its place in a batch."""
    if not key:
        raise InvalidRequest("Key cannot be empty" if index < 0 else f"Key cannot be empty (entry {index})")
    if len(key) > limits.key_bytes_max:
        raise LimitExceeded("key bytes", limits.key_bytes_max, len(key), index)
    return key


def check_value(value: bytes, limits: Limits, index: int = -1) -> bytes:
    if len(value) > limits.value_bytes_max:
        raise LimitExceeded("value bytes", limits.value_bytes_max, len(value), index)
    return value


def check_payload(payload_bytes: int, limits: Limits) -> None:
    """Keys and values of one request together."""
    if payload_bytes > limits.request_bytes_max:
        raise LimitExceeded("request bytes", limits.request_bytes_max, payload_bytes)


def check_consistency(level: int) -> int:
    if level not in CONSISTENCIES:
        raise InvalidRequest(f"Unknown read consistency level: {level}")
    return level


def check_acknowledgement(level: int) -> int:
    """Who must have the write before it is answered: a majority, or every voter."""
    if level == Acknowledgement.FAST:
        raise InvalidRequest("only Put and Delete can be acknowledged FAST")
    if level not in ACKNOWLEDGEMENTS:
        raise InvalidRequest(f"Unknown acknowledgement: {level}")
    return level


def check_any_acknowledgement(level: int, session: Session | None, *, may_be_fast: bool) -> int:
    """The same of a write that may be answered before anybody has it."""
    if level != Acknowledgement.FAST:
        return check_acknowledgement(level)
    if not may_be_fast:
        raise InvalidRequest("FAST writes are not permitted here: the server was started without --fast-writes")
    if session is not None:
        raise InvalidRequest("a FAST write has no session: its answer comes before the session is looked at")
    return level


def check_session(request: HasSession) -> Session | None:
    """The session a write names; None when it names none."""
    session, sequence, lowest = request.session, request.sequence, request.lowestOutstanding
    if not session:
        if sequence or lowest:
            raise InvalidRequest("a sequence needs a session")
        return None
    if len(session) > SESSION_BYTES_MAX:
        raise LimitExceeded("session bytes", SESSION_BYTES_MAX, len(session))
    if sequence < 1 or lowest > sequence:
        raise InvalidRequest("a sequence starts at 1 and is at least lowestOutstanding")
    return Session(session, sequence, lowest)


def expires_at(expire_ts: int, ttl_ms: int, log_time: int) -> int:
    """Milliseconds since the epoch of an expiry given in seconds, or relative to `log_time`; 0: never."""
    if ttl_ms:
        if expire_ts:
            raise InvalidRequest("expireTS and ttlMs exclude each other")
        return min(log_time + ttl_ms, NEVER_EXPIRES_TS)
    return expires_at_of_ts(expire_ts)
