"""Errors of the model as gRPC statuses with typed details, and back."""

from collections.abc import Callable

from google.protobuf.message import DecodeError, Message

from dkv.model import errors
from dkv.wire import messages

PREFIX = "type.googleapis.com/dkv.v1."
UINT64_MAX = (1 << 64) - 1
_BY_CODE: dict[int, type[errors.DkvError]] = {
    errors.Code.INVALID_ARGUMENT: errors.InvalidRequest,
    errors.Code.CANCELLED: errors.Cancelled,
    errors.Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    errors.Code.UNAVAILABLE: errors.Unavailable,
    errors.Code.DATA_LOSS: errors.Corrupt,
    errors.Code.INTERNAL: errors.InvariantBroken,
}


def _detail(error: errors.DkvError) -> Message | None:
    match error:
        case errors.LimitExceeded():
            return messages.LimitExceeded(
                kind=error.kind, limit=error.limit, actual=min(error.actual, UINT64_MAX), index=error.index
            )
        case errors.HistoryPurged():
            return messages.HistoryPurged(
                requested=error.requested, oldest=error.oldest, latest=error.latest, vBucket=error.vbucket
            )
        case errors.StaleRead():
            return messages.StaleRead(lag=error.lag, leader=error.leader)
        case errors.BeyondHistory():
            return messages.BeyondHistory()
        case errors.OutcomeUnknown():
            return messages.OutcomeUnknown(sessionUnknown=isinstance(error, errors.SessionUnknown))
        case errors.Overloaded():
            return messages.Overloaded(retryAfterMs=error.retry_after_ms)
    return None


def to_details(error: errors.DkvError) -> bytes:
    """The serialised google.rpc.Status for `grpc-status-details-bin`; b"" when there is nothing beyond the text."""
    detail = _detail(error)
    if detail is None:
        return b""
    status = messages.RpcStatus(code=int(error.code), message=str(error))
    status.details.add(type_url=PREFIX + type(detail).__name__, value=detail.SerializeToString())
    return status.SerializeToString()


def _limit_exceeded(text: str, data: bytes) -> errors.DkvError:
    detail = messages.LimitExceeded.FromString(data)
    return errors.LimitExceeded(detail.kind, detail.limit, detail.actual, detail.index)


def _history_purged(text: str, data: bytes) -> errors.DkvError:
    detail = messages.HistoryPurged.FromString(data)
    return errors.HistoryPurged(detail.requested, detail.oldest, detail.latest, detail.vBucket)


def _stale_read(text: str, data: bytes) -> errors.DkvError:
    detail = messages.StaleRead.FromString(data)
    return errors.StaleRead(text, detail.lag, detail.leader)


def _outcome_unknown(text: str, data: bytes) -> errors.DkvError:
    is_forgotten = messages.OutcomeUnknown.FromString(data).sessionUnknown
    return errors.SessionUnknown(text) if is_forgotten else errors.OutcomeUnknown(text)


_READERS: dict[str, Callable[[str, bytes], errors.DkvError]] = {
    "LimitExceeded": _limit_exceeded,
    "HistoryPurged": _history_purged,
    "StaleRead": _stale_read,
    "BeyondHistory": lambda text, data: errors.BeyondHistory(text),
    "OutcomeUnknown": _outcome_unknown,
    "Overloaded": lambda text, data: errors.Overloaded(text, messages.Overloaded.FromString(data).retryAfterMs),
}


def from_status(code: int, text: str, details: bytes = b"") -> errors.DkvError:
    """The typed error a status stands for; a plain DkvError with the code when it carries no type we know."""
    try:
        for detail in messages.RpcStatus.FromString(details).details:
            name = detail.type_url.rpartition("/dkv.v1.")[2]
            if (reader := _READERS.get(name)) is not None:
                return reader(text, detail.value)
    except DecodeError:
        pass
    if code == errors.Code.RESOURCE_EXHAUSTED:
        return errors.Overloaded(text)
    error = _BY_CODE.get(code, errors.DkvError)(text)
    if code in errors.Code.__members__.values():
        error.code = errors.Code(code)
    return error
