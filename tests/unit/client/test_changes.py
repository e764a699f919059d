"""The cursor of a reader of changes: what it asks for, and what its token is."""

from typing import Any

import pytest

from dkv.client.answers import Answer, Fate
from dkv.client.changes import Change, Changes, Place
from dkv.client.exchange import Exchange
from dkv.client.retries import RetryBudget
from dkv.model.errors import InvalidRequest, StaleRead
from dkv.wire import messages as pb
from dkv.wire.errors import to_details
from dkv.wire.methods import GET_PATH, STREAM_CHANGES_PATH
from dkv.wire.replies import MalformedReply

ONE, TWO = b"1" * 16, b"2" * 16


def cursor(start: int | None = None, **options: Any) -> Changes:
    return Changes(start, b"", options.pop("through", None), options.pop("history_id", b""), 10.0, **options)


def asked(of: Changes) -> pb.StreamChangesRequest:
    return pb.StreamChangesRequest.FromString(of.request())


def put(number: int) -> pb.Change:
    return pb.Change(changeNumber=number, kind=pb.Change.PUT, key=b"k%d" % number)


def message(vbucket: int, *numbers: int, history_id: bytes = ONE, behind: int = 0) -> bytes:
    return pb.StreamChangesResponse(
        changes=map(put, numbers),
        nextChangeNumber=behind or numbers[-1] + 1,
        historyId=history_id,
        vBucket=vbucket,
    ).SerializeToString()


def mark(*places: tuple[int, int, bytes]) -> bytes:
    positions = [pb.FeedPosition(vBucket=each, nextChangeNumber=at, historyId=of) for each, at, of in places]
    return pb.StreamChangesResponse(positions=positions).SerializeToString()


def places(request: pb.StreamChangesRequest) -> list[tuple[int, int, bytes]]:
    return [(each.vBucket, each.nextChangeNumber, each.historyId) for each in request.positions]


def test_reader_of_several_asks_for_its_place_in_each_when_it_begins_again() -> None:
    """Also where it was told nothing but the place, and where a mark moved it."""
    reader = cursor()
    assert asked(reader).fromNow
    assert not reader.follows_several
    reader.take([mark((1, 5, ONE), (2, 9, TWO), (3, 1, ONE))])
    reader.take([message(2, 9, 10, history_id=TWO), mark((1, 7, ONE))])
    again = asked(reader)
    assert places(again) == [(1, 7, ONE), (2, 11, TWO), (3, 1, ONE)]
    assert (again.fromNow, again.fromChangeNumber, again.historyId) == (False, 0, b"")
    assert reader.follows_several


def test_reader_of_one_asks_in_words_that_every_release_knows() -> None:
    """An earlier one would pass over positions, and begin at 1."""
    reader = cursor(3, through=9)
    reader.take([message(0, 3, 4)])
    again = asked(reader)
    assert (again.fromChangeNumber, again.historyId, again.throughChangeNumber) == (5, ONE, 9)
    assert places(again) == []


def test_token_is_of_what_was_handed_out_not_of_what_has_come() -> None:
    """Whoever saves it behind each change misses none."""
    reader = cursor(1)
    assert reader.token() == b""
    items = reader.take([mark((1, 1, ONE), (2, 1, TWO)), message(1, 1, 2), message(2, 1, history_id=TWO)])
    assert [type(item) for item in items] == [Place, Place, Change, Change, Place, Change, Place]
    changes = [reader.handed(item) for item in items[:3]]
    assert [change and change.number for change in changes] == [None, None, 1]
    again = cursor(token=reader.token())
    assert places(asked(again)) == [(1, 2, ONE), (2, 1, TWO)]
    for item in items[3:]:
        reader.handed(item)
    assert places(asked(cursor(token=reader.token()))) == [(1, 3, ONE), (2, 2, TWO)]
    assert again.token() == cursor(token=again.token()).token()


def test_token_of_one_vbucket_follows_that_one() -> None:
    """As it did."""
    reader = cursor(4, vbucket=3)
    assert asked(reader).vBucket == 3
    for item in reader.take([message(3, 4)]):
        reader.handed(item)
    again = asked(cursor(token=reader.token()))
    assert (again.vBucket, again.fromChangeNumber, again.historyId) == (3, 5, ONE)


@pytest.mark.parametrize("token", [b"\xff", b"garbage", pb.StreamChangesRequest(fromNow=True).SerializeToString()])
def test_token_that_is_none_is_refused(token: bytes) -> None:
    """Before anything is asked."""
    with pytest.raises(InvalidRequest, match="not a token"):
        cursor(token=token)


@pytest.mark.parametrize(("start", "options"), [(1, {}), (None, {"vbucket": 2}), (None, {"history_id": ONE})])
def test_token_beside_another_place_is_refused(start: int | None, options: dict[str, Any]) -> None:
    """It says all of that."""
    reader = cursor(1)
    reader.handed(Place(1, 5, ONE))
    with pytest.raises(InvalidRequest, match="a token says"):
        cursor(start, token=reader.token(), **options)


def test_vbucket_below_1_is_refused() -> None:
    """There is none."""
    with pytest.raises(InvalidRequest, match="numbered from 1"):
        cursor(vbucket=0)


def test_reader_of_several_takes_nothing_that_does_not_say_of_which_it_is() -> None:
    """A server of an earlier release follows the first only."""
    reader = cursor()
    reader.take([mark((1, 5, ONE), (2, 9, TWO))])
    with pytest.raises(MalformedReply, match="of what vBucket"):
        reader.take([message(0, 5)])


def test_reader_that_is_ahead_of_a_node_tries_again_and_other_reads_do_not() -> None:
    """Nodes catch up with what another one has streamed."""
    error = StaleRead.behind(5, 4)
    stale = Answer(int(error.code), str(error), to_details(error), b"", Fate.ANSWERED)
    assert Exchange(STREAM_CHANGES_PATH, None, RetryBudget()).failed(stale, 10.0) > 0
    with pytest.raises(StaleRead):
        Exchange(STREAM_CHANGES_PATH, None, RetryBudget()).failed(stale, 0.0)
    with pytest.raises(StaleRead):
        Exchange(GET_PATH, None, RetryBudget()).failed(stale, 10.0)
