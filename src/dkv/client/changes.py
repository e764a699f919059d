"""The change feed as a reader has it: every change once, in order, over as many streams as it takes.

A place in the feed is a number in a history, one in each vBucket. They are sent along when a stream is begun again, so
that a server whose numbers mean something else refuses (HistoryPurged) instead of going on elsewhere. A token is the
places of one reader as of the last change that it was handed: the request that goes on behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
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
    vbucket: int = 1
    """The vBucket that `number` is of."""


class Place(NamedTuple):
    """How far a reader is in one vBucket: behind everything below `next_number`."""

    vbucket: int
    next_number: int
    history_id: bytes


class Places:
    """Where a reader is, in all vBuckets that it follows."""

    def __init__(self, places: Iterable[Place] = ()) -> None:
        self._by_vbucket = {place.vbucket: place for place in places}

    def __iter__(self) -> Iterator[Place]:
        return iter(self._by_vbucket.values())

    def __len__(self) -> int:
        return len(self._by_vbucket)

    def passed(self, item: Change | Place) -> None:
        """The reader has this change, or is at this place."""
        if isinstance(item, Change):
            item = Place(item.vbucket, item.number + 1, item.history_id)
        self._by_vbucket[item.vbucket] = item


class Changes:
    """The places of one reader of changes; a `Cursor`."""

    path = methods.STREAM_CHANGES_PATH

    def __init__(
        self,
        start: int | None,
        prefix: bytes,
        through: int | None,
        history_id: bytes,
        timeout_s: float,
        *,
        vbucket: int | None = None,
        token: bytes = b"",
    ) -> None:
        if (start is not None and start < 1) or (through is not None and through < 1):
            raise InvalidRequest("change numbers begin with 1")
        if vbucket is not None and vbucket < 1:
            raise InvalidRequest("vBuckets are numbered from 1")
        if token and (start is not None or history_id or vbucket is not None):
            raise InvalidRequest("a token says where to go on, in which vBuckets and of which history")
        if start is None and not token and (history_id or through is not None):
            raise InvalidRequest("an end and a history belong to a place to start from")
        self._start, self._prefix, self._through, self._history_id = start, prefix, through, history_id
        self._vbucket, places = read_token(token) if token else (vbucket or 0, [])
        self._places, self._handed = Places(places), Places(places)
        self._progress_ms: int = round(1_000 * max(PROGRESS_S_MIN, min(PROGRESS_S_MAX, timeout_s / PROGRESS_SHARE)))
        first = places[0].next_number if places else start
        self.is_done: bool = first is not None and through is not None and first > through

    def request(self) -> bytes:
        """Everything from the reader's places on, or from now on."""
        asked = wire.StreamChangesRequest(
            keyPrefix=self._prefix, progressIntervalMs=self._progress_ms, vBucket=self._vbucket
        )
        places = list(self._places)
        if len(places) > 1:
            asked.positions.extend(map(_position, places))
        elif places:  # in words that releases know, too, which follow one vBucket only
            asked.fromChangeNumber, asked.historyId = places[0].next_number, places[0].history_id
        elif self._start is None:
            asked.fromNow = True
        else:
            asked.fromChangeNumber, asked.historyId = self._start, self._history_id
        if not asked.fromNow:
            asked.throughChangeNumber = self._through or 0
        return asked.SerializeToString()

    def take(self, messages: list[bytes]) -> list[Change | Place]:
        """The changes that messages bring, and behind those of each message where the reader is then."""
        found: list[Change | Place] = []
        for message in messages:
            try:
                reply = wire.StreamChangesResponse.FromString(message)
            except DecodeError as error:
                raise MalformedReply("not a StreamChangesResponse") from error
            if not reply.vBucket and not reply.positions and len(self._places) > 1:
                raise MalformedReply("changes of which it is not said of what vBucket they are")
            vbucket = reply.vBucket or 1  # which is all that older releases follow
            found += [_change(each, reply.historyId, vbucket) for each in reply.changes]
            places = [_place(each) for each in reply.positions]
            if not places:
                places = [Place(vbucket, reply.nextChangeNumber, reply.historyId)]
            for place in places:
                self._places.passed(place)
            found += places
        return found

    def handed(self, item: Change | Place) -> Change | None:
        """This goes to the reader now, if it is a change."""
        self._handed.passed(item)
        return item if isinstance(item, Change) else None

    def token(self) -> bytes:
        """Where the reader goes on behind what it was handed. Empty while it has heard nothing."""
        if not self._handed:
            return b""
        places = map(_position, self._handed)
        return wire.StreamChangesRequest(vBucket=self._vbucket, positions=places).SerializeToString()

    @property
    def follows_several(self) -> bool:
        """Several vBuckets: the number of a change says nothing without its vBucket. Known before the first change."""
        return len(self._places) > 1

    def ended(self) -> None:
        """The reader has everything that it asked for."""
        self.is_done = True


class ChangeFeed(Iterator[Change]):
    """The changes of a blocking client, as an iterator that knows where it is."""

    def __init__(self, cursor: Changes, items: Generator[Change | Place, None, None]) -> None:
        self._cursor, self._items = cursor, items

    @property
    def token(self) -> bytes:
        """To go on behind the last change that was handed out: `changes(token=...)`. Empty before the first, as long as
        it is not known where that will be."""
        return self._cursor.token()

    @property
    def follows_several(self) -> bool:
        """Whether numbers are of several vBuckets. Known with the first change."""
        return self._cursor.follows_several

    def __next__(self) -> Change:
        while True:
            if (change := self._cursor.handed(next(self._items))) is not None:
                return change

    def close(self) -> None:
        """End the stream."""
        self._items.close()


class AsyncChangeFeed(AsyncIterator[Change]):
    """The same of an asyncio client."""

    def __init__(self, cursor: Changes, items: AsyncGenerator[Change | Place, None]) -> None:
        self._cursor, self._items = cursor, items

    @property
    def token(self) -> bytes:
        """As of `ChangeFeed`."""
        return self._cursor.token()

    @property
    def follows_several(self) -> bool:
        """Whether numbers are of several vBuckets. Known with the first change."""
        return self._cursor.follows_several

    async def __anext__(self) -> Change:
        while True:
            if (change := self._cursor.handed(await anext(self._items))) is not None:
                return change

    async def aclose(self) -> None:
        """End the stream."""
        await self._items.aclose()


def read_token(token: bytes) -> tuple[int, list[Place]]:
    """(the vBucket that is followed, 0 for all; the places in it, or in all). Raises InvalidRequest."""
    try:
        asked = wire.StreamChangesRequest.FromString(token)
    except DecodeError:
        asked = wire.StreamChangesRequest()
    places = [_place(each) for each in asked.positions]
    if not places or not all(place.vbucket and place.next_number for place in places):
        raise InvalidRequest("this is not a token of changes")
    return asked.vBucket, places


def _position(place: Place) -> wire.FeedPosition:
    return wire.FeedPosition(vBucket=place.vbucket, nextChangeNumber=place.next_number, historyId=place.history_id)


def _place(position: wire.FeedPosition) -> Place:
    return Place(position.vBucket, position.nextChangeNumber, position.historyId)


def _change(change: wire.Change, history_id: bytes, vbucket: int) -> Change:
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
        vbucket,
    )
