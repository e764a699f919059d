"""One open call that reads the history: its place in each vBucket that it follows, and what it has not taken yet."""

from dataclasses import dataclass, field

from dkv.node.history import Place
from dkv.node.hosted import Hosted
from dkv.node.scans import STREAM_BUFFER_BYTES
from dkv.services.turn import HistoryCall, HistoryJob
from dkv.wire.feed import Position

READ_TOGETHER_MAX = 4
"""Places of one call for which the log is read, or was and is not handed out: each may hold a block of it."""


@dataclass(slots=True, eq=False)
class OpenCall:
    """What one caller reads. Its parts share the room at the edge."""

    call_id: int
    wish: HistoryCall
    progress_ms: int
    buffered_bytes: int = 0
    parts: list["Part"] = field(default_factory=list)
    from_log: set["Part"] = field(default_factory=set)
    """Those with a block of the log, or with one to come."""
    is_over: bool = False

    @property
    def has_room(self) -> bool:
        return self.buffered_bytes < STREAM_BUFFER_BYTES

    def positions(self) -> list[Position]:
        return [part.position() for part in self.parts]


@dataclass(slots=True, eq=False)
class Part:
    """What a call reads of one vBucket."""

    call: OpenCall
    hosted: Hosted
    job: HistoryJob
    place: Place
    fed_ms: int
    fed_number: int
    """The latest change when it was given its last slice."""
    owed: int = 0
    """Changes it was given beyond its slices: entries are never divided, and may be larger."""
    told: Position | None = None
    """What its caller was told last."""

    @property
    def behind(self) -> int:
        """How many changes it lacks."""
        return self.hosted.replica.change_number + 1 - self.place.next_number

    @property
    def must_wait(self) -> bool:
        """It needs the log, and other parts of its call have their hands full with it."""
        call = self.call
        return (
            len(call.from_log) >= READ_TOGETHER_MAX
            and self not in call.from_log
            and not self.hosted.history.is_at_hand(self.place)
        )

    def position(self) -> Position:
        replica = self.hosted.replica
        return Position(
            self.hosted.vbucket,
            self.place.next_number,
            replica.change_number,
            replica.earliest_change,
            replica.log_time,
            replica.history_id,
        )


@dataclass(slots=True, eq=False)
class Followed:
    """A vBucket that somebody reads."""

    hosted: Hosted
    number: int
    history_id: bytes
    """As they were when its readers were last told of news."""
    parts: dict[Part, None] = field(default_factory=dict)
    streams: int = 0
    """Those among them that go on behind the latest change."""

    def has_news(self) -> bool:
        """Something was applied or replaced since the last time."""
        replica = self.hosted.replica
        if replica.change_number == self.number and replica.history_id == self.history_id:
            return False
        self.number, self.history_id = replica.change_number, replica.history_id
        return True
