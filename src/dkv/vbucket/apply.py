"""Applying: what a turn's committed entries do to the rows. Pure: state, entries and values in, rows out.

The same entries give the same rows and numbers on every replica, however they are cut into turns. So nothing here looks
at a clock, and everything a command can see - values, ranges, numbers, sessions, log time - is as of the command before
it: rows written earlier in the turn are found in `rows`, ranges deleted earlier hide the values that were read.

| command | numbers (INVARIANTS 10) | rows |
|---|---|---|
| put | 1 | replaces value and expiry; with an expiry, one row of the index more (never one less: INVARIANTS 9) |
| delete | 1, also of an absent key | |
| delete-range | 1 | earlier writes of the turn in the range are dropped: a batch applies ranges first |
| compare-and-set | 1 if it took effect | as put |
| multi-put | 1 per entry, also for a key given twice | as puts, in order |
| sweep | none | index rows that are due, and records whose own expiry is due (checked again here) |
| tick | none | |
| add-slave, remove-slave | none | the registry of slaves |

A put that is expired at its own log time removes the row: the key is absent at once (COMPATIBILITY 1.3).
"""

from collections.abc import Callable, Iterator, Sequence

from dkv.model.commands import (
    AddSlave,
    Command,
    CompareAndSet,
    Delete,
    DeleteRange,
    MultiPut,
    Outcome,
    Put,
    RemoveSlave,
    Session,
    Sweep,
    Tick,
)
from dkv.vbucket.rows import Range, data_range, decode_row, encode_row, expiry_row_key, prefix, visible
from dkv.vbucket.sessions import Sessions
from dkv.vbucket.slaves import Slaves

_new = tuple.__new__


