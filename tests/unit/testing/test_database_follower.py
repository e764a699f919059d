"""A simulated follower of all vBuckets holds each of them to its own numbers."""

from random import Random

from dkv.testing.database_follower import DatabaseFollower
from dkv.testing.protocol import field

HISTORY = b"h" * 16


def changes(vbucket: int, *numbers: int) -> bytes:
    """A message with these changes of one vBucket."""
    found = b"".join(field(1, field(1, number) + field(2, 1) + field(3, b"k")) for number in numbers)
    return found + field(2, numbers[-1] + 1) + field(6, HISTORY) + field(7, vbucket)


def place(vbucket: int, number: int) -> bytes:
    """A mark that tells where one of them is."""
    return field(8, field(1, vbucket) + field(2, number) + field(6, HISTORY))


def follower() -> DatabaseFollower:
    found = DatabaseFollower(0, Random(1), range(1, 3))
    found.act(lambda path, message: 1)
    return found


def test_follower_takes_the_changes_of_each_vbucket_by_its_own_numbers() -> None:
    """Messages of several vBuckets may come in any order; each has its place."""
    following = follower()
    following.took([place(1, 1) + place(2, 1), changes(2, 1), changes(1, 1, 2), changes(2, 2)])
    assert following.place == {1: 3, 2: 3}
    assert following.has_all({1: 2, 2: 2})
    assert not following.has_all({1: 2, 2: 3})
    assert not any(part.complaints for part in following.parts.values())


def test_follower_complains_of_a_number_left_out_in_one_of_them() -> None:
    """Also where only a mark says so, and of no other vBucket."""
    following = follower()
    following.took([changes(1, 2), place(2, 4)])
    assert following.parts[1].complaints
    assert following.parts[2].complaints
