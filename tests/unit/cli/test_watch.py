"""dkvctl watch: what it asks for, and what it prints of each change."""

import json
from typing import Any

import pytest

from dkv.cli import dkvctl
from dkv.client.sync import Client
from dkv.model.errors import HistoryPurged
from dkv.wire import messages as pb
from dkv.wire import methods

HISTORY_ID = b"\xabh" * 8
CHANGES = (
    pb.Change(changeNumber=12, kind=pb.Change.PUT, key=b"k", value=b"\xff\x00", logTime=1_700_000_000_000),
    pb.Change(changeNumber=13, kind=pb.Change.PUT, key=b"t", value=b"v", expireTS=1_800_000_000, logTime=5),
    pb.Change(changeNumber=14, kind=pb.Change.DELETE, key=b"k", logTime=6),
    pb.Change(changeNumber=15, kind=pb.Change.DELETE_RANGE, key=b"a", endKey=b"b", logTime=7),
    pb.Change(changeNumber=16, kind=pb.Change.DELETE_RANGE, key=b"x", logTime=8),
)
LINES = b"12 put k => \xff\x00\n13 put t => v\n14 delete k\n15 delete-range a to b\n16 delete-range x to \n"


def run(server: Any, *words: str) -> int:
    return dkvctl.main(words, connect=lambda _options: server.client())


@pytest.fixture
def feed(server: Any) -> Any:
    """Five changes, and nothing more to come until somebody has seen enough."""
    message = pb.StreamChangesResponse(changes=CHANGES, nextChangeNumber=17, historyId=HISTORY_ID)
    server.replies[methods.STREAM_CHANGES_PATH] = [message]
    return server


@pytest.mark.parametrize(
    ("line", "first", "prefix"),
    [
        ("watch --limit 5", 0, b""),
        ("--watch --limit 5 --from 12", 12, b""),
        ("watch * --limit 5 --from 0", 1, b""),
        ("watch user/ --limit 5", 0, b"user/"),
    ],
)
def test_watch_asks_for_what_comes_or_from_a_number_on(
    feed: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, first: int, prefix: bytes
) -> None:
    """Bytes go out as they are, one change a line, until the limit."""
    assert run(feed, *line.split()) == 0
    assert capfdbinary.readouterr().out == LINES
    ((path, message),) = feed.requests
    asked = pb.StreamChangesRequest.FromString(message)
    assert path == methods.STREAM_CHANGES_PATH
    assert (asked.fromChangeNumber, asked.fromNow, asked.keyPrefix) == (first, first == 0, prefix)


def test_watch_with_json_prints_a_document_for_each_change(
    feed: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With everything that is known of it."""
    assert run(feed, "watch", "--json", "--limit", "5") == 0
    documents = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    history = {"historyId": HISTORY_ID.hex(), "vBucket": 1}
    assert (
        documents[0]
        == {
            "changeNumber": 12,
            "kind": "PUT",
            "key": "k",
            "valueBase64": "/wA=",
            "expireTS": 0,
            "logTime": 1_700_000_000_000,
        }
        | history
    )
    assert documents[2] == {"changeNumber": 14, "kind": "DELETE", "key": "k", "logTime": 6} | history
    assert documents[3]["endKey"] == "b"
    assert documents[4]["endKey"] == ""


def test_watch_ends_quietly_with_ctrl_c(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is how everybody leaves it: nothing is printed, and the status is 0."""

    def interrupted(self: Client, *_: object, **__: object) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Client, "changes", interrupted)
    assert run(server, "watch") == 0
    assert capfdbinary.readouterr() == (b"", b"")


def test_watch_from_a_change_that_is_purged_says_where_the_history_begins(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The server's sentence has both numbers."""
    purged = HistoryPurged(3, 70, 90)
    server.failures[methods.STREAM_CHANGES_PATH] = (int(purged.code), str(purged))
    assert run(server, "watch", "--from", "3") == 1
    assert capfdbinary.readouterr().out == (
        b"Unable to watch. Error: rpc error: code = OutOfRange desc ="
        b" changes from 3 are no longer available, oldest is 70\n"
    )


def test_watch_of_several_vbuckets_says_of_which_each_change_is(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The first message says how many there are."""
    places = [pb.FeedPosition(vBucket=each, nextChangeNumber=12, historyId=HISTORY_ID) for each in (1, 2)]
    server.replies[methods.STREAM_CHANGES_PATH] = [
        pb.StreamChangesResponse(positions=places),
        pb.StreamChangesResponse(changes=CHANGES[:1], nextChangeNumber=13, historyId=HISTORY_ID, vBucket=2),
        pb.StreamChangesResponse(changes=CHANGES[:1], nextChangeNumber=13, historyId=HISTORY_ID, vBucket=1),
    ]
    assert run(server, "watch", "--limit", "2") == 0
    assert capfdbinary.readouterr().out == b"2/12 put k => \xff\x00\n1/12 put k => \xff\x00\n"
    assert run(server, "watch", "--limit", "0", "--vbucket", "x") == 2


def test_watch_of_one_vbucket_asks_for_it(feed: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Then a number is one of its own."""
    assert run(feed, "watch", "--limit", "5", "--from", "12", "--vbucket", "2") == 0
    ((_, message),) = feed.requests
    asked = pb.StreamChangesRequest.FromString(message)
    assert (asked.vBucket, asked.fromChangeNumber) == (2, 12)


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "9" * 19])
def test_watch_from_what_is_no_number_is_refused(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], number: str
) -> None:
    """Exit status 2, before anything is asked."""
    assert run(server, "watch", f"--from={number}") == 2
    assert b"invalid change number" in capfdbinary.readouterr().err
    assert server.requests == []
