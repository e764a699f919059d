"""A history of several vBuckets, taken apart."""

from dkv.testing.checks import change_numbers_whole
from dkv.testing.clients import GROUP_KEYS
from dkv.testing.history import Entry, History, Kind
from dkv.testing.parts import per_vbucket
from dkv.vbucket.routing import vbucket_of

K0, K1, K2 = b"k0", b"k1", b"k2"  # of two vBuckets: the second of them in vBucket 2, the others in vBucket 1


def test_keys_of_a_group_lie_in_one_vbucket() -> None:
    """And the groups in different ones, of as many vBuckets as runs have."""
    for count in (2, 3, 4):
        found = [{vbucket_of(key, count) for key in keys} for keys in GROUP_KEYS]
        assert [len(each) for each in found] == [1, 1]
        assert found[0] != found[1]


def test_read_of_several_vbuckets_is_one_of_each() -> None:
    """Each part has its own keys and what was seen of them."""
    history = History()
    call = history.invoke(1, Kind.GET, tuple(map(Entry, (K0, K1, K2))))
    history.ok(call, seen=(b"0", b"1", b"2"))
    parts = per_vbucket(history, 2)
    assert [(part.calls[0].entries, part.calls[0].seen) for part in parts.values()] == [
        ((Entry(K0), Entry(K2)), (b"0", b"2")),
        ((Entry(K1),), (b"1",)),
    ]


def test_backup_of_several_vbuckets_has_seen_a_change_of_each() -> None:
    """Which one, the checkers of each are told."""
    history = History()
    call = history.invoke(1, Kind.GET, (Entry(K0), Entry(K1)))
    call.applied_in = {1: 5, 2: 9}
    history.ok(call, seen=(b"0", b"1"), applied=5)
    assert [part.calls[0].applied for part in per_vbucket(history, 2).values()] == [5, 9]


def test_write_that_is_spread_takes_a_number_in_every_vbucket() -> None:
    """Also where it has no key; nobody is told which."""
    history = History()
    spread = history.invoke(1, Kind.DELETE, (Entry(K0),))
    spread.is_spread = True
    history.ok(spread)
    put = history.invoke(1, Kind.PUT, (Entry(K1, b"v"),))
    history.ok(put, change_number=2)
    parts = per_vbucket(history, 2)
    assert list(change_numbers_whole(parts[1], 1)) == []
    assert list(change_numbers_whole(parts[2], 2)) == []
    assert len(list(change_numbers_whole(parts[1], 2))) == 1


def test_calls_are_numbered_anew_and_keep_their_moments() -> None:
    """The checkers look things up by number, and compare moments."""
    history = History()
    for key in (K1, K0):
        history.ok(history.invoke(1, Kind.PUT, (Entry(key, b"v"),)), change_number=1)
    (call,) = per_vbucket(history, 2)[1].calls
    assert (call.number, call.invoked, call.returned) == (0, 3, 4)
