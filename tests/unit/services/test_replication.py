"""DKVReplication: what is asked, and what records say."""

from collections.abc import Callable

import pytest

from dkv.model.commands import AddSlave, Command, Delete, DeleteRange, MultiPut, Outcome, Put, RemoveSlave
from dkv.model.errors import Code, DkvError, HistoryPurged, LimitExceeded
from dkv.model.limits import Limits
from dkv.services import replication
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.services.replication import ChangesJob
from dkv.services.turn import Start, Turn, View
from dkv.vbucket.history import EntryChanges
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.errors import from_status
from dkv.wire.feed import Position

LOG_TIME = 1_700_000_000_000
VIEW = View(LOG_TIME, 500, b"h" * 16, True, 40, lambda: [b"[::1]:80", b"eu@b:1", b"h:2"])


@pytest.fixture
def services() -> Services:
    return Services(Limits(), NodeIdentity(role="master"))


def entry(first: int, *commands: Command) -> EntryChanges:
    return EntryChanges(first * 10, first, LOG_TIME, commands, 0, 100)


def ask(services: Services, path: str, turn: Turn, request: pb.GetChangesRequest) -> None:
    """One call, number 3, and what is answered from the view alone."""
    number = [each for each, _ in services.methods].index(path)
    services.accept(number, [3], [request.SerializeToString()], turn)
    for read in turn.reads:
        read.answer(turn, [], VIEW)


def get_changes(services: Services, turn: Turn, **fields: object) -> pb.GetChangesResponse | None:
    ask(services, methods.GET_CHANGES_PATH, turn, pb.GetChangesRequest(**fields))  # type: ignore[arg-type]
    return pb.GetChangesResponse.FromString(turn.replies[0]) if turn.replies else None


def error_of(turn: Turn) -> DkvError:
    ((_, code, text, details, _),) = turn.finished
    return from_status(code, text, details)


@pytest.mark.parametrize("fields", [{"maxNumberOfChanges": 0}, {"fromChangeNumber": 501, "maxNumberOfChanges": 9}])
def test_get_changes_without_any_tells_the_number(services: Services, turn: Turn, fields: dict[str, object]) -> None:
    """The normal idle poll, and the question for the number alone; also when the number asked for is purged."""
    reply = get_changes(services, turn, **fields)
    assert reply is not None
    assert turn.replies[0].startswith(b"\x0a\x00")
    assert (reply.masterChangeNumber, reply.numberOfChanges, len(reply.changes)) == (500, 0, 0)
    assert (reply.historyId, reply.oldestChangeNumber) == (b"h" * 16, 40)
    assert turn.histories == []


def test_get_changes_of_a_slave_that_is_ahead_gets_no_changes(services: Services, turn: Turn) -> None:
    """It compares the numbers itself (its check 2)."""
    reply = get_changes(services, turn, fromChangeNumber=900, maxNumberOfChanges=9)
    assert reply is not None
    assert (reply.masterChangeNumber, reply.numberOfChanges) == (500, 0)


@pytest.mark.parametrize(("asked", "first"), [(0, 1), (1, 1), (500, 500)])
def test_get_changes_reads_the_history_from_its_number(services: Services, turn: Turn, asked: int, first: int) -> None:
    """0 means 1; whether that is still kept is for the history to say."""
    assert get_changes(services, turn, fromChangeNumber=asked, maxNumberOfChanges=9) is None
    (request,) = turn.histories
    assert (request.call_id, request.vbucket, request.start) == (3, 1, Start(first, b"h" * 16))


def test_get_changes_of_another_history_is_refused(services: Services, turn: Turn) -> None:
    """Also when the number would be there; typed, with the bounds."""
    get_changes(services, turn, fromChangeNumber=77, maxNumberOfChanges=9, historyId=b"other")
    error = error_of(turn)
    assert isinstance(error, HistoryPurged)
    assert (error.code, error.requested, error.oldest, error.latest) == (Code.OUT_OF_RANGE, 77, 40, 500)
    assert str(error) == "changes from 77 are no longer available, oldest is 40"


@pytest.mark.parametrize(("encoding", "reason"), [(2, "pair"), (9, "unknown encoding 9")])
def test_get_changes_in_another_encoding_is_refused(services: Services, turn: Turn, encoding: int, reason: str) -> None:
    """INVALID_ARGUMENT, saying what there is."""
    get_changes(services, turn, maxNumberOfChanges=1, encoding=encoding)
    assert error_of(turn).code == Code.INVALID_ARGUMENT
    assert reason in str(error_of(turn))


def test_get_changes_before_the_node_may_be_read_is_refused(services: Services, turn: Turn) -> None:
    """INVARIANTS 5."""
    number = [path for path, _ in services.methods].index(methods.GET_CHANGES_PATH)
    services.accept(number, [3], [b""], turn)
    turn.reads[0].answer(turn, [], View(LOG_TIME, 500, b"h" * 16, False))
    assert error_of(turn).code == Code.UNAVAILABLE


