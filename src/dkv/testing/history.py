"""What the clients saw: every call with the moments between which it may have taken effect.

Moments are positions in one sequence of events, never times: two events are never equal, and "returned before the other
was invoked" is exact. A call ends in one of three ways: OK with a result; FAILED, which promises that nothing happened;
UNKNOWN, which promises nothing: it may take effect at any moment after its invocation, or never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    PUT = "put"
    DELETE = "delete"
    CAS = "cas"
    GET = "get"
    RESTORE = "restore"
    """A write of every key at once: to what a backup held, or to nothing."""
    EXPIRE = "expire"
    """Not a call: the time to live of one written value ran out."""


class Level(Enum):
    """What a read was promised. On one node alone every read is linearizable."""

    LINEARIZABLE = "linearizable"
    SEQUENTIAL = "sequential"
    READ_YOUR_WRITES = "read your writes"
    BOUNDED_STALENESS = "bounded staleness"


class Status(Enum):
    OPEN = "open"
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Entry(NamedTuple):
    """One key of a call."""

    key: bytes
    value: bytes = b""
    expected: bytes = b""
    expires_at: int = 0
    """Wall milliseconds; 0: never."""
    ttl_ms: int = 0
    """Relative; not looked at by the checkers, which cannot know from when it counts."""
    is_absent: bool = False
    """Of a restore: the backup did not have the key."""


class Operation(NamedTuple):
    """One key's part of a call, as the linearizability checker wants it."""

    kind: Kind
    invoked: int
    returned: int | None
    """None: outcome unknown."""
    value: bytes | None = None
    """Written; of a get, what it saw (None: nothing)."""
    expected: bytes = b""
    took_effect: bool = True
    """Of a compare-and-set: whether it said so."""


@dataclass(slots=True)
class Call:
    """One logical operation of a client: all its attempts, when they share a session and sequence."""

    number: int
    client: int
    kind: Kind
    entries: tuple[Entry, ...]
    invoked: int
    returned: int | None = None
    status: Status = Status.OPEN
    seen: tuple[bytes | None, ...] = ()
    """Of a get: per entry."""
    took_effect: bool = True
    change_number: int = 0
    """Of a write: its last one."""
    level: Level = Level.LINEARIZABLE
    """Of a read, as the rest."""
    number_min: int = 0
    """It had to see the changes up to here."""
    staleness_ms_max: int = 0
    """It had to see what was acknowledged so long before it, or longer; 0: no bound."""
    applied: int = 0
    """It says that it saw the changes up to here; 0: it says nothing."""
    applied_in: Mapping[int, int] = field(default_factory=dict)
    """The same by vBucket, where it says so of each."""
    staleness_ms: int | None = None
    """It says that it saw what was acknowledged so long before it; None: it says nothing."""
    node: int = 0
    """Who answered."""
    by_all: bool = False
    """Of a write: it was to be on the disks of all voters before it was answered."""
    is_spread: bool = False
    """Of a write that several vBuckets had a part in: it took a number in each, and does not say which."""
    invoked_ms: int = 0
    """True time."""
    returned_ms: int = 0

    @property
    def is_write(self) -> bool:
        return self.kind is not Kind.GET

    @property
    def is_unknown(self) -> bool:
        return self.status in (Status.OPEN, Status.UNKNOWN)

    @property
    def has_hidden_number(self) -> bool:
        """It may have taken a change number that nobody was told."""
        return self.is_write and (self.is_unknown or (self.is_spread and self.status is Status.OK))

    @property
    def number_count(self) -> int:
        """Change numbers that it takes if it takes effect (INVARIANTS 10): a delete of many keys takes one."""
        return 1 if self.kind in (Kind.DELETE, Kind.RESTORE) else len(self.entries)

    def written(self, entry: Entry) -> bytes | None:
        """What a write leaves at the key of `entry`."""
        return None if self.kind is Kind.DELETE or entry.is_absent else entry.value

    @property
    def change_numbers(self) -> range:
        """Those it took; empty when it took none or when that is not known."""
        if not self.is_write or self.status is not Status.OK or not self.took_effect or self.is_spread:
            return range(0)
        return range(self.change_number - self.number_count + 1, self.change_number + 1)

    def __str__(self) -> str:
        keys = b",".join(entry.key for entry in self.entries).decode()
        what = (
            ",".join(str(v) for v in self.seen) if self.seen else ",".join(e.value.decode() for e in self.entries[:1])
        )
        number = f" #{self.change_number}" if self.change_number else ""
        flag = "" if self.took_effect else " (no effect)"
        level = "" if self.level is Level.LINEARIZABLE else f" {self.level.value}"
        level += f" from {self.number_min}" if self.number_min else ""
        level += f" of {self.staleness_ms_max} ms at {self.invoked_ms} ms" if self.staleness_ms_max else ""
        applied = f" at #{self.applied}" if self.applied else ""
        end = f"{self.status.value}{flag}{number}{level}{applied}"
        return f"[{self.invoked},{self.returned}] {self.kind.value} {keys} {what} {end}"


