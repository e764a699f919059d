"""A simulated operator: takes backups and restores them, one at a time, and says in the history what that meant.

A backup is a read of every key: what it holds must be one state between its beginning and its end. A restore is a write
of every key at once. What it wrote is read off the backup that the node has opened for it, or looked up in the diary if
it was to reach a point in time behind the backup. A restore that ends with its process, before it opened one, has not
happened; one that had opened it may have.
"""

from collections.abc import Callable
from random import Random

from dkv.model.errors import Code
from dkv.testing.backups import Shelf, Shelved
from dkv.testing.clients import ALL_KEYS
from dkv.testing.diary import Diary, Target
from dkv.testing.edge import Reply
from dkv.testing.history import Call, Entry, History, Kind
from dkv.testing.protocol import field, parse
from dkv.vbucket.routing import FIRST_VBUCKET, vbucket_of
from dkv.vbucket.rows import decode_row, prefix, visible

TAKE, RESTORE = "/dkv.v1.Backups/Take", "/dkv.v1.Backups/Restore"
PATHS = ("/backups/a", "/backups/b")
Send = Callable[[str, bytes], int]
THE_BACKUP = Target(0, 0, {})
"""No point in time behind it."""


class Operator:
    """Owned by the world; waits for what it has asked for until it ends or the process does."""

    restores: float = 0.4
    """How often it restores what it has a backup of."""

    def __init__(
        self, number: int, rng: Random, history: History, shelf: Shelf, diary: Diary, vbuckets: int = 1
    ) -> None:
        """`vbuckets`: how many the keys are divided into."""
        self.number: int = number
        self._vbuckets = vbuckets
        self._rng, self._history, self._shelf, self._diary = rng, history, shelf, diary
        self.call_id: int | None = None
        self.call: Call | None = None
        self.done: int = 0
        """How many ended well."""
        self._path = ""
        self._target: Target = THE_BACKUP
        """What a restore was asked for."""
        self._before: Shelved | None = None
        """What was on the shelf when a backup began."""

    def act(self, send: Send) -> str:
        """Ask for something. Only while nothing is open."""
        self._path = self._rng.choice(PATHS)
        is_restore = self._path in self._shelf.kept and self._rng.random() < self.restores
        kind = Kind.RESTORE if is_restore else Kind.GET
        self.call = self._history.invoke(self.number, kind, tuple(map(Entry, ALL_KEYS)))
        self.call.is_spread = is_restore and self._vbuckets > 1
        self._shelf.opened, self._before, self._target = None, self._shelf.kept.get(self._path), THE_BACKUP
        if not is_restore:
            self.call_id = send(TAKE, field(1, self._path.encode()))
            return f"backup {self._path}"
        if self._before is not None and self._rng.random() < 0.5:
            self._target = self._choose_target(self._before)
        number, time, _ = self._target
        self.call_id = send(RESTORE, field(1, self._path.encode()) + field(2, number) + field(3, time))
        return f"restore {self._path} until change {number}, time {time}"

    def _choose_target(self, shelved: Shelved) -> Target:
        point = self._diary.point(shelved.facts, self._rng)
        return THE_BACKUP if point is None else Target(*point[:2], {FIRST_VBUCKET: point.moment})

    def replied(self, reply: Reply) -> str:
        """It is over."""
        call = self.call
        assert call is not None
        if reply.code == Code.OK:
            self.done += 1
            if call.kind is Kind.RESTORE:
                number = parse(reply.items[-1]).get(4, [0])[0]
                assert isinstance(number, int)
                call.entries = self._restored()
                self._history.ok(call, change_number=number)
            else:
                self._ok(call)
        else:
            self._history.failed(call)
        self.call = self.call_id = None
        return f"{reply.code} {reply.reason} {call}"

    def lost(self) -> None:
        """The process has ended."""
        call = self.call
        assert call is not None
        if call.kind is Kind.RESTORE and self._shelf.opened is not None:
            call.entries = self._restored()
            self._history.unknown(call)
        elif call.kind is Kind.GET and self._shelf.kept.get(self._path) is not self._before:
            self._ok(call)
        else:
            self._history.failed(call)
        self.call = self.call_id = None

    def _ok(self, call: Call) -> None:
        """A backup is there."""
        self._history.ok(call, seen=self._seen())

    def _seen(self) -> tuple[bytes | None, ...]:
        return tuple(visible(*self._held(self._shelf.kept[self._path], key)) for key in ALL_KEYS)

    def _restored(self) -> tuple[Entry, ...]:
        shelved = self._shelf.opened
        assert shelved is not None
        return tuple(_entry(key, *self._wanted(shelved, key)) for key in ALL_KEYS)

    def _wanted(self, shelved: Shelved, key: bytes) -> tuple[bytes | None, int]:
        """The row that a restore leaves at a key, and as of which log time."""
        moment = self._target.moments.get(vbucket_of(key, self._vbuckets))
        return self._held(shelved, key) if moment is None else (moment.rows[key], moment.log_time)

    def _held(self, shelved: Shelved, key: bytes) -> tuple[bytes | None, int]:
        """The row that a backup has of a key, and as of which log time."""
        facts = shelved.vbuckets[vbucket_of(key, self._vbuckets) - FIRST_VBUCKET]
        return shelved.get(prefix(facts.space) + key), facts.log_time


def _entry(key: bytes, row: bytes | None, log_time: int) -> Entry:
    value = visible(row, log_time)
    if row is None or value is None:
        return Entry(key, is_absent=True)
    return Entry(key, value, expires_at=decode_row(row)[1])
