"""changes and backup of both clients, against real servers."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

import dkv
import dkv.aio
import dkv.testing
from dkv import Change, ChangeKind
from dkv.client.backups import progress
from dkv.client.changes import Changes
from dkv.wire import messages as pb
from dkv.wire.replies import MalformedReply


class Reader:
    """`changes` and `backup` of either client, as lists."""

    def __init__(self, is_sync: bool) -> None:
        self.is_sync = is_sync

    def changes(self, url: str, *words: Any, **options: Any) -> list[Change]:
        if self.is_sync:
            with dkv.connect(url) as client:
                return list(client.changes(*words, **options))

        async def read() -> list[Change]:
            async with dkv.aio.connect(url) as client:
                return [change async for change in client.changes(*words, **options)]

        return asyncio.run(read())

    def backup(self, url: str, path: str, seen: list[str]) -> dkv.BackupProgress:
        def note(each: dkv.BackupProgress) -> None:
            seen.append(each.phase)

        if self.is_sync:
            with dkv.connect(url) as client:
                return client.backup(path, on_progress=note)

        async def take() -> dkv.BackupProgress:
            async with dkv.aio.connect(url) as client:
                return await client.backup(path, on_progress=note)

        return asyncio.run(take())


@pytest.fixture(params=["sync", "asyncio"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return Reader(request.param == "sync")


@pytest.fixture
def url() -> Iterator[str]:
    with dkv.testing.server() as url:
        yield f"{url}?timeout=10s"


def test_every_kind_of_change_comes_once_and_in_order(reader: Reader, url: str) -> None:
    """With what it did."""
    with dkv.connect(url) as client:
        client.put("a", "1", ttl=1_000)
        client.put_many({"b": "2", "c": ""})
        client.compare_and_set("b", "2", "3")
        client.compare_and_set("b", "2", "4")
        client.delete("a")
        client.delete_range("b", "c")
        client.delete_range("x", None)
    changes = reader.changes(url, 1, through=7)
    assert [change.number for change in changes] == [1, 2, 3, 4, 5, 6, 7]
    put, delete, many = ChangeKind.PUT, ChangeKind.DELETE, ChangeKind.DELETE_RANGE
    assert [(change.kind, change.key, change.value) for change in changes] == [
        (put, b"a", b"1"),
        (put, b"b", b"2"),
        (put, b"c", b""),
        (put, b"b", b"3"),
        (delete, b"a", b""),
        (many, b"b", b""),
        (many, b"x", b""),
    ]
    assert [change.end_key for change in changes[4:]] == [None, b"c", None]
    assert changes[0].expires_at is not None
    assert changes[1].expires_at is None
    assert len({change.history_id for change in changes}) == 1
    assert [change.time_ms for change in changes] == sorted(change.time_ms for change in changes)


def test_changes_of_a_prefix_are_those_that_touch_it(reader: Reader, url: str) -> None:
    """Ranges that meet it included; the end is found all the same."""
    with dkv.connect(url) as client:
        client.put_many({"a1": "v", "b1": "v", "a2": "v", "c": "v"})
        client.delete_range("a2", "b")
    assert [change.number for change in reader.changes(url, 2, prefix="a", through=5)] == [3, 5]


def test_changes_that_are_there_already_end_at_once(reader: Reader, url: str) -> None:
    """A reader who has everything asks for nothing."""
    assert reader.changes(url, 5, through=4) == []


def test_place_of_another_history_is_refused(reader: Reader, url: str) -> None:
    """With the bounds of what is there."""
    with dkv.connect(url) as client:
        client.put("k", "v")
    with pytest.raises(dkv.HistoryPurged) as caught:
        reader.changes(url, 1, through=1, history_id=b"another history!")
    assert caught.value.latest == 1


@pytest.mark.parametrize(
    ("words", "options", "why"),
    [
        ((0,), {}, "begin with 1"),
        ((1,), {"through": 0}, "begin with 1"),
        ((), {"through": 3}, "a place to start from"),
        ((), {"history_id": b"h" * 16}, "a place to start from"),
    ],
)
def test_place_that_makes_no_sense_is_refused_here(words: tuple[int], options: dict[str, Any], why: str) -> None:
    """Nothing is sent."""
    client = dkv.connect("dkv://127.0.0.1:1")
    with pytest.raises(dkv.InvalidRequest, match=why):
        next(client.changes(*words, **options))


def test_changes_are_followed_through_a_restart(make_server: Callable[..., Any]) -> None:
    """The server is killed and comes back with more; no change is missing or there twice."""
    server = make_server()

    async def follow() -> list[Change]:
        found = []
        async with dkv.aio.connect(f"dkv://{server.address}?timeout=20s") as client:
            await client.put("first", "v")
            async for change in client.changes(1):
                found.append(change)
                if change.key == b"second":
                    break
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await client.put("second", "v")
        return found

    assert [(change.number, change.key) for change in asyncio.run(follow())] == [(1, b"first"), (2, b"second")]


def test_changes_to_come_leave_out_what_has_been(url: str) -> None:
    """From now on means from when the server hears of it."""

    async def follow() -> Change:
        async with dkv.aio.connect(url) as client:
            await client.put("before", "v")
            news = asyncio.create_task(anext(aiter(client.changes())))  # type: ignore[arg-type]
            while not news.done():
                await client.put("after", "v")
            return news.result()

    assert asyncio.run(follow()).key == b"after"


@pytest.mark.parametrize(("timeout_s", "progress_ms"), [(0.05, 100), (0.6, 200), (10.0, 1_000)])
def test_server_is_asked_for_marks_of_progress_well_within_the_time_out(timeout_s: float, progress_ms: int) -> None:
    """So an idle feed is no time-out, and a server that has gone is one."""
    request = pb.StreamChangesRequest.FromString(Changes(None, b"k", None, b"", timeout_s).request())
    assert (request.fromNow, request.keyPrefix, request.progressIntervalMs) == (True, b"k", progress_ms)


def test_backup_says_how_far_it_is_and_what_it_holds(
    reader: Reader, make_server: Callable[..., Any], tmp_path: Path
) -> None:
    """Its change number is that of the moment."""
    server = make_server()
    url = f"dkv://{server.address}?timeout=10s"
    with dkv.connect(url) as client:
        client.put_many({f"{number:04}": "v" for number in range(1_000)})
        seen: list[str] = []
        done = reader.backup(url, str(tmp_path / "backup"), seen)
        assert (done.phase, done.change_number) == ("done", 1_000)
        assert done.history_id == client.stats().history_id
    assert seen[-1] == "done"
    assert (tmp_path / "backup").is_dir()


def test_backup_that_cannot_be_taken_is_a_typed_error(reader: Reader, make_server: Callable[..., Any]) -> None:
    """A path whose parent does not exist."""
    server = make_server()
    with pytest.raises(dkv.Error, match="no such file"):
        reader.backup(f"dkv://{server.address}", "/does/not/exist", [])


@pytest.mark.parametrize("message", [b"\xff", pb.StreamChangesResponse(changes=[pb.Change(kind=9)])])
def test_feed_that_is_garbage_is_a_malformed_reply(message: Any) -> None:
    """Bytes, and kinds of a server that knows more."""
    data = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(MalformedReply):
        Changes(1, b"", None, b"", 1.0).take([data])


def test_progress_of_a_phase_not_known_here_is_progress() -> None:
    """Newer servers may do more; garbage is garbage."""
    assert progress(pb.BackupProgress(phase=99, bytesDone=5).SerializeToString())[:2] == ("unknown", 5)
    with pytest.raises(MalformedReply):
        progress(b"\xff")
