"""One tree of errors, sorted by what the caller should do next.

Each class carries the gRPC code it travels as and whether the operation may have happened. A missing key and a failed
compare are outcomes, not errors.
"""

from enum import IntEnum
from typing import Self


class Code(IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class DkvError(Exception):
    """The root; clients know it as `dkv.Error`. `code` and `may_have_happened` are facts of the class, unless a client
    knows more about one of its calls."""

    code = Code.UNKNOWN
    may_have_happened = False


class InvalidRequest(DkvError):
    """Fix the request."""

    code = Code.INVALID_ARGUMENT


class LimitExceeded(InvalidRequest):
    """Something was larger than it may be. `index` is the entry of a batch, or -1."""

    def __init__(self, kind: str, limit: int, actual: int, index: int = -1) -> None:
        where = f" (entry {index})" if index >= 0 else ""
        super().__init__(f"{kind} is {actual}, the limit is {limit}{where}")
        self.kind: str = kind
        self.limit: int = limit
        self.actual: int = actual
        self.index: int = index


class PathNotFound(InvalidRequest):
    """A path on the server that has to exist does not."""

    code = Code.NOT_FOUND


class Busy(DkvError):
    """Work that goes one at a time is under way: ask again when it is over."""

    code = Code.ABORTED


class BackupFailed(DkvError):
    """A backup or restore could not be done; nothing was replaced. The text is the reason as the system gave it."""


class BackupDamaged(BackupFailed):
    """Bytes of a backup are not what was written: use another one. Nothing was replaced."""

    code = Code.DATA_LOSS


class Unavailable(DkvError, ConnectionError):
    """Wait and retry; certainly not proposed."""

    code = Code.UNAVAILABLE


class NoLeader(Unavailable):
    """The vBucket has no leader now, or this node has not caught up since its start."""


class ShuttingDown(Unavailable):
    """The server takes no new work."""


class Overloaded(DkvError):
    """Back off for `retry_after_ms`."""

    code = Code.RESOURCE_EXHAUSTED

    def __init__(self, why: str, retry_after_ms: int = 100) -> None:
        super().__init__(why)
        self.retry_after_ms = retry_after_ms


class DeadlineExceeded(DkvError, TimeoutError):
    """A read ran out of time, or a write before it left."""

    code = Code.DEADLINE_EXCEEDED


class Cancelled(DkvError):
    """The caller does not want the answer any more, or has closed the client."""

    code = Code.CANCELLED


class BadReply(DkvError):
    """What came back is not what this protocol says: not a server of ours, or one that is broken."""

    code = Code.INTERNAL


class OutcomeUnknown(DkvError):
    """A write that may have happened: retry only with the same session and sequence."""

    code = Code.DEADLINE_EXCEEDED
    may_have_happened = True


class SessionUnknown(OutcomeUnknown):
    """The server has forgotten the session. This attempt was not applied; what became of earlier ones is not known."""


class WriteTimedOut(OutcomeUnknown, DeadlineExceeded):
    """A write ran out of time behind its request."""


class ConnectionLost(OutcomeUnknown, ConnectionError):
    """The connection broke behind a write's request, and no retry settled what became of it."""

    code = Code.UNAVAILABLE


class StaleRead(DkvError):
    """Accept weaker, or ask another node. `lag` in changes; `leader`: where they are, an address; empty: not known."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, why: str, lag: int, leader: str = "") -> None:
        super().__init__(why)
        self.lag = lag
        self.leader = leader

    @classmethod
    def behind(cls, change_number: int, latest: int, leader: str = "") -> Self:
        """A change that a reader wants to see is not applied yet, only those up to `latest`."""
        text = f"change {change_number} is not applied here yet, the latest is {latest}"
        return cls(f"{text}; {leader} leads" if leader else text, change_number - latest, leader)


class HistoryPurged(DkvError):
    """Bootstrap, then resume. `vbucket`: whose numbers these are; 0: there is only one."""

    code = Code.OUT_OF_RANGE

    def __init__(self, requested: int, oldest: int, latest: int, vbucket: int = 0) -> None:
        where = f" in vBucket {vbucket}" if vbucket else ""
        super().__init__(f"changes from {requested} are no longer available{where}, oldest is {oldest}")
        self.requested: int = requested
        self.oldest: int = oldest
        self.latest: int = latest
        self.vbucket: int = vbucket


class BeyondHistory(DkvError):
    """A point in time that has not come yet, or lies before the backup that was named: choose another."""

    code = Code.FAILED_PRECONDITION


class FolderRefused(DkvError):
    """The folder is not ours to open: in use, foreign, newer, read-only. Nothing in it was changed."""

    code = Code.FAILED_PRECONDITION


class ClusterRefused(DkvError):
    """This node may not start in that cluster: an operator must look. Nothing was changed."""

    code = Code.FAILED_PRECONDITION


class StorageFailed(DkvError):
    """A write or sync of the log or engine failed. The process ends; it is never retried (INVARIANTS 6)."""

    code = Code.UNAVAILABLE
    may_have_happened = True


class Corrupt(StorageFailed):
    """Bytes on disk are not what was written."""

    code = Code.DATA_LOSS


class InvariantBroken(DkvError):
    """Our bug: stop the node, keep the evidence."""

    code = Code.INTERNAL
    may_have_happened = True
