"""The feed of a database of several vBuckets, on three nodes: one stream of all, or of one that is named."""

from typing import Any

import pytest
from tests.unit.node.test_cluster_turns import Member, Trio

from dkv.cluster.plans import REMOVED, Change
from dkv.model.errors import Code, HistoryPurged, StaleRead
from dkv.node import reading
from dkv.node.scans import STREAM_BUFFER_BYTES
from dkv.vbucket.retention import Retention
from dkv.vbucket.routing import vbucket_of
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.errors import from_status

COUNT = 4
ALL = range(1, COUNT + 1)
KEYS = [b"key %d" % number for number in range(24)]
OF: dict[int, list[bytes]] = {vbucket: [key for key in KEYS if vbucket_of(key, COUNT) == vbucket] for vbucket in ALL}


class Reader:
    """A stream on one node; what it was told, by vBucket."""

    def __init__(self, trio: Trio, member: Member, **fields: Any) -> None:
        self.trio, self.member = trio, member
        number = [path for path, _ in member.services.methods].index(methods.STREAM_CHANGES_PATH)
        self.call_id = member.edge.call(number, pb.StreamChangesRequest(**fields).SerializeToString())
        self.messages: list[pb.StreamChangesResponse] = []
        self.keys: dict[int, list[bytes]] = {}
        self.numbers: dict[int, list[int]] = {}
        self.places: dict[int, pb.FeedPosition] = {}
        self.take()

    def take(self, rounds: int = 10) -> "Reader":
        self.trio.run(rounds)
        for message in map(pb.StreamChangesResponse.FromString, self.member.edge.take_items(self.call_id)):
            self.messages.append(message)
            assert message.vBucket or message.positions
            for change in message.changes:
                self.keys.setdefault(message.vBucket, []).append(change.key)
                self.numbers.setdefault(message.vBucket, []).append(change.changeNumber)
            at = pb.FeedPosition(
                vBucket=message.vBucket, nextChangeNumber=message.nextChangeNumber, historyId=message.historyId
            )
            for place in message.positions or [at]:
                self.places[place.vBucket] = place
        return self

    @property
    def error(self) -> Exception | None:
        reply = self.member.reply(self.call_id)
        return None if reply is None else from_status(reply.code, reply.reason, reply.details)


@pytest.fixture
def trio(monkeypatch: pytest.MonkeyPatch) -> Trio:
    """Keeps all of its history."""
    monkeypatch.setattr(Member, "retention", Retention())
    trio = Trio(COUNT)
    trio.run(100)
    return trio


def put(trio: Trio, member: Member, *keys: bytes, value: bytes = b"v") -> None:
    for key in keys:
        reply = trio.ask(member, "Put", pb.PutRequest(key=key, value=value))
        assert reply.code == 0, reply.reason
    trio.run(20)


def test_reader_follows_all_vbuckets_on_any_node(trio: Trio) -> None:
    """What was there and what comes, each vBucket in its own order and without gaps; followers serve it, too."""
    half = len(KEYS) // 2
    put(trio, trio.members[0], *KEYS[:half])
    readers = [Reader(trio, member) for member in trio.members]
    for reader in readers:
        assert [place.vBucket for place in reader.messages[0].positions] == list(ALL)
        assert len(reader.messages[0].changes) == 0
    put(trio, trio.members[1], *KEYS[half:])
    for reader in readers:
        reader.take()
        assert reader.keys == OF
        assert reader.numbers == {vbucket: list(range(1, len(keys) + 1)) for vbucket, keys in OF.items()}
        assert reader.error is None


def test_reader_from_now_is_told_where_that_is_in_each_before_any_change(trio: Trio) -> None:
    """So that it can go on from there, whatever it has seen when its stream breaks."""
    put(trio, trio.members[0], *KEYS)
    reader = Reader(trio, trio.members[0], fromNow=True)
    assert {place.vBucket: place.nextChangeNumber for place in reader.messages[0].positions} == {
        vbucket: len(keys) + 1 for vbucket, keys in OF.items()
    }
    put(trio, trio.members[0], KEYS[0])
    assert reader.take().keys == {vbucket_of(KEYS[0], COUNT): [KEYS[0]]}


