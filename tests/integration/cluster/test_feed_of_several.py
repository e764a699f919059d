"""Following a cluster of several vBuckets with the Python clients and dkvctl, while its nodes come and go."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from tests.integration.cluster.nodes import Cluster
from tests.integration.conftest import Wire

import dkv
import dkv.aio

COUNT = 4
SECONDS = 30


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, wire: Wire) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("feed"), wire, "--vbuckets", str(COUNT))
    try:
        yield made.form()
    finally:
        made.close()


def url(cluster: Cluster) -> str:
    return f"dkv://{','.join(cluster.addresses)}?timeout={SECONDS}s"


def write(client: dkv.Client, name: str, count: int = 40) -> set[bytes]:
    keys = {f"{name} {at}".encode() for at in range(count)}
    for key in sorted(keys):
        client.put(key, name)
    return keys


def take(feed: dkv.ChangeFeed, wanted: set[bytes], found: list[dkv.Change]) -> None:
    """Up to the last of these; others may come between."""
    left = set(wanted)
    while left:
        change = next(feed)
        found.append(change)
        left.discard(change.key)


def check(found: list[dkv.Change]) -> None:
    """In each vBucket the numbers go on by one, and no change came twice."""
    assert max(Counter((change.vbucket, change.number) for change in found).values()) == 1
    for vbucket in {change.vbucket for change in found}:
        numbers = [change.number for change in found if change.vbucket == vbucket]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_reader_follows_all_vbuckets_through_the_loss_of_each_node(cluster: Cluster) -> None:
    """Whichever node it was at: nothing is missing, nothing comes twice. Behind it another goes on with its token."""
    found: list[dkv.Change] = []
    with dkv.connect(url(cluster)) as client:
        feed = client.changes(1)
        take(feed, write(client, "first"), found)
        assert {change.vbucket for change in found} == set(range(1, COUNT + 1))
        for at, server in enumerate(cluster.servers):
            server.kill()
            take(feed, write(client, f"without {at}"), found)
            server.start()
            cluster.settle()
        token = feed.token
        feed.close()
        last = write(client, "last")
    with dkv.connect(url(cluster)) as other:
        take(other.changes(token=token), last, found)
    check(found)


def test_asyncio_reader_goes_on_from_a_token_and_from_now(cluster: Cluster) -> None:
    """As the blocking one does."""

    async def follow() -> list[dkv.Change]:
        found: list[dkv.Change] = []
        async with dkv.aio.connect(url(cluster)) as client:
            feed = client.changes(prefix="async")
            first = asyncio.ensure_future(anext(feed))
            at = 0
            while not first.done():
                await client.put(f"async {at}", "v")
                at += 1
            found.append(await first)
            token = feed.token
            await feed.aclose()
            await client.put("async end", "v")
            async for change in client.changes(prefix="async", token=token):
                found.append(change)
                if change.key == b"async end":
                    return found
        raise AssertionError("the feed ended")

    found = asyncio.run(follow())
    assert max(Counter((change.vbucket, change.number) for change in found).values()) == 1


def test_reader_of_one_vbucket_has_numbers_and_an_end(cluster: Cluster) -> None:
    """They mean nothing in several, which the server says."""
    with dkv.connect(url(cluster)) as client:
        write(client, "one")
        some = list(islice(client.changes(1, vbucket=2), 5))
        assert [(change.vbucket, change.number) for change in some] == [(2, number) for number in range(1, 6)]
        again = list(client.changes(3, vbucket=2, through=5, history_id=some[0].history_id))
        assert again == some[2:]
        with pytest.raises(dkv.InvalidRequest, match="has 4 vBuckets"):
            next(client.changes(3))
        with pytest.raises(dkv.InvalidRequest, match="no vBucket 9"):
            next(client.changes(vbucket=9))
        with pytest.raises(dkv.HistoryPurged) as purged:
            next(client.changes(1, vbucket=3, history_id=b"another history!"))
        assert purged.value.vbucket == 3


def test_watch_prints_of_which_vbucket_each_change_is(cluster: Cluster) -> None:
    """On lines and in JSON."""
    with dkv.connect(url(cluster)) as client:
        write(client, "watched")
    words = ["-a", ",".join(cluster.addresses), "watch", "watched", "--from", "1", "--limit", "40"]

    def watch(*more: str) -> list[bytes]:
        command = [sys.executable, "-m", "dkv.cli.dkvctl", *words, *more]
        return subprocess.run(command, capture_output=True, check=True, timeout=SECONDS).stdout.splitlines()

    lines = watch()
    assert {line.partition(b"/")[0] for line in lines} == {b"1", b"2", b"3", b"4"}
    assert all(line.partition(b" ")[2].startswith(b"put watched ") for line in lines)
    assert {json.loads(line)["vBucket"] for line in watch("--json")} == {1, 2, 3, 4}


def test_server_of_one_vbucket_gives_tokens_too(tmp_path: Path, wire: Wire) -> None:
    """The same program follows either."""
    alone = Cluster(tmp_path, wire)
    try:
        alone.form(1)
        with dkv.connect(url(alone)) as client:
            write(client, "k", 3)
            feed = client.changes(1)
            found = [next(feed)]
            found += islice(client.changes(token=feed.token), 2)
            assert [change.vbucket for change in found] == [1, 1, 1]
            assert not feed.follows_several
            check(found)
    finally:
        alone.close()