@dataclass(slots=True)
class History:
    """All calls of one run, in order of invocation."""

    calls: list[Call] = field(default_factory=list)
    expired: list[tuple[int, int]] = field(default_factory=list)
    """(event, latest wall time shown): from that event on, what was due then may be gone."""
    now_ms: int = 0
    """True time, set by the world."""
    _events: int = 0

    def invoke(self, client: int, kind: Kind, entries: tuple[Entry, ...]) -> Call:
        call = Call(len(self.calls), client, kind, entries, self._event(), invoked_ms=self.now_ms)
        self.calls.append(call)
        return call

    def ok(
        self,
        call: Call,
        *,
        seen: tuple[bytes | None, ...] = (),
        took_effect: bool = True,
        change_number: int = 0,
        applied: int = 0,
        staleness_ms: int | None = None,
    ) -> None:
        self._end(call, Status.OK)
        call.seen, call.took_effect, call.change_number = seen, took_effect, change_number
        call.applied, call.staleness_ms = applied, staleness_ms

    def failed(self, call: Call) -> None:
        """Nothing happened, says the server."""
        self._end(call, Status.FAILED)

    def unknown(self, call: Call) -> None:
        self._end(call, Status.UNKNOWN)

    def saw_wall_time(self, wall_ms_max: int) -> None:
        """The clock showed `wall_ms_max` for the first time."""
        if not self.expired or self.expired[-1][1] < wall_ms_max:
            self.expired.append((self._event(), wall_ms_max))

    def keys(self) -> list[bytes]:
        return sorted({entry.key for call in self.calls for entry in call.entries})

    def by_key(self) -> dict[bytes, list[Operation]]:
        """Per key all operations that may have happened, reads of weaker levels left out, and one EXPIRE for each value
        that may have run out."""
        found: dict[bytes, list[Operation]] = {}
        for call in self.calls:
            if call.status is Status.FAILED or (call.is_unknown and not call.is_write):
                continue
            if call.level is not Level.LINEARIZABLE:
                continue
            for position, entry in enumerate(call.entries):
                found.setdefault(entry.key, []).extend(self._operations(call, position, entry))
        return found

    def _operations(self, call: Call, position: int, entry: Entry) -> list[Operation]:
        returned = None if call.is_unknown else call.returned
        value = call.seen[position] if call.kind is Kind.GET else entry.value
        kind = call.kind
        if kind is Kind.RESTORE:
            kind = Kind.DELETE if entry.is_absent else Kind.PUT
        done = Operation(kind, call.invoked, returned, value, entry.expected, call.took_effect)
        due = self.due_from(entry.expires_at) if entry.expires_at else None
        if due is None:
            return [done]
        return [done, Operation(Kind.EXPIRE, max(due, call.invoked), None, entry.value)]

    def due_from(self, expires_at: int) -> int | None:
        """From which event on what is due at `expires_at` may be gone."""
        return next((event for event, wall_ms in self.expired if wall_ms >= expires_at), None)

    def _event(self) -> int:
        self._events += 1
        return self._events

    def _end(self, call: Call, status: Status) -> None:
        if call.status is not Status.OPEN:
            raise AssertionError(f"ended twice: {call}")
        call.status, call.returned, call.returned_ms = status, self._event(), self.now_ms
