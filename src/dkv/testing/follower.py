"""A simulated follower of the change feed: it resumes through everything, and complains about what it is sent.

Its promise is one without exceptions: every change once, in order, no number left out, but where the node has said that
the history is purged, or another one. So it checks each message as it comes, and keeps what it saw; `checks.followed`
compares that with what clients were told about their writes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from dkv.model.errors import Code
from dkv.testing.edge import Reply
from dkv.testing.protocol import Fields, parse
from dkv.testing.protocol import field as encoded

Send = Callable[[str, bytes], int]
STREAM_CHANGES = "/dkv.v1.Feed/StreamChanges"
PUT, DELETE, DELETE_RANGE = 1, 2, 3
VBUCKET = 1
"""The one that is followed, of however many: what clients were told is compared for each vBucket apart."""
RESUMED_AFTER = (Code.UNAVAILABLE, Code.ABORTED, Code.RESOURCE_EXHAUSTED)


class Seen(NamedTuple):
    """One change as it was sent."""

    kind: int
    key: bytes
    value: bytes
    end: bytes
    expire_ts: int


@dataclass(slots=True)
class Follower:
    """Owned by the world."""

    number: int
    rng: Random
    prefix: bytes
    resumed_after: tuple[Code, ...] = RESUMED_AFTER
    """Ends of a stream behind which it simply begins again."""
    at: int = 0
    """The machine that serves it."""
    call_id: int | None = None
    seen: dict[int, Seen] = field(default_factory=dict)
    covered: list[range] = field(default_factory=list)
    """Numbers that it was sent, or that are not of its prefix; between two of them the history was cut."""
    complaints: list[str] = field(default_factory=list)
    next_number: int = 1
    _history_id: bytes = b""

    def act(self, send: Send) -> str:
        """Begin, or resume. Only while no stream is open."""
        if not self._history_id:
            self.covered.append(range(self.next_number, self.next_number))
        message = encoded(1, self.next_number) + encoded(3, self._history_id) + encoded(4, self.prefix)
        message += encoded(7, VBUCKET)
        self.call_id = send(STREAM_CHANGES, message)
        return f"from {self.next_number}"

    def took(self, items: list[bytes]) -> str:
        """What the stream has brought."""
        for item in items:
            self.take(parse(item))
        return f"{len(items)} messages, next is {self.next_number}"

    @property
    def place(self) -> int:
        """Where it is."""
        return self.next_number

    def has_all(self, latest: Mapping[int, int]) -> bool:
        """Up to these change numbers, by vBucket."""
        return self.next_number > latest[VBUCKET]

    @property
    def history_id(self) -> bytes:
        """The one that its next number is of; empty: whichever there is."""
        return self._history_id

    def take(self, message: Fields) -> None:
        """A message, or its place in one: they have the same fields."""
        history_id = _bytes(message, 6)
        if self._history_id not in (b"", history_id):
            self.complaints.append(f"history {history_id.hex()} where {self._history_id.hex()} was followed")
        self._history_id = history_id
        for change in message.get(1, []):
            assert isinstance(change, bytes)
            self._see(parse(change))
        behind = number_of(message, 2)
        if behind < self.next_number or (not self.prefix and behind != self.next_number):
            self.complaints.append(f"a message ends before {behind}, its changes before {self.next_number}")
        self.next_number = behind
        self.covered[-1] = range(self.covered[-1].start, behind)

    def _see(self, change: Fields) -> None:
        number = number_of(change, 1)
        if number < self.next_number or (not self.prefix and number != self.next_number):
            self.complaints.append(f"change {number} was sent where {self.next_number} was next")
        key, value, end = (_bytes(change, each) for each in (3, 4, 5))
        self.seen[number] = Seen(number_of(change, 2), key, value, end, number_of(change, 6))
        self.next_number = number + 1

    def replied(self, reply: Reply, history_ids: Mapping[int, bytes]) -> str:
        """The stream has ended, by a node that follows these histories now, by vBucket."""
        self.took(reply.items)
        self.call_id = None
        if reply.code == Code.OUT_OF_RANGE:
            self.cut(purged(reply.details), history_ids[VBUCKET])
        elif reply.code not in self.resumed_after:
            self.complaints.append(f"the stream ended with {reply.code}: {reply.reason}")
        return f"{reply.code} {reply.reason}"

    def cut(self, purged: Fields, history_id: bytes) -> None:
        """Its next number is not kept any more: it goes on where the history begins."""
        requested, oldest = number_of(purged, 1), number_of(purged, 2)
        is_there = requested == self.next_number or (self.prefix and requested > self.next_number)
        if not is_there or (oldest <= requested and history_id == self._history_id):
            self.complaints.append(f"changes from {requested} are kept from {oldest} on, {self.next_number} is next")
        self.next_number, self._history_id = max(oldest, self.next_number), b""

    def lost(self) -> None:
        """The stream is gone, with what had not been taken of it."""
        self.call_id = None


def purged(details: bytes) -> Fields:
    """The HistoryPurged in a google.rpc.Status."""
    (detail,) = parse(details)[3]
    assert isinstance(detail, bytes)
    fields = parse(detail)
    assert _bytes(fields, 1).endswith(b"/dkv.v1.HistoryPurged")
    return parse(_bytes(fields, 2))


def number_of(fields: Fields, number: int) -> int:
    value = fields.get(number, [0])[-1]
    assert isinstance(value, int)
    return value


def _bytes(fields: Fields, number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    assert isinstance(value, bytes)
    return value
