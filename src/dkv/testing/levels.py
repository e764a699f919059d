"""What each level of consistency promises a reader, checked by the change numbers that reads say they have seen.

All replicas apply the same changes under the same numbers. So a read at number N has to see, of each key, what the last
change up to N has left there; and a level is a promise about N:

| level            | N is                                                                                        |
|------------------|---------------------------------------------------------------------------------------------|
| any              | never below what the same node has shown before (INVARIANTS 5)                              |
| READ_YOUR_WRITES | at least what the caller's token says                                                       |
| BOUNDED_STALENESS| at least what anybody was told so long before this one was invoked, or longer               |
| LINEARIZABLE     | at least what anybody was told, by a write or by such a read, before this one was invoked   |

A node measures by its own clock, which may be wrong by a twentieth.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from dkv.testing.clock import DRIFT_PERMILLE_MAX
from dkv.testing.history import Call, Entry, History, Kind, Level, Status


def levels_kept(history: History) -> Iterator[str]:
    """Every read that told its number kept the promise of its level."""
    reads = [call for call in history.calls if call.kind is Kind.GET and call.status is Status.OK and call.applied]
    for node in sorted({call.node for call in reads}):
        yield from _not_below(history, [call for call in reads if call.node == node], "on one node", _shown_by(node))
    strong = [call for call in reads if call.level is Level.LINEARIZABLE]
    yield from _not_below(history, strong, "anywhere", _told)
    for call in reads:
        if call.applied < call.number_min:
            yield f"change {call.number_min} was asked for: {call}"
    yield from _fresh(history, reads)
    yield from values_at_numbers(history)


def highest_before(calls: list[Call], number: Callable[[Call], int]) -> list[int]:
    """Per call of `calls`, the highest `number` of those that had returned when it was invoked."""
    events = [(call.invoked, at, False) for at, call in enumerate(calls)]
    events += [(call.returned, at, True) for at, call in enumerate(calls) if call.returned is not None]
    found, highest = [0] * len(calls), 0
    for _, at, is_return in sorted(events):
        if is_return:
            highest = max(highest, number(calls[at]))
        else:
            found[at] = highest
    return found


def _fresh(history: History, reads: list[Call]) -> Iterator[str]:
    """What was acknowledged so long ago is seen: as long as was asked for, and as the reply says."""
    told = sorted((call.returned_ms, _told(call)) for call in history.calls if call.status is Status.OK)
    highest = list(accumulate((number for _, number in told), max, initial=0))
    for call in reads:
        for staleness_ms in (call.staleness_ms_max or None, call.staleness_ms):
            if staleness_ms is not None:
                before_ms = call.invoked_ms - staleness_ms * (1000 + DRIFT_PERMILLE_MAX + 5) // 1000 - 1
                number = highest[bisect_left(told, (before_ms, 0))]
                if call.applied < number:
                    yield f"change {number} was known {staleness_ms} ms before: {call}"


def _shown_by(node: int) -> Callable[[Call], int]:
    return lambda call: call.applied if call.node == node else 0


def _told(call: Call) -> int:
    """What a caller knows to have happened, by a write or by a linearizable read."""
    if call.kind is Kind.GET:
        return call.applied if call.level is Level.LINEARIZABLE else 0
    return call.change_number if call.change_numbers else 0


def _not_below(history: History, reads: list[Call], where: str, number: Callable[[Call], int]) -> Iterator[str]:
    before = highest_before(history.calls, number)
    for call in reads:
        if call.applied < before[call.number]:
            yield f"change {before[call.number]} was seen before {where}: {call}"


@dataclass(slots=True)
class _Key:
    """What is known to have been done to one key."""

    numbers: list[int] = field(default_factory=list)
    """Of acknowledged writes, ascending."""
    entries: list[tuple[Call, Entry]] = field(default_factory=list)
    unknown: list[tuple[Call, Entry]] = field(default_factory=list)
    """Of writes that may have taken a number nobody was told."""

    def last(self, number: int) -> tuple[int, Call, Entry] | None:
        """The last acknowledged write at or below `number`."""
        at = bisect_right(self.numbers, number) - 1
        return None if at < 0 else (self.numbers[at], *self.entries[at])


def values_at_numbers(history: History) -> Iterator[str]:
    """A read at number N sees of each key what the last change up to N has left."""
    keys, taken = _by_key(history)
    for call in history.calls:
        if call.kind is not Kind.GET or call.status is not Status.OK or not call.applied:
            continue
        for entry, value in zip(call.entries, call.seen, strict=True):
            key = keys.get(entry.key, _Key())
            if not _is_explained(history, call, key, value, taken):
                last = key.last(call.applied)
                yield f"key {entry.key.decode()}: {value!r} at change {call.applied}, whose last is {last}: {call}"


def _by_key(history: History) -> tuple[dict[bytes, _Key], list[int]]:
    """By key, and every number that an acknowledged write has taken, ascending."""
    keys: dict[bytes, _Key] = {}
    done = [call for call in history.calls if call.change_numbers]
    for call in sorted(done, key=lambda call: call.change_number):
        numbers = call.change_numbers
        for position, entry in enumerate(call.entries):
            key = keys.setdefault(entry.key, _Key())
            key.numbers.append(numbers[position] if len(numbers) > 1 else numbers[0])
            key.entries.append((call, entry))
    for call in history.calls:
        if call.has_hidden_number:
            for entry in call.entries:
                keys.setdefault(entry.key, _Key()).unknown.append((call, entry))
    return keys, sorted(number for call in done for number in call.change_numbers)


def _is_explained(history: History, read: Call, key: _Key, value: bytes | None, taken: list[int]) -> bool:
    last = key.last(read.applied)
    known = None if last is None else last[1].written(last[2])
    if value == known:
        return True
    assert read.returned is not None
    if value is None and last is not None and _is_due(history, last[2], read.returned):
        return True
    first = 1 if last is None else last[0] + 1
    has_gap = bisect_right(taken, read.applied) - bisect_right(taken, first - 1) < read.applied - first + 1
    return has_gap and any(
        value == call.written(entry) or (value is None and _is_due(history, entry, read.returned))
        for call, entry in key.unknown
        if call.invoked < read.returned
    )


def _is_due(history: History, entry: Entry, event: int) -> bool:
    """Whether the value of a write may have expired by then."""
    due = history.due_from(entry.expires_at) if entry.expires_at else None
    return due is not None and due < event
