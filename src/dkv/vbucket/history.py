"""The history: which changes the entries of the log are, once it is known what became of them.

Change numbers are not in the log. An entry's outcomes row says from which number on its commands count and which took
none; together they are the changes (INVARIANTS 10). Rows lie by log index, and numbers, log time and log bytes all grow
with it, so whatever is looked for in the history is found by halving.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dkv.model.commands import (
    AddSlave,
    Command,
    CompareAndSet,
    Delete,
    DeleteRange,
    MultiPut,
    Put,
    RemoveSlave,
    Sweep,
    Tick,
)
from dkv.model.errors import InvariantBroken
from dkv.vbucket.entry import LoggedCommands
from dkv.vbucket.outcomes import EntryOutcomes, OutcomesAt

ENTRY_OVERHEAD_BYTES = 128
"""What an entry costs beside its data, in the log's files and in its index in memory. Part of the format: log bytes."""

Change = Put | Delete | DeleteRange
"""What one number stands for. A put in the history says nothing of sessions."""


@dataclass(slots=True)
class EntryChanges:
    """The changes of one applied entry."""

    log_index: int
    first_number: int
    log_time: int
    commands: Sequence[Command]
    without_effect: int
    """Bit i: command i took no effect and no number."""
    size: int
    """Bytes of the entry in the log."""
    encoded: tuple[bytes, int] | None = None
    """What the feed sends of all of it, and the number behind it: made by the first reader, for all."""

    def changes(self) -> Sequence[Change]:
        """All of them, from `first_number` on."""
        if not self.without_effect and all(type(command) is Put for command in self.commands):
            return self.commands  # type: ignore[return-value]
        return [change for _, record in self.records() for change in record]

    @property
    def logged(self) -> bytes | None:
        """The entry as it is in the log, if it comes from there and all of it took effect."""
        commands = self.commands
        return commands.data if isinstance(commands, LoggedCommands) and not self.without_effect else None

    def records(self) -> Iterator[tuple[int, Sequence[Change]]]:
        """(first number, the changes) of each command that took effect: what a follower has to apply together."""
        number = self.first_number
        for at, command in enumerate(self.commands):
            if not self.without_effect >> at & 1 and (changes := changes_of(command)):
                yield number, changes
                number += len(changes)


def read_entry(log_index: int, data: bytes, outcomes: EntryOutcomes) -> EntryChanges:
    """The changes of an entry of the log, with what its outcomes row says. Who looks at them may meet Corrupt."""
    first, log_time, without_effect, _ = outcomes
    return EntryChanges(log_index, first, log_time, LoggedCommands(data), without_effect, len(data))


def changes_of(command: Command) -> Sequence[Change]:
    """The changes of a command that took effect."""
    match command:
        case Put() | Delete() | DeleteRange():
            return (command,)
        case CompareAndSet():
            return (Put(command.key, command.value, command.expires_at),)
        case MultiPut():
            return command.puts
        case Sweep() | Tick() | AddSlave() | RemoveSlave():
            return ()
    raise InvariantBroken(f"a command of no known kind in the history: {command}")


def find_last(
    low: int,
    high: int,
    row_at: Callable[[int], OutcomesAt | None],
    holds: Callable[[EntryOutcomes], bool],
) -> OutcomesAt | None:
    """The last row of the log indexes [low, high] for which `holds`; None when there is none.

    `holds` is true up to some row and false behind it. `row_at(index)` is the first row at or behind an index.
    """
    found: OutcomesAt | None = None
    while low <= high:
        middle = (low + high) // 2
        row = row_at(middle)
        if row is None or row.log_index > high or not holds(row.outcomes):
            high = middle - 1
        else:
            found, low = row, row.log_index + 1
    return found
