"""What the services ask of one turn of the node, and what they answer in it.

Columns, not objects: a list grows by one per call, and everything that costs more than that is done once per turn.
The node owns the order: services accept calls, the node proposes and applies, the store reads, services answer.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from dkv.model.backups import Finished, Order, Progress
from dkv.model.commands import Command, Outcome
from dkv.model.errors import DkvError
from dkv.ports.edge import Finish, HttpReply
from dkv.vbucket.history import EntryChanges
from dkv.wire.feed import Position

PutReplies = Callable[["Turn", Sequence[int], Sequence[Outcome], int], None]
"""Answers applied writes: (turn, call ids, their outcomes, log time)."""


Slices = Iterable[list[bytes | None]]
"""Rows (None: no row), a few at a time. They are read as they are taken: who has enough stops taking."""


class ReadTerms(NamedTuple):
    """What a read asks of the state that it is answered from (DESIGN 7)."""

    is_linearizable: bool = False
    """It sees every write that was acknowledged before it began."""
    change_number_min: int = 0
    """It sees this change."""
    staleness_ms_max: int = 0
    """It sees every write that was acknowledged so long before it began, or longer; 0: no bound."""


SEQUENTIAL = ReadTerms()
LINEARIZABLE = ReadTerms(is_linearizable=True)


@dataclass(slots=True)
class PointRead:
    """Rows wanted by the calls of one batch, flattened; `answer` gets them in the same order."""

    keys: list[bytes]
    """User keys."""
    answer: Callable[["Turn", Slices, "View"], None]
    """Called with what is read and with what is true at this turn."""
    call_ids: Sequence[int] = ()
    """Who is told when it cannot be answered."""
    terms: ReadTerms = SEQUENTIAL


@dataclass(slots=True, frozen=True)
class View:
    """What a read of this turn may know about the state it reads."""

    log_time: int
    """Wall milliseconds: a row whose expiry is at or below it is gone."""
    change_number: int
    """The latest applied."""
    history_id: bytes
    is_readable: bool = True
    """False: nothing may be read now (INVARIANTS 5), and the reads of the turn fail."""
    oldest_change: int = 1
    """The oldest in the history; `change_number` + 1 when none is kept."""
    slaves: Callable[[], Sequence[bytes]] = list
    """The addresses of the slaves that are registered."""
    staleness_ms: int = 0
    """Everything that was acknowledged so long ago is in it; 0 where this node alone has the vBucket."""


@dataclass(slots=True)
class ScanRequest:
    """A reply stream of pairs, fed by a job in slices."""

    call_id: int
    start: bytes
    end: bytes
    """Exclusive; empty: to the last key."""
    reverse: bool
    limit: int
    """0: all."""
    encode: Callable[[bytes, bytes, int], bytes]
    """(key, value, expires_at) -> one message of the stream."""


class HistoryJob(Protocol):
    """What one reader makes of the changes of one vBucket: entry after entry, from its next number on."""

    @property
    def is_full(self) -> bool:
        """It has what it can send at once, or all that was asked for."""

    def add(self, entry: EntryChanges, next_number: int) -> int:
        """Takes the changes of an entry that are numbered `next_number` or above; returns the next one wanted."""

    def send(self, turn: "Turn", at: Position, monotonic_ms: int) -> int:
        """Puts the changes taken since the last time into the turn, if there are any; returns the bytes."""

    def is_over(self, next_number: int) -> bool:
        """Nothing more is wanted. `finish` ends the call."""

    def finish(self, turn: "Turn", at: Position) -> None:
        """Ends the call, well."""


class HistoryCall(Protocol):
    """What one caller wants of the histories of one vBucket, or of all."""

    is_stream: bool
    """It takes messages as they come; else one reply ends the call."""

    def job(self, vbucket: int) -> HistoryJob:
        """Its part for one vBucket."""

    def begin(self, turn: "Turn", at: Sequence[Position], monotonic_ms: int) -> int:
        """Says where it begins, in all of its vBuckets; returns the bytes."""

    def is_mark_due(self, monotonic_ms: int) -> bool:
        """It is time to say how far it is."""

    def mark(self, turn: "Turn", at: Sequence[Position], moved: Sequence[Position], monotonic_ms: int) -> int:
        """Says so; `moved`: where something is new since the last time. Returns the bytes."""


class Start(NamedTuple):
    """Where a reader wants to begin in a vBucket."""

    number: int | None
    """None: behind the latest."""
    history_id: bytes = b""
    """The line of numbers that it follows; empty: whichever there is."""


@dataclass(slots=True)
class HistoryRequest:
    """A reader of the history."""

    call_id: int
    vbucket: int
    """0: all that there are."""
    start: Start
    """In those that are not in `starts`."""
    call: HistoryCall
    starts: Mapping[int, Start] = field(default_factory=dict)
    """By vBucket."""
    belongs_to_one: bool = False
    """`start` is a place in one vBucket, and means nothing in others."""


class JobRequest(Protocol):
    """A backup or restore that a call asks for, and how that call is told what becomes of it."""

    call_id: int
    order: Order

    def tell(self, turn: "Turn", progress: Progress) -> None: ...
    def finish(self, turn: "Turn", finished: Finished) -> None: ...
    def fail(self, turn: "Turn", error: DkvError) -> None: ...


class Turn:
    """One turn's columns. Made by the node, filled by services, drained by the node."""

    __slots__ = (
        "at_once",
        "by_all",
        "command_answers",
        "command_calls",
        "commands",
        "finished",
        "histories",
        "history_id",
        "http",
        "items",
        "jobs",
        "log_time",
        "reads",
        "replies",
        "reply_ids",
        "scans",
        "vbucket",
    )

    def __init__(self, log_time: int, history_id: bytes = b"", vbucket: int = 1) -> None:
        self.log_time: int = log_time
        """What the leader's next entry would carry: relative times to live count from here, not from a wall clock that
        may have been set back."""
        self.history_id: bytes = history_id
        """Names the line of change numbers of the writes answered in this turn; set by the node. Empty: left out."""
        self.vbucket: int = vbucket
        """Whose turn it is."""
        self.commands: list[Command] = []
        self.command_calls: list[int] = []
        """commands[i] was asked for by call command_calls[i] ..."""
        self.command_answers: list[PutReplies] = []
        """... and is answered by command_answers[i] once applied."""
        self.by_all: set[int] = set()
        """The calls among them that are answered only once every voter has them on disk."""
        self.at_once: dict[int, bytes] = {}
        """The calls among them that are answered as soon as their entry is proposed, and with what."""
        self.reads: list[PointRead] = []
        self.scans: list[ScanRequest] = []
        self.histories: list[HistoryRequest] = []
        self.jobs: list[JobRequest] = []
        self.reply_ids: list[int] = []
        self.replies: list[bytes] = []
        self.items: list[tuple[int, list[bytes]]] = []
        self.finished: list[Finish] = []
        self.http: list[HttpReply] = []

    @property
    def has_answers(self) -> bool:
        return bool(self.replies or self.items or self.finished or self.http)

    def clear_answers(self) -> None:
        """They have left. New lists, as an edge may keep those it was given."""
        self.reply_ids, self.replies, self.items, self.finished, self.http = [], [], [], [], []

    def fail(self, call_id: int, error: DkvError, details: bytes = b"") -> None:
        """Ends a call or stream with the status of `error`."""
        retry_after_ms = getattr(error, "retry_after_ms", -1)
        self.finished.append((call_id, int(error.code), str(error), details, retry_after_ms))
