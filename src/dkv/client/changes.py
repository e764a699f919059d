"""The change feed as a reader has it: every change once, in order, over as many streams as it takes.

A place in the feed is a number in a history. Both are sent along when a stream is begun again, so that a server whose
numbers mean something else refuses (HistoryPurged) instead of going on elsewhere.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dkv.model.errors import InvalidRequest
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.replies import MalformedReply

PROGRESS_S_MAX, PROGRESS_S_MIN = 1.0, 0.1
PROGRESS_SHARE = 3
"""Marks of progress a time-out: a server that says nothing for its whole length is not there."""


class ChangeKind(Enum):
    """What was done."""

    PUT = 1
    """The key has this value and expiry: a put, an entry of a put_many, a compare-and-set that took effect."""
    DELETE = 2
    DELETE_RANGE = 3
    """Every key from `key` up to, but not including, `end_key` is gone; None: to the last key."""


class Change(NamedTuple):
    """One committed operation."""

    number: int
    """From 1, without gaps."""
    kind: ChangeKind
    key: bytes
    value: bytes
    """Of a put."""
    expires_at: int | None
    """Of a put: seconds since the Unix epoch; None: never. That a key expires is no change."""
    end_key: bytes | None
    """Of a delete-range."""
    time_ms: int
    """When, in milliseconds since the Unix epoch, by the server's log. Never goes back."""
    history_id: bytes
    """The line of numbers that `number` belongs to."""


class Changes:
    """The place of one reader of changes; a `Cursor`."""

    path = methods.STREAM_CHANGES_PATH

    def __init__(
        self, start: int | None, prefix: bytes, through: int | None, history_id: bytes, timeout_s: float
    ) -> None:
        if (start is not None and start < 1) or (through is not None and through < 1):
            raise InvalidRequest("change numbers begin with 1")
        if start is None and (history_id or through is not None):
            raise InvalidRequest("an end and a history belong to a place to start from")
        self._next, self._prefix, self._through, self._history_id = start, prefix, through, history_id
        self._progress_ms: int = round(1_000 * max(PROGRESS_S_MIN, min(PROGRESS_S_MAX, timeout_s / PROGRESS_SHARE)))
        self.is_done: bool = start is not None and through is not None and start > through

    def request(self) -> bytes:
        """Everything from the reader's place on, or from now on."""
        asked = wire.StreamChangesRequest(keyPrefix=self._prefix, progressIntervalMs=self._progress_ms)
        if self._next is None:
            asked.fromNow = True
        else:
            asked.fromChangeNumber, asked.historyId = self._next, self._history_id
            asked.throughChangeNumber = self._through or 0
        return asked.SerializeToString()

    def take(self, messages: list[bytes]) -> list[Change]:
        """The changes that messages bring; marks of progress bring none."""
        found: list[Change] = []
        for message in messages:
            try:
                reply = wire.StreamChangesResponse.FromString(message)
            except DecodeError as error:
                raise MalformedReply("not a StreamChangesResponse") from error
            self._history_id = reply.historyId
            found += [_change(each, reply.historyId) for each in reply.changes]
            self._next = reply.nextChangeNumber
        return found

    def ended(self) -> None:
        """The reader has everything that it asked for."""
        self.is_done = True


def _change(change: wire.Change, history_id: bytes) -> Change:
    try:
        kind = ChangeKind(change.kind)
    except ValueError as error:
        raise MalformedReply(f"a change of kind {change.kind}, which this client does not know") from error
    return Change(
        change.changeNumber,
        kind,
        change.key,
        change.value,
        change.expireTS or None,
        (change.endKey or None) if kind is ChangeKind.DELETE_RANGE else None,
        change.logTime,
        history_id,
    )