def test_reader_of_one_vbucket_gets_that_one(trio: Trio) -> None:
    """From any of its numbers on, with an end, and in the words of a database of one."""
    put(trio, trio.members[0], *KEYS)
    longest = max(ALL, key=lambda vbucket: len(OF[vbucket]))
    reader = Reader(trio, trio.members[2], vBucket=longest, fromChangeNumber=2, throughChangeNumber=3)
    reply = trio.members[2].reply(reader.call_id)
    assert reply is not None
    assert reply.code == Code.OK
    messages = list(map(pb.StreamChangesResponse.FromString, reply.items))
    assert [change.key for message in messages for change in message.changes] == OF[longest][1:3]
    assert {message.vBucket for message in messages} == {longest}
    assert not any(message.positions for message in messages)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"fromChangeNumber": 2}, "has 4 vBuckets, each with change numbers of its own"),
        ({"throughChangeNumber": 2}, "has 4 vBuckets"),
        ({"historyId": b"h" * 16}, "has 4 vBuckets"),
        ({"vBucket": 5}, "there is no vBucket 5 here"),
        ({"positions": [pb.FeedPosition(vBucket=9, nextChangeNumber=1)]}, "there is no vBucket 9 here"),
    ],
)
def test_reader_whose_place_means_nothing_in_several_is_refused(trio: Trio, fields: dict[str, Any], text: str) -> None:
    """It is told what to say instead."""
    error = Reader(trio, trio.members[0], **fields).error
    assert error is not None
    assert error.code == Code.INVALID_ARGUMENT  # type: ignore[attr-defined]
    assert text in str(error)


def test_reader_goes_on_at_another_node_where_it_was_in_each(trio: Trio) -> None:
    """Its node is killed between two changes: none comes twice, none is left out."""
    put(trio, trio.members[0], *KEYS[:10])
    first = Reader(trio, trio.members[0])
    put(trio, trio.members[0], *KEYS[10:15])
    first.take()
    trio.members[0].crash()
    trio.run(100)
    put(trio, trio.members[1], *KEYS[15:])
    second = Reader(trio, trio.members[1], positions=list(first.places.values())).take()
    together = {vbucket: first.keys.get(vbucket, []) + second.keys.get(vbucket, []) for vbucket in ALL}
    assert together == OF


def test_reader_that_has_seen_more_than_a_node_in_one_vbucket_is_told_which(trio: Trio) -> None:
    """That node is behind: another one has it, or it catches up."""
    behind = trio.members[2]
    trio.isolate(behind)
    trio.run(200)
    key = OF[2][0]
    put(trio, trio.members[0], key)
    first = Reader(trio, trio.members[0]).take()
    assert first.keys == {2: [key]}
    second = Reader(trio, behind, positions=list(first.places.values()))
    assert isinstance(second.error, StaleRead)
    assert str(second.error) == "vBucket 2: change 1 is not applied here yet, the latest is 0"
    trio.wire.cut = set()
    trio.run(100)
    assert Reader(trio, behind, positions=list(first.places.values())).take().error is None


