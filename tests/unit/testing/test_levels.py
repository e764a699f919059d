"""The levels of consistency on short histories: those that keep their promise, and those that do not."""

from dkv.testing.history import Call, Entry, History, Kind, Level
from dkv.testing.levels import levels_kept

WEAK, TOKEN, STRONG = Level.SEQUENTIAL, Level.READ_YOUR_WRITES, Level.LINEARIZABLE


def put(history: History, value: bytes, number: int, key: bytes = b"k", *, expires_at: int = 0) -> Call:
    call = history.invoke(0, Kind.PUT, (Entry(key, value, expires_at=expires_at),))
    history.ok(call, change_number=number)
    return call


def unknown(history: History, kind: Kind, value: bytes = b"") -> None:
    history.unknown(history.invoke(0, kind, (Entry(b"k", value),)))


def get(
    history: History,
    seen: bytes | None,
    applied: int,
    *,
    level: Level = WEAK,
    node: int = 1,
    number_min: int = 0,
    key: bytes = b"k",
) -> None:
    call = history.invoke(1, Kind.GET, (Entry(key),))
    call.level, call.node, call.number_min = level, node, number_min
    history.ok(call, seen=(seen,), applied=applied)


def complaints(history: History) -> int:
    return len(list(levels_kept(history)))


def test_sequential_read_may_be_old() -> None:
    """A node that is behind shows what it has."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2)
    get(history, b"a", 1)
    assert complaints(history) == 0


def test_read_goes_back_on_one_node_is_found() -> None:
    """Another node may be behind; the same one may not fall back."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2)
    get(history, b"b", 2, node=1)
    get(history, b"a", 1, node=2)
    assert complaints(history) == 0
    get(history, b"a", 1, node=1)
    assert complaints(history) == 1


def test_reads_that_overlap_may_show_either_order() -> None:
    """What was shown before this read began is what counts."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2)
    early = history.invoke(1, Kind.GET, (Entry(b"k"),))
    early.level, early.node = WEAK, 1
    get(history, b"b", 2)
    history.ok(early, seen=(b"a",), applied=1)
    assert complaints(history) == 0


def test_read_below_its_token_is_found() -> None:
    """READ_YOUR_WRITES is refused, or it sees what the caller has seen."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2)
    get(history, b"b", 2, level=TOKEN, number_min=2)
    assert complaints(history) == 0
    get(history, b"a", 1, level=TOKEN, node=2, number_min=2)
    assert complaints(history) == 1


def test_linearizable_read_behind_a_write_that_was_acknowledged_is_found() -> None:
    """Also where no key shows it."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2, b"other")
    get(history, b"a", 1, level=STRONG)
    assert complaints(history) == 1


def test_linearizable_read_behind_another_is_found() -> None:
    """On any node; a weak read in between promises nothing to others."""
    history = History()
    put(history, b"a", 1)
    unknown(history, Kind.PUT, b"b")
    get(history, b"b", 2, level=WEAK, node=1)
    get(history, b"a", 1, level=STRONG, node=2)
    assert complaints(history) == 0
    get(history, b"b", 2, level=STRONG, node=3)
    get(history, b"a", 1, level=STRONG, node=2)
    assert complaints(history) == 1


def test_value_that_is_not_the_one_at_its_number_is_found() -> None:
    """At number 2 the key holds what change 2 has left, on every node."""
    history = History()
    put(history, b"a", 1)
    put(history, b"b", 2)
    get(history, b"a", 2)
    get(history, None, 2, node=2)
    get(history, b"b", 1, node=3)
    assert complaints(history) == 3


def test_value_of_an_unknown_write_needs_a_number_that_is_free() -> None:
    """It can have been applied at 2, and not between 2 and 3."""
    history = History()
    put(history, b"a", 1)
    unknown(history, Kind.PUT, b"u")
    put(history, b"o", 3, b"other")
    get(history, b"u", 3)
    assert complaints(history) == 0
    get(history, b"u", 1, node=2)
    assert complaints(history) == 1


def test_absence_is_explained_by_an_unknown_delete_or_an_expiry() -> None:
    """And by nothing else."""
    history = History()
    put(history, b"a", 1)
    get(history, None, 2)
    assert complaints(history) == 1
    unknown(history, Kind.DELETE)
    get(history, None, 2)
    assert complaints(history) == 1
    put(history, b"t", 3, b"t", expires_at=50)
    get(history, None, 3, node=2, key=b"t")
    assert complaints(history) == 2, "not due yet"
    history.saw_wall_time(50)
    get(history, None, 3, node=2, key=b"t")
    assert complaints(history) == 2


def test_read_without_a_number_is_not_looked_at() -> None:
    """Iterate tells none."""
    history = History()
    put(history, b"a", 1)
    get(history, None, 0)
    assert complaints(history) == 0