def job(through: int = 500, **fields: object) -> ChangesJob:
    return ChangesJob(3, pb.GetChangesRequest(**fields), through)  # type: ignore[arg-type]


def finished(reader: ChangesJob, next_number: int) -> pb.GetChangesResponse:
    turn = Turn(LOG_TIME)
    reader.finish(turn, Position(1, next_number, 500, 40, LOG_TIME, b"h" * 16))
    assert turn.reply_ids == [3]
    reply = pb.GetChangesResponse.FromString(turn.replies[0])
    assert turn.replies[0] == reply.SerializeToString()
    assert reply.numberOfChanges == len(reply.changes)
    return reply


def test_record_is_what_one_command_did() -> None:
    """A MultiPut is one record of as many operations and numbers; a delete-range is Unknown to the original."""
    reader = job(maxNumberOfChanges=9)
    puts = MultiPut((Put(b"a", b"1"), Put(b"b", b"2", LOG_TIME)))
    behind = reader.add(entry(200, puts, Delete(b"c"), DeleteRange(b"d", b"e")), 200)
    changes = finished(reader, behind).changes
    assert behind == 204
    assert [(each.changeNumber, each.numberOfTrxns, each.leaderTime) for each in changes] == [
        (200, 2, LOG_TIME),
        (202, 1, LOG_TIME),
        (203, 1, LOG_TIME),
    ]
    assert [[(t.type, t.key, t.value, t.expireTS) for t in each.trxns] for each in changes] == [
        [(1, b"a", b"1", 0), (1, b"b", b"2", LOG_TIME // 1000)],
        [(2, b"c", b"", 0)],
        [(0, b"d", b"e", 0)],
    ]
    assert changes[1].serialisedForm == bytes.fromhex("ca00000000000000 01000000 04 01 01 63")


def test_record_that_contains_the_number_comes_whole() -> None:
    """A slave of the original applies records, not numbers."""
    reader = job(maxNumberOfChanges=9)
    behind = reader.add(entry(200, Put(b"x", b""), MultiPut((Put(b"a", b""), Put(b"b", b"")))), 202)
    assert [each.changeNumber for each in finished(reader, behind).changes] == [201]


def test_records_of_operations_only_have_no_batch() -> None:
    """Encoding 3: half the bytes, for our own slaves."""
    reader = job(maxNumberOfChanges=9, encoding=3)
    (change,) = finished(reader, reader.add(entry(200, Put(b"a", b"1")), 200)).changes
    assert (change.serialisedForm, change.trxns[0].key) == (b"", b"a")


def test_get_changes_ends_at_the_most_records_asked_for() -> None:
    """Also within an entry; nothing is allocated from the number."""
    reader = job(maxNumberOfChanges=2)
    behind = reader.add(entry(200, Put(b"a", b""), Put(b"b", b""), Put(b"c", b"")), 200)
    assert reader.is_over(behind)
    assert reader.is_full
    assert [each.changeNumber for each in finished(reader, behind).changes] == [200, 201]


def test_get_changes_ends_at_the_latest_of_when_it_was_asked() -> None:
    """Writers cannot keep a call open for ever."""
    reader = job(through=201, maxNumberOfChanges=2**32 - 1)
    assert not reader.is_over(reader.add(entry(200, Put(b"a", b"")), 200))
    assert reader.is_over(reader.add(entry(201, Put(b"a", b"")), 201))


def test_get_changes_is_cut_before_it_is_too_large_but_never_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record of any size is sent; the next one that does not fit is left for the next call."""
    monkeypatch.setattr(replication, "CHANGES_REPLY_BYTES_MAX", 1_000)
    reader = job(maxNumberOfChanges=9)
    behind = reader.add(entry(200, Put(b"a", bytes(5_000)), Put(b"b", b"")), 200)
    assert (behind, reader.is_over(behind)) == (201, True)
    assert [each.changeNumber for each in finished(reader, behind).changes] == [200]
    reader = job(maxNumberOfChanges=9)
    behind = reader.add(entry(300, Put(b"a", b""), Put(b"b", bytes(500)), Put(b"c", b"")), 300)
    assert [each.changeNumber for each in finished(reader, behind).changes] == [300]


def test_long_reply_is_built_in_slices() -> None:
    """A slice a turn (INVARIANTS 20), and nothing leaves before the end."""
    reader = job(maxNumberOfChanges=9)
    reader.add(entry(200, Put(b"a", bytes(200_000))), 200)
    assert reader.is_full
    assert reader.send(Turn(LOG_TIME), Position(1, 201, 500, 40, LOG_TIME, b""), 0) == 0
    assert not reader.is_full


Apply = Callable[..., None]


@pytest.mark.parametrize(
    ("replica", "address"),
    [
        (pb.Replica(hostname="h", port=1), b"h:1"),
        (pb.Replica(zone=" eu west ", hostname="h.example", port=65_535), b"eu west@h.example:65535"),
        (pb.Replica(zone="a@b", hostname="::1", port=8080), b"a@b@::1:8080"),
    ],
)
def test_replica_is_added_removed_and_read_back(
    services: Services, turn: Turn, apply: Apply, replica: pb.Replica, address: bytes
) -> None:
    """Through the log; the zone is trimmed; addresses in IPv6 come back as they were."""
    paths = [path for path, _ in services.methods]
    for path in (methods.ADD_REPLICA_PATH, methods.REMOVE_REPLICA_PATH):
        services.accept(paths.index(path), [3], [replica.SerializeToString()], turn)
    assert turn.commands == [AddSlave(address), RemoveSlave(address)]
    apply(Outcome(True, 0), Outcome(True, 0))
    assert (turn.reply_ids, turn.replies) == ([3, 3], [b"", b""])
    assert services.accept(paths.index(methods.GET_REPLICAS_PATH), [4], [b"\xa0\x06\x01"], turn) is None
    turn.reads[0].answer(turn, [], View(LOG_TIME, 1, b"h" * 16, True, 1, lambda: [address]))
    (known,) = pb.GetReplicasResponse.FromString(turn.replies[2]).replicas
    assert (known.zone, known.hostname, known.port) == (replica.zone.strip(), replica.hostname, replica.port)


@pytest.mark.parametrize(
    ("replica", "reason"),
    [
        (pb.Replica(port=1), "invalid hostname ''"),
        (pb.Replica(hostname="a b", port=1), "invalid hostname 'a b'"),
        (pb.Replica(hostname="z@h", port=1), "invalid hostname 'z@h'"),
        (pb.Replica(hostname="h"), "invalid port 0"),
        (pb.Replica(hostname="h", port=65_536), "invalid port 65536"),
        (pb.Replica(hostname="h" * 256, port=1), "hostname bytes is 256"),
        (pb.Replica(hostname="h", zone="é" * 128, port=1), "zone bytes is 256"),
    ],
)
def test_replica_that_cannot_be_one_is_refused(
    services: Services, turn: Turn, replica: pb.Replica, reason: str
) -> None:
    """INVALID_ARGUMENT, before anything is proposed."""
    number = [path for path, _ in services.methods].index(methods.ADD_REPLICA_PATH)
    services.accept(number, [3], [replica.SerializeToString()], turn)
    assert turn.commands == []
    assert error_of(turn).code == Code.INVALID_ARGUMENT
    assert reason in str(error_of(turn))


def test_replica_beyond_the_limit_is_refused(services: Services, turn: Turn, apply: Apply) -> None:
    """Decided when it is applied."""
    number = [path for path, _ in services.methods].index(methods.ADD_REPLICA_PATH)
    services.accept(number, [3], [pb.Replica(hostname="h", port=1).SerializeToString()], turn)
    apply(Outcome(False, 0))
    error = error_of(turn)
    assert isinstance(error, LimitExceeded)
    assert (error.kind, error.limit) == ("replicas", 1_000)


@pytest.mark.parametrize(
    ("request_", "hosts"),
    [
        (pb.GetReplicasRequest(), ["[::1]", "h"]),
        (pb.GetReplicasRequest(zone=" eu "), ["b"]),
        (pb.GetReplicasRequest(zone="us"), []),
        (pb.GetReplicasRequest(allZones=True), ["[::1]", "b", "h"]),
    ],
)
def test_replicas_of_a_zone(services: Services, turn: Turn, request_: pb.GetReplicasRequest, hosts: list[str]) -> None:
    """Without a zone those that have none, as the original; all when asked for."""
    ask(services, methods.GET_REPLICAS_PATH, turn, request_)  # type: ignore[arg-type]
    assert [each.hostname for each in pb.GetReplicasResponse.FromString(turn.replies[0]).replicas] == hosts


def test_replicas_before_the_node_may_be_read_are_refused(services: Services, turn: Turn) -> None:
    """INVARIANTS 5."""
    number = [path for path, _ in services.methods].index(methods.GET_REPLICAS_PATH)
    services.accept(number, [3], [b""], turn)
    turn.reads[0].answer(turn, [], View(LOG_TIME, 500, b"h" * 16, False))
    assert error_of(turn).code == Code.UNAVAILABLE


def test_role_none_does_not_serve_replication() -> None:
    """COMPATIBILITY 2: UNIMPLEMENTED, as the edge does not know the path; and reflection does not name it."""
    paths = [path for path, _ in Services(Limits()).methods]
    assert not any("DKVReplication" in path for path in paths)
    assert "/dkv.v1.Feed/StreamChanges" in paths
