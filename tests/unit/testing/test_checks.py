"""The checkers on short histories: one that holds and one that does not, for each promise."""

from collections.abc import Iterator

from dkv.testing import checks
from dkv.testing.history import Call, Entry, History, Kind


def put(history: History, key: bytes, value: bytes, number: int, *, expires_at: int = 0) -> Call:
    call = history.invoke(0, Kind.PUT, (Entry(key, value, expires_at=expires_at),))
    history.ok(call, change_number=number)
    return call


def get(history: History, keys: list[bytes], seen: list[bytes | None]) -> Call:
    call = history.invoke(0, Kind.GET, tuple(Entry(key) for key in keys))
    history.ok(call, seen=tuple(seen))
    return call


def unknown_put(history: History, key: bytes, value: bytes) -> Call:
    call = history.invoke(0, Kind.PUT, (Entry(key, value),))
    history.unknown(call)
    return call


def complaints(found: Iterator[str]) -> int:
    return len(list(found))


def test_change_numbers_without_gap_pass() -> None:
    """Numbers 1..n, each acknowledged once, in order, are whole."""
    history = History()
    for i in range(1, 5):
        put(history, b"k", b"%d" % i, i)
    assert complaints(checks.change_numbers_whole(history, 4)) == 0


def test_change_number_skipped_is_found() -> None:
    """A number that no write can have taken is a gap."""
    history = History()
    put(history, b"k", b"a", 1)
    put(history, b"k", b"b", 3)
    assert complaints(checks.change_numbers_whole(history, 3)) == 1


def test_change_number_of_an_unknown_write_is_no_gap() -> None:
    """A write of unknown outcome may have taken the missing number."""
    history = History()
    put(history, b"k", b"a", 1)
    unknown_put(history, b"k", b"u")
    put(history, b"k", b"b", 3)
    assert complaints(checks.change_numbers_whole(history, 3)) == 0


def test_change_number_missing_before_the_unknown_write_is_found() -> None:
    """An unknown write cannot have taken a number passed before it was invoked."""
    history = History()
    put(history, b"k", b"a", 2)
    unknown_put(history, b"k", b"u")
    assert complaints(checks.change_numbers_whole(history, 2)) == 1


def test_change_number_beyond_all_writes_is_found() -> None:
    """A latest number above all that was asked for means that something was applied twice."""
    history = History()
    put(history, b"k", b"a", 1)
    assert complaints(checks.change_numbers_whole(history, 2)) == 1


def test_change_number_acknowledged_twice_is_found() -> None:
    """Two writes cannot share a number."""
    history = History()
    put(history, b"k", b"a", 1)
    put(history, b"j", b"b", 1)
    assert complaints(checks.change_numbers_whole(history, 1)) >= 1


def test_batch_takes_one_number_an_entry() -> None:
    """A MultiPut that answers 3 with two entries took 2 and 3."""
    history = History()
    put(history, b"k", b"a", 1)
    call = history.invoke(0, Kind.PUT, (Entry(b"x", b"1"), Entry(b"y", b"1")))
    history.ok(call, change_number=3)
    assert call.change_numbers == range(2, 4)
    assert complaints(checks.change_numbers_whole(history, 3)) == 0


def test_delete_of_many_keys_takes_one_number() -> None:
    """However many keys a range holds."""
    history = History()
    call = history.invoke(0, Kind.DELETE, (Entry(b"x"), Entry(b"y")))
    history.ok(call, change_number=1)
    assert call.change_numbers == range(1, 2)


def test_acknowledged_write_lost_is_found() -> None:
    """The last acknowledged value must be there."""
    history = History()
    put(history, b"k", b"a", 1)
    put(history, b"k", b"b", 2)
    assert complaints(checks.acknowledged_present(history, {b"k": b"b"})) == 0
    assert complaints(checks.acknowledged_present(history, {b"k": b"a"})) == 1
    assert complaints(checks.acknowledged_present(history, {b"k": None})) == 1


def test_acknowledged_write_may_be_covered_by_an_unknown_one() -> None:
    """A write of unknown outcome may stand over an acknowledged one."""
    history = History()
    put(history, b"k", b"a", 1)
    unknown_put(history, b"k", b"u")
    assert complaints(checks.acknowledged_present(history, {b"k": b"u"})) == 0


def test_batch_seen_in_part_is_found() -> None:
    """Keys that are only written together are only seen together."""
    groups = {b"x": "g", b"y": "g"}
    history = History()
    get(history, [b"x", b"y"], [b"1", b"1"])
    assert complaints(checks.batches_whole(history, groups)) == 0
    get(history, [b"x", b"y"], [b"1", b"2"])
    assert complaints(checks.batches_whole(history, groups)) == 1


def test_expired_value_visible_at_the_end_is_found() -> None:
    """After log time passed its expiry a value is gone."""
    history = History()
    put(history, b"k", b"a", 1, expires_at=50)
    assert complaints(checks.expired_gone(history, {b"k": b"a"}, 49)) == 0
    assert complaints(checks.expired_gone(history, {b"k": b"a"}, 50)) == 1
    assert complaints(checks.expired_gone(history, {b"k": None}, 50)) == 0


def test_value_that_nobody_wrote_is_found() -> None:
    """Reads return what was written to that key."""
    history = History()
    put(history, b"k", b"a", 1)
    get(history, [b"k"], [b"a"])
    assert complaints(checks.only_written_values(history)) == 0
    get(history, [b"j"], [b"a"])
    assert complaints(checks.only_written_values(history)) == 1


def test_linearizable_expiry_counts_only_once_it_is_due() -> None:
    """A value may be gone from the event on at which its expiry was first reached, not before."""
    for due_first in (True, False):
        history = History()
        put(history, b"k", b"a", 1, expires_at=100)
        if due_first:
            history.saw_wall_time(100)
        get(history, [b"k"], [None])
        history.saw_wall_time(101)
        assert complaints(checks.linearizable(history)) == (0 if due_first else 1)


def test_linearizable_call_that_failed_must_not_show() -> None:
    """A refused write promises that nothing happened."""
    history = History()
    history.failed(history.invoke(0, Kind.PUT, (Entry(b"k", b"a"),)))
    get(history, [b"k"], [b"a"])
    assert complaints(checks.linearizable(history)) == 1
