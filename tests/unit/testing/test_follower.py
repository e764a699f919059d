"""A follower of the feed complains about whatever is not every change once, in order."""

import random

import pytest

from dkv.model.errors import DkvError, HistoryPurged, ShuttingDown
from dkv.testing import checks
from dkv.testing.edge import Reply
from dkv.testing.follower import Follower
from dkv.testing.history import Entry, History, Kind
from dkv.wire import messages as pb
from dkv.wire.errors import to_details

HISTORY_ID = b"h" * 16


def follower(prefix: bytes = b"") -> Follower:
    made = Follower(0, random.Random(1), prefix)
    made.act(lambda path, message: 7)
    return made


def message(*numbers: int, behind: int = 0, history_id: bytes = HISTORY_ID, key: bytes = b"k") -> bytes:
    changes = [pb.Change(changeNumber=number, kind=pb.Change.PUT, key=key, value=b"v") for number in numbers]
    behind = behind or numbers[-1] + 1
    return pb.StreamChangesResponse(changes=changes, nextChangeNumber=behind, historyId=history_id).SerializeToString()


def ended(error: DkvError) -> Reply:
    return Reply(7, int(error.code), b"", str(error), to_details(error), 0, [])


def test_follower_of_a_whole_feed_has_nothing_to_say() -> None:
    """Also over several messages, marks, and an end after which it resumes."""
    reader = follower()
    reader.took([message(1, 2), message(behind=3), message(3)])
    reader.replied(ended(ShuttingDown("stops")), {1: HISTORY_ID})
    reader.act(lambda path, message: 8)
    reader.took([message(4)])
    assert reader.complaints == []
    assert reader.covered == [range(1, 5)]


@pytest.mark.parametrize(
    "items",
    [
        [message(2)],
        [message(1), message(1)],
        [message(1, 3)],
        [message(1, behind=3)],
        [message(1), message(2, history_id=b"other")],
    ],
    ids=["gap at the start", "twice", "gap", "position ahead", "history changed"],
)
def test_follower_of_a_broken_feed_complains(items: list[bytes]) -> None:
    """Each of them is a lost or invented change for somebody."""
    reader = follower()
    reader.took(items)
    assert reader.complaints != []


def test_follower_with_a_prefix_expects_gaps_and_a_position() -> None:
    """Numbers still only grow."""
    reader = follower(b"k")
    reader.took([message(3, 9, behind=20)])
    assert reader.complaints == []
    reader.took([message(15)])
    assert reader.complaints != []


def test_follower_believes_a_purge_that_is_one() -> None:
    """It goes on at the oldest, and the numbers before are not covered."""
    reader = follower()
    reader.took([message(1)])
    reader.replied(ended(HistoryPurged(2, 5, 9)), {1: HISTORY_ID})
    assert (reader.complaints, reader.next_number) == ([], 5)
    reader.act(lambda path, message: 8)
    reader.took([message(5)])
    assert reader.covered == [range(1, 2), range(5, 6)]


@pytest.mark.parametrize("error", [HistoryPurged(2, 2, 9), HistoryPurged(1, 5, 9), DkvError("broken")])
def test_follower_does_not_believe_any_end(error: DkvError) -> None:
    """A purge of what is kept, or of what was not asked for, or an end that says nothing."""
    reader = follower()
    reader.took([message(1)])
    reader.replied(ended(error), {1: HISTORY_ID})
    assert reader.complaints != []


def test_checker_misses_an_acknowledged_change_and_a_wrong_one() -> None:
    """What clients were told and what followers saw have to be the same."""
    history = History()
    for number, value in enumerate((b"v", b"other"), 1):
        history.ok(history.invoke(0, Kind.PUT, (Entry(b"k", value),)), change_number=number)
    reader = follower()
    reader.took([message(1, 2)])
    (complaint,) = checks.followed(history, reader)
    assert "change 2 was sent as" in complaint
    reader = follower(b"k")
    reader.took([message(2, key=b"strange")])
    assert [line.split(": ")[1] for line in checks.followed(history, reader)] == [
        "change 2 was never written",
        "change 2 is not of its prefix",
        "change 1 was sent as None",
        "change 2 was sent as Seen(kind=1, key=b'strange', value=b'v', end=b'', expire_ts=0)",
    ]
