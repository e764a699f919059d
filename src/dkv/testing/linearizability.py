"""Is one key's history linearizable? A search for an order that explains what every client saw.

After Wing and Gong (1993) with the memory of Lowe (2017): depth first, always taking next an operation that was invoked
before any remaining one returned; a pair (set of operations done, value) that failed once is not tried again. Keys are
independent (linearizability is local), so each is searched alone.

An operation of unknown outcome never returned: it may come at any later point, or not at all, and the search is over
when all others are placed. An unknown put of a value that nobody saw and that never expires, on a key without failed
compares, could explain nothing that its absence does not; it is left out, which keeps the search small in runs with
many crashes.
"""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from dkv.testing.history import Kind, Operation

STATES_MAX = 200_000
"""About two seconds of search. Reaching it is reported as undecided, never as a pass."""

Value = bytes | None


class Verdict(Enum):
    LINEARIZABLE = "linearizable"
    VIOLATION = "not linearizable"
    UNDECIDED = "undecided"


class Result(NamedTuple):
    verdict: Verdict
    stuck: tuple[Operation, ...] = ()
    """Where the search got furthest: the operations one of which should have been next."""
    value: Value = None
    """The value at that point."""


class _Refused:
    """Answer of `after`: the operation cannot have come at this point."""


_REFUSED = _Refused()


def after(operation: Operation, value: Value) -> Value | _Refused:
    """The value after `operation` on a key that holds `value`."""
    match operation.kind:
        case Kind.PUT:
            return operation.value
        case Kind.DELETE:
            return None
        case Kind.GET:
            return value if operation.value == value else _REFUSED
        case Kind.RESTORE:
            raise AssertionError("a restore is a put or a delete of each key")
        case Kind.EXPIRE:
            return None if value == operation.value else _REFUSED
        case Kind.CAS:
            matches = value == operation.expected or (value is None and not operation.expected)
            if operation.returned is None:
                return operation.value if matches else _REFUSED
            if matches is not operation.took_effect:
                return _REFUSED
            return operation.value if matches else value


def check(operations: Sequence[Operation], initial: Value = None, states_max: int = STATES_MAX) -> Result:
    """Whether some order explains `operations` of one key."""
    search = _Search(sorted(_relevant(operations), key=lambda o: o.invoked), states_max)
    return search.run(initial)


def _relevant(operations: Sequence[Operation]) -> list[Operation]:
    if any(o.kind is Kind.CAS and not o.took_effect for o in operations):
        return list(operations)
    seen: set[Value] = {o.value for o in operations if o.kind in (Kind.GET, Kind.EXPIRE)}
    seen |= {o.expected for o in operations if o.kind is Kind.CAS}
    return [o for o in operations if o.kind is not Kind.PUT or o.returned is not None or o.value in seen]


class _Search:
    """`done` is a bit set over the operations in order of invocation."""

    def __init__(self, operations: list[Operation], states_max: int) -> None:
        self._operations = operations
        self._states_max = states_max
        self._must = sum(1 << i for i, o in enumerate(operations) if o.returned is not None)
        self._best: tuple[int, int, Value] = (-1, 0, None)

    def run(self, initial: Value) -> Result:
        stack: list[tuple[int, Value]] = [(0, initial)]
        tried = set(stack)
        while stack:
            done, value = stack.pop()
            if done & self._must == self._must:
                return Result(Verdict.LINEARIZABLE)
            if len(tried) > self._states_max:
                return Result(Verdict.UNDECIDED)
            placed = (done & self._must).bit_count()
            if placed > self._best[0]:
                self._best = (placed, done, value)
            for step in self._steps(done, value):
                if step not in tried:
                    tried.add(step)
                    stack.append(step)
        _, done, value = self._best
        return Result(Verdict.VIOLATION, tuple(self._operations[i] for i in self._next(done)), value)

    def _steps(self, done: int, value: Value) -> Iterator[tuple[int, Value]]:
        """What can follow, the most promising last: operations that returned before those that never did."""
        candidates = sorted(self._next(done), key=self._patience, reverse=True)
        for i in candidates:
            new_value = after(self._operations[i], value)
            if not isinstance(new_value, _Refused):
                yield done | (1 << i), new_value

    def _next(self, done: int) -> list[int]:
        """Operations that no remaining one wholly precedes."""
        found: list[int] = []
        first_return: float = float("inf")
        i = ((~done) & (done + 1)).bit_length() - 1
        while i < len(self._operations) and self._operations[i].invoked < first_return:
            if not done >> i & 1:
                found.append(i)
                returned = self._operations[i].returned
                if returned is not None and returned < first_return:
                    first_return = returned
            i += 1
        return found

    def _patience(self, i: int) -> float:
        returned = self._operations[i].returned
        return float("inf") if returned is None else returned