class Applying:
    """The work on one turn's entries: rows and ranges to write, and the state as of the last command."""

    __slots__ = (
        "_data",
        "_space",
        "_values",
        "change_number",
        "earliest_expiry",
        "log_time",
        "ranges",
        "rows",
        "sessions",
        "slaves",
    )

    def __init__(
        self,
        space: int,
        sessions: Sessions,
        slaves: Slaves,
        change_number: int,
        log_time: int,
        earliest_expiry: int | None,
    ) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        """By row key: at once the batch to write and what later commands of the turn see."""
        self.ranges: list[Range] = []
        self.change_number: int = change_number
        self.log_time: int = log_time
        self.earliest_expiry = earliest_expiry
        self.sessions: Sessions = sessions
        self.slaves: Slaves = slaves
        self._space = space
        self._data = prefix(space)
        self._values: Iterator[bytes | None]

    def entry(
        self, log_time: int, commands: Sequence[Command], values: Iterator[bytes | None]
    ) -> tuple[list[Outcome], int]:
        """(outcomes by command, bitmap of those without effect). `values` yields what `keys_read` asked for."""
        if log_time > self.log_time:
            self.log_time = log_time
        if self.sessions:
            self.sessions.expire(self.log_time, self.rows)
        self._values = values
        outcomes: list[Outcome] = []
        without_effect = 0
        add, rows, data, number, outcome = outcomes.append, self.rows, self._data, self.change_number, Outcome
        known, keep = self.sessions.known, self.sessions.keep
        for command in commands:
            if type(command) is Put:
                key, value, expires_at, session = command
                if not expires_at and (session is None or known(session, number) is None):
                    number += 1
                    rows[data + key] = b"\0" + value
                    # Skips the argument handling of a NamedTuple: half of what such a put costs.
                    result = _new(outcome, (True, number, ""))
                    add(result)
                    if session is not None:
                        keep(session, result, self.log_time, rows)
                    continue
            self.change_number = number
            result = self._other(command)
            if not result.took_effect or self.change_number == number:
                without_effect |= _takes_number(command) << len(outcomes)
            number = self.change_number
            add(result)
        self.change_number = number
        return outcomes, without_effect

    def _other(self, command: Command) -> Outcome:
        """Everything but the put that does what it says: first the sessions, then by type."""
        session: Session | None = getattr(command, "session", None)
        if session is None:
            return self._take(command)
        known = self.sessions.known(session, self.change_number)
        if known is not None:
            if type(command) is CompareAndSet:
                next(self._values)
            return known
        result = self._take(command)
        self.sessions.keep(session, result, self.log_time, self.rows)
        return result

    def _take(self, command: Command) -> Outcome:
        took_effect = _STEPS[type(command)](self, command)
        return Outcome(took_effect, self.change_number)

    def _write(self, key: bytes, value: bytes, expires_at: int) -> None:
        """One change: the row of `key` becomes this value and this expiry."""
        self.change_number += 1
        if not expires_at:
            self.rows[self._data + key] = b"\0" + value
        elif expires_at <= self.log_time:
            self.rows[self._data + key] = None
        else:
            self.rows[self._data + key] = encode_row(value, expires_at)
            self.rows[expiry_row_key(self._space, expires_at, key)] = b""
            if self.earliest_expiry is None or expires_at < self.earliest_expiry:
                self.earliest_expiry = expires_at

    def _current(self, row_key: bytes) -> bytes | None:
        """The row as of the command before this one. Takes the next of the values read, needed or not."""
        read = next(self._values)
        if row_key in self.rows:
            return self.rows[row_key]
        if any(start <= row_key < end for start, end in self.ranges):
            return None
        return read

    def put(self, command: Put) -> bool:
        self._write(command.key, command.value, command.expires_at)
        return True

    def multi_put(self, command: MultiPut) -> bool:
        for put in command.puts:
            self._write(put.key, put.value, put.expires_at)
        return True

    def delete(self, command: Delete) -> bool:
        self.change_number += 1
        self.rows[self._data + command.key] = None
        return True

    def delete_range(self, command: DeleteRange) -> bool:
        self.change_number += 1
        start = self._data + command.start
        end = self._data + command.end if command.end else data_range(self._space)[1]
        if start < end:
            for row_key in [row_key for row_key in self.rows if start <= row_key < end]:
                del self.rows[row_key]
            self.ranges.append((start, end))
        return True

    def compare_and_set(self, command: CompareAndSet) -> bool:
        current = visible(self._current(self._data + command.key), self.log_time)
        if (current or b"") != command.expected:
            return False
        self._write(command.key, command.value, command.expires_at)
        return True

    def sweep(self, command: Sweep) -> bool:
        for expires_at, key in command.candidates:
            row_key = self._data + key
            row = self._current(row_key)
            if expires_at > self.log_time:
                continue
            self.rows[expiry_row_key(self._space, expires_at, key)] = None
            if row is not None and 0 < decode_row(row)[1] <= self.log_time:
                self.rows[row_key] = None
        return True

    def tick(self, command: Tick) -> bool:
        return True

    def add_slave(self, command: AddSlave) -> bool:
        return self.slaves.add(command.address, self.rows)

    def remove_slave(self, command: RemoveSlave) -> bool:
        self.slaves.remove(command.address, self.rows)
        return True


_STEPS: dict[type, Callable[..., bool]] = {
    Put: Applying.put,
    MultiPut: Applying.multi_put,
    Delete: Applying.delete,
    DeleteRange: Applying.delete_range,
    CompareAndSet: Applying.compare_and_set,
    Sweep: Applying.sweep,
    Tick: Applying.tick,
    AddSlave: Applying.add_slave,
    RemoveSlave: Applying.remove_slave,
}


def _takes_number(command: Command) -> bool:
    """Whether a command of this kind that took no number must have failed, or been refused or repeated."""
    if isinstance(command, MultiPut):
        return bool(command.puts)
    return not isinstance(command, Sweep | Tick | AddSlave | RemoveSlave)


def keys_read(commands: Sequence[Command]) -> list[bytes]:
    """The user keys whose rows `Applying.entry` takes from `values`, in its order."""
    keys: list[bytes] = []
    for command in commands:
        kind = type(command)
        if kind is CompareAndSet:
            keys.append(command.key)  # type: ignore[union-attr]
        elif kind is Sweep:
            keys += [key for _, key in command.candidates]  # type: ignore[union-attr]
    return keys