def test_one_vbucket_whose_history_is_purged_ends_the_stream_and_is_named(
    trio: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the beginning and on the way."""
    put(trio, trio.members[0], *KEYS)
    reader = Reader(trio, trio.members[0]).take()
    member = trio.members[0]
    replica = member.node.vbuckets[3].replica
    places = list(reader.places.values())
    monkeypatch.setattr(replica, "history_id", b"n" * 16)
    reader.take()
    again = Reader(trio, member, positions=places)
    for each in (reader, again):
        error = each.error
        assert isinstance(error, HistoryPurged)
        assert (error.vbucket, error.requested) == (3, len(OF[3]) + 1)
        assert "in vBucket 3" in str(error)
    assert Reader(trio, member, vBucket=2, fromChangeNumber=1).take().keys == {2: OF[2]}


def test_mark_of_progress_is_one_message_with_what_is_new(trio: Trio) -> None:
    """Also of a vBucket whose changes the reader does not want; with nothing new it says that the server is there."""
    reader = Reader(trio, trio.members[0], keyPrefix=b"nothing").take(100)
    reader.messages.clear()
    put(trio, trio.members[0], OF[4][0])
    reader.take(60)
    told = [[place.vBucket for place in message.positions] for message in reader.messages]
    assert told.count([4]) == 1
    assert reader.places[4].nextChangeNumber == 2
    reader.messages.clear()
    assert {len(message.positions) for message in reader.take(60).messages} == {1}


def test_idle_reader_of_all_makes_no_vbucket_busy(trio: Trio) -> None:
    """A turn costs what happens, not what is followed."""
    put(trio, trio.members[0], *KEYS)
    reader = Reader(trio, trio.members[0]).take()
    trio.run(20)
    assert reader.keys == OF
    assert not any(hosted.is_busy for hosted in trio.members[0].node.vbuckets.values())
    assert not trio.members[0].node.readers.has_more


@pytest.mark.parametrize("together", [1, 2])
def test_reader_of_all_reads_the_logs_of_a_few_at_a_time(
    trio: Trio, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """What it holds of them is bounded; those that wait get theirs when others have had it."""
    monkeypatch.setattr(reading, "READ_TOGETHER_MAX", together)
    put(trio, trio.members[0], *KEYS)
    member = trio.members[0]
    reader, most = Reader.__new__(Reader), 0
    asked = type(member.consensus).fetch

    def fetch(consensus: Any, token: int, vbucket: int, *place: int) -> None:
        nonlocal most
        asked(consensus, token, vbucket, *place)
        most = max(most, sum(hosted.history.is_waiting for hosted in member.node.vbuckets.values()))

    monkeypatch.setattr(type(member.consensus), "fetch", fetch)
    reader.__init__(trio, member)  # type: ignore[misc]
    assert reader.take(40).keys == OF
    assert most <= together


def test_reader_of_all_that_takes_nothing_holds_what_one_may(trio: Trio) -> None:
    """The room at the edge is the call's, not each vBucket's; it gets everything when it takes again."""
    member = trio.members[0]
    put(trio, member, *KEYS, value=bytes(120_000))
    number = [path for path, _ in member.services.methods].index(methods.STREAM_CHANGES_PATH)
    call_id = member.edge.call(number, b"")
    trio.run(60)
    assert sum(map(len, member.edge._items[call_id])) < 2 * STREAM_BUFFER_BYTES
    reader = Reader.__new__(Reader)
    reader.trio, reader.member, reader.call_id = trio, member, call_id
    reader.messages, reader.keys, reader.numbers, reader.places = [], {}, {}, {}
    for _ in range(20):
        reader.take(3)
    assert reader.keys == OF


def test_reader_on_a_node_that_is_removed_is_sent_elsewhere(trio: Trio) -> None:
    """It would wait for ever there."""
    member = next(each for each in trio.members if not each.node.vbuckets[1].is_leading)
    reader = Reader(trio, member)
    leader = next(each for each in trio.members if each.node.vbuckets[1].is_leading)
    assert leader.node.duties is not None
    leader.node.duties.membership.propose_change(1, Change(((REMOVED, member.node_id),)))
    reader.take(30)
    assert reader.error is not None
    assert reader.error.code == Code.UNAVAILABLE  # type: ignore[attr-defined]


def get_changes(trio: Trio, **fields: Any) -> Any:
    member = trio.members[0]
    call_id = member.edge.call(
        [path for path, _ in member.services.methods].index(methods.GET_CHANGES_PATH),
        pb.GetChangesRequest(maxNumberOfChanges=100, **fields).SerializeToString(),
    )
    trio.run(20)
    reply = member.reply(call_id)
    assert reply is not None
    return reply


def test_get_changes_is_of_the_vbucket_that_it_names(trio: Trio) -> None:
    """A slave of the original names none: it is refused, rather than left with a quarter of the keys."""
    put(trio, trio.members[0], *KEYS)
    for vbucket in ALL:
        reply = pb.GetChangesResponse.FromString(get_changes(trio, vBucket=vbucket).message)
        assert [record.trxns[0].key for record in reply.changes] == OF[vbucket]
    unnamed = get_changes(trio)
    assert (unnamed.code, unnamed.reason) == (
        Code.INVALID_ARGUMENT,
        "this database has 4 vBuckets, each with change numbers of its own: name one in vBucket (102)",
    )
    assert get_changes(trio, vBucket=5).reason == "there is no vBucket 5 here"
