"""A simulated operator: takes backups and restores them, one at a time, and says in the history what that meant.

A backup is a read of every key: what it holds must be one state between its beginning and its end. A restore is a write
of every key at once. What it wrote is read off the backup that the node has opened for it: a restore that ends with its
process, before it opened one, has not happened; one that had opened it may have.
"""

from collections.abc import Callable
from random import Random

from dkv.model.errors import Code
from dkv.testing.backups import Shelf, Shelved
from dkv.testing.clients import ALL_KEYS
from dkv.testing.edge import Reply
from dkv.testing.history import Call, Entry, History, Kind
from dkv.testing.protocol import field, parse
from dkv.vbucket.rows import data_range, decode_row, prefix, visible

TAKE, RESTORE = "/dkv.v1.Backups/Take", "/dkv.v1.Backups/Restore"
PATHS = ("/backups/a", "/backups/b")
Send = Callable[[str, bytes], int]


class Operator:
    """Owned by the world; waits for what it has asked for until it ends or the process does."""

    def __init__(self, number: int, rng: Random, history: History, shelf: Shelf) -> None:
        self.number: int = number
        self._rng, self._history, self._shelf = rng, history, shelf
        self.call_id: int | None = None
        self.call: Call | None = None
        self.done: int = 0
        """How many ended well."""
        self._path = ""
        self._before: Shelved | None = None
        """What was on the shelf when a backup began."""

    def act(self, send: Send) -> str:
        """Ask for something. Only while nothing is open."""
        self._path = self._rng.choice(PATHS)
        is_restore = self._path in self._shelf.kept and self._rng.random() < 0.4
        kind = Kind.RESTORE if is_restore else Kind.GET
        self.call = self._history.invoke(self.number, kind, tuple(map(Entry, ALL_KEYS)))
        self._shelf.opened, self._before = None, self._shelf.kept.get(self._path)
        self.call_id = send(RESTORE if is_restore else TAKE, field(1, self._path.encode()))
        return f"{'restore' if is_restore else 'backup'} {self._path}"

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
                self._history.ok(call, seen=self._seen())
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
            self._history.ok(call, seen=self._seen())
        else:
            self._history.failed(call)
        self.call = self.call_id = None

    def _seen(self) -> tuple[bytes | None, ...]:
        shelved = self._shelf.kept[self._path]
        rows = _rows(shelved)
        return tuple(visible(rows.get(key), shelved.facts.log_time) for key in ALL_KEYS)

    def _restored(self) -> tuple[Entry, ...]:
        shelved = self._shelf.opened
        assert shelved is not None
        return tuple(_entry(key, row, shelved.facts.log_time) for key, row in _rows(shelved).items())


def _rows(shelved: Shelved) -> dict[bytes, bytes | None]:
    start = prefix(shelved.facts.space)
    assert start == data_range(shelved.facts.space)[0]
    return {key: shelved.get(start + key) for key in ALL_KEYS}


def _entry(key: bytes, row: bytes | None, log_time: int) -> Entry:
    value = visible(row, log_time)
    if row is None or value is None:
        return Entry(key, is_absent=True)
    return Entry(key, value, expires_at=decode_row(row)[1])
