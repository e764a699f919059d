"""The checker on histories whose verdict a person can see; all in one key, moments from left to right."""

import itertools
from random import Random

import pytest

from dkv.testing.history import Kind, Operation
from dkv.testing.linearizability import Verdict, _Refused, after, check


def put(value: bytes, invoked: int, returned: int | None) -> Operation:
    return Operation(Kind.PUT, invoked, returned, value)


def get(value: bytes | None, invoked: int, returned: int) -> Operation:
    return Operation(Kind.GET, invoked, returned, value)


def delete(invoked: int, returned: int | None) -> Operation:
    return Operation(Kind.DELETE, invoked, returned)


def cas(expected: bytes, value: bytes, took_effect: bool, invoked: int, returned: int | None) -> Operation:
    return Operation(Kind.CAS, invoked, returned, value, expected, took_effect)


def expire(value: bytes, invoked: int) -> Operation:
    return Operation(Kind.EXPIRE, invoked, None, value)


LINEARIZABLE = {
    "nothing": [],
    "read your write": [put(b"a", 1, 2), get(b"a", 3, 4)],
    "absent before the first write": [get(None, 1, 2), put(b"a", 3, 4)],
    "read overlaps write, sees new": [put(b"a", 1, 4), get(b"a", 2, 3)],
    "read overlaps write, sees old": [put(b"a", 1, 4), get(None, 2, 3)],
    "two writers, either order": [put(b"a", 1, 4), put(b"b", 2, 3), get(b"a", 5, 6)],
    "unknown write never happened": [put(b"a", 1, None), get(None, 2, 3), get(None, 4, 5)],
    "unknown write happened late": [put(b"a", 1, None), get(None, 2, 3), get(b"a", 4, 5)],
    "unknown delete explains absence": [put(b"a", 1, 2), delete(3, None), get(None, 4, 5)],
    "compare matches": [put(b"a", 1, 2), cas(b"a", b"b", True, 3, 4), get(b"b", 5, 6)],
    "compare fails on another value": [put(b"a", 1, 2), cas(b"x", b"b", False, 3, 4), get(b"a", 5, 6)],
    "empty compare matches absence": [cas(b"", b"a", True, 1, 2), get(b"a", 3, 4)],
    "unseen unknown put explains a failed compare": [
        put(b"a", 1, 2),
        put(b"b", 3, None),
        cas(b"a", b"c", False, 4, 5),
    ],
    "unseen unknown put explains absence by its expiry": [
        put(b"a", 1, 2),
        put(b"b", 3, None),
        expire(b"b", 4),
        get(None, 5, 6),
    ],
    "one of two overlapping compares wins": [
        cas(b"", b"a", True, 1, 4),
        cas(b"", b"b", False, 2, 3),
        get(b"a", 5, 6),
    ],
    "unknown compare happened": [put(b"a", 1, 2), cas(b"a", b"b", True, 3, None), get(b"b", 4, 5)],
    "expired": [put(b"a", 1, 2), expire(b"a", 3), get(b"a", 4, 5), get(None, 6, 7)],
}

NOT_LINEARIZABLE = {
    "lost write": [put(b"a", 1, 2), get(None, 3, 4)],
    "stale read": [put(b"a", 1, 2), put(b"b", 3, 4), get(b"a", 5, 6)],
    "reads go back": [put(b"a", 1, 6), get(b"a", 2, 3), get(None, 4, 5)],
    "value from nowhere": [get(b"z", 1, 2)],
    "value before its write": [get(b"a", 1, 2), put(b"a", 3, 4)],
    "two compares win": [cas(b"", b"a", True, 1, 2), cas(b"", b"b", True, 3, 4)],
    "compare fails though it matches": [put(b"a", 1, 2), cas(b"a", b"b", False, 3, 4)],
    "applied twice": [put(b"a", 1, 2), put(b"b", 3, 4), get(b"b", 5, 6), get(b"a", 7, 8)],
    "unknown write happens twice": [
        put(b"a", 1, None),
        get(b"a", 2, 3),
        put(b"b", 4, 5),
        get(b"b", 6, 7),
        get(b"a", 8, 9),
    ],
    "comes back after its expiry": [put(b"a", 1, 2), expire(b"a", 3), get(None, 4, 5), get(b"a", 6, 7)],
    "expires too early": [put(b"a", 1, 2), get(None, 3, 4), expire(b"a", 5)],
    "readers disagree on the order of two writes": [
        put(b"a", 1, 12),
        put(b"b", 2, 11),
        get(b"a", 3, 4),
        get(b"b", 5, 6),
        get(b"a", 7, 8),
    ],
}


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_check_history_with_an_order_passes(name: str) -> None:
    """A history that some order explains is accepted."""
    assert check(LINEARIZABLE[name]).verdict is Verdict.LINEARIZABLE


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_check_history_without_an_order_fails_and_says_where(name: str) -> None:
    """A history that no order explains is refused, with the operations at which it got stuck."""
    result = check(NOT_LINEARIZABLE[name])
    assert result.verdict is Verdict.VIOLATION
    assert result.stuck


def test_check_too_large_search_is_undecided() -> None:
    """Giving up is never reported as a pass."""
    overlapping = [put(bytes([i]), i + 1, 100 + i) for i in range(12)]
    assert check([*overlapping, get(b"\xff", 200, 201)], states_max=50).verdict is Verdict.UNDECIDED


def slow_check(operations: list[Operation]) -> bool:
    """All orders of all subsets that keep what returned: the definition, for a handful of operations."""
    unknown = [o for o in operations if o.returned is None]
    known = [o for o in operations if o.returned is not None]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if any(explains(order) for order in itertools.permutations([*known, *some])):
                return True
    return False


def explains(order: tuple[Operation, ...]) -> bool:
    value: bytes | None = None
    for i, operation in enumerate(order):
        if any(later.returned is not None and later.returned < operation.invoked for later in order[i + 1 :]):
            return False
        new_value = after(operation, value)
        if isinstance(new_value, _Refused):
            return False
        value = new_value
    return True


def random_operations(rng: Random) -> list[Operation]:
    moments = rng.sample(range(1, 100), 12)
    made = []
    for first, second in zip(moments[::2], moments[1::2], strict=True):
        low, high = sorted((first, second))
        returned = high if rng.random() < 0.75 else None
        value = rng.choice([b"a", b"b"])
        made.append(
            rng.choice(
                [
                    put(value, low, returned),
                    delete(low, returned),
                    get(rng.choice([value, None]), low, high),
                    cas(rng.choice([b"a", b"b", b""]), value, rng.random() < 0.5, low, returned),
                ]
            )
        )
    return made


def test_check_random_histories_agrees_with_the_definition() -> None:
    """On small random histories the search and the enumeration of all orders give the same verdict."""
    rng = Random(7)
    verdicts = []
    for _ in range(400):
        operations = random_operations(rng)
        verdict = check(operations).verdict is Verdict.LINEARIZABLE
        assert verdict == slow_check(operations), operations
        verdicts.append(verdict)
    assert 50 < sum(verdicts) < 350


def test_check_long_history_with_many_unknown_writes_is_quick() -> None:
    """A run with many crashes stays within the search's bound."""
    operations = [put(b"u%d" % i, 10 * i + 1, None) for i in range(60)]
    for i in range(60):
        operations += [put(b"v%d" % i, 10 * i + 2, 10 * i + 5), get(b"v%d" % i, 10 * i + 6, 10 * i + 8)]
    assert check(operations).verdict is Verdict.LINEARIZABLE
