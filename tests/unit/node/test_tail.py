"""The latest changes that readers share."""

from dkv.node.tail import Tail
from dkv.vbucket.history import EntryChanges


def entry(index: int, size: int = 10) -> EntryChanges:
    return EntryChanges(index, index * 100, 0, (), 0, size)


def indexes(tail: Tail, index: int) -> list[int]:
    return [each.log_index for each in tail.behind(index)]


def test_tail_covers_what_was_added_since_it_was_opened() -> None:
    """Entries without changes are not in it, and are no gap."""
    tail = Tail()
    assert not tail.covers(5)
    tail.open(5, 50)
    tail.open(9, 50)
    tail.add([entry(5), entry(8)])
    tail.add([entry(9)])
    assert (tail.covers(4), tail.covers(5), tail.covers(10)) == (False, True, True)
    assert indexes(tail, 5) == [5, 8, 9]
    assert indexes(tail, 6) == [8, 9]
    assert indexes(tail, 10) == []


def test_tail_that_is_too_large_drops_its_oldest_half() -> None:
    """And covers no more than it has."""
    tail = Tail()
    tail.open(1, 50)
    for index in range(1, 6):
        tail.add([entry(index)])
    assert indexes(tail, 1) == [1, 2, 3, 4, 5]
    tail.add([entry(6)])
    assert (tail.first_index, indexes(tail, 5)) == (5, [5, 6])
    tail.add([entry(7, size=1_000)])
    assert (tail.covers(7), tail.covers(8), indexes(tail, 8)) == (False, True, [])


def test_tail_that_is_closed_keeps_nothing() -> None:
    """It may be opened again, further on."""
    tail = Tail()
    tail.open(1, 50)
    tail.add([entry(1)])
    tail.close()
    assert not tail.covers(1)
    tail.open(3, 50)
    assert indexes(tail, 3) == []
