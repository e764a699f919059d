"""A client of several nodes, which a test plays: where its calls go, and what its caller sees."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import dkv
from dkv.client import cluster_loop
from dkv.client.aio import AsyncClient
from dkv.client.answers import Answer, Fate
from dkv.client.cluster_channel import ClusterChannel
from dkv.client.levels import Levels
from dkv.client.nodes import Nodes
from dkv.client.routes import Routes
from dkv.client.sync import CallResult, Client, StreamPart
from dkv.model.errors import Code, OutcomeUnknown, StaleRead
from dkv.wire import messages as wire
from dkv.wire import methods
from dkv.wire.errors import to_details

ADDRESSES = ("a:1", "b:1", "c:1")
Failure = tuple[int, str, bytes, int]
REFUSED: Failure = (Code.UNAVAILABLE, "no leader is known", b"", Fate.ANSWERED)
GONE: Failure = (Code.UNAVAILABLE, "connection refused", b"", Fate.NOT_SENT)
BROKEN: Failure = (Code.UNAVAILABLE, "connection lost", b"", Fate.LOST)
SILENT: Failure = (Code.DEADLINE_EXCEEDED, "", b"", Fate.LOST)
STALE: Failure = (Code.FAILED_PRECONDITION, "behind", to_details(StaleRead("behind", 3)), Fate.ANSWERED)
LEADER_LOST: Failure = (Code.DEADLINE_EXCEEDED, "link broke", to_details(OutcomeUnknown("link broke")), Fate.ANSWERED)


class Town:
    """Three nodes. `failures` has what each says next; then it answers."""

    def __init__(self, leader: str = "") -> None:
        self.failures: dict[str, list[Failure]] = {address: [] for address in ADDRESSES}
        self.asked: list[tuple[str, str]] = []
        self.timeouts: list[int] = []
        self.writes: dict[tuple[bytes, int], int] = {}
        self.leader = leader
        self.closed: list[str] = []

    def answer(self, address: str, path: str, message: bytes, timeout_ms: int) -> CallResult:
        name = path.rpartition("/")[2]
        if path == methods.GET_MEMBERS_PATH:
            return 0, "", b"", self._members(address), 0
        self.asked.append((address, name))
        self.timeouts.append(timeout_ms)
        if self.failures[address]:
            code, text, details, fate = self.failures[address].pop(0)
            return code, text, details, b"", fate
        if name == "Put":
            put = wire.PutRequest.FromString(message)
            number = self.writes.setdefault((put.session, put.sequence), len(self.writes) + 1)
            reply = wire.PutResponse(status=wire.Status(), changeNumber=number, historyId=b"h" * 16)
            return 0, "", b"", reply.SerializeToString(), 0
        found = wire.GetResponse(status=wire.Status(), value=address.encode(), found=True)
        return 0, "", b"", found.SerializeToString(), 0

    def _members(self, asked: str) -> bytes:
        members = wire.GetMembersResponse(node=ADDRESSES.index(asked) + 1)
        group = members.groups.add(vBucket=1)
        for node, address in enumerate(ADDRESSES, 1):
            members.nodes.add(node=node, address=address, isUp=True, replicas=1, leads=int(address == self.leader))
            group.replicas.add(node=node)
        return members.SerializeToString()


class Node:
    """The channel to one of them; for threads, and for a loop."""

    def __init__(self, town: Town, address: str) -> None:
        self._town, self._address = town, address

    def call(self, path: str, message: bytes, timeout_ms: int, /) -> CallResult:
        return self._town.answer(self._address, path, message, timeout_ms)

    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, asyncio.Future[bytes | Answer]]:
        code, text, details, reply, fate = self.call(path, message, timeout_ms)
        ended: asyncio.Future[bytes | Answer] = asyncio.get_running_loop().create_future()
        ended.set_result(Answer(code, text, details, b"", fate) if code else reply)
        return 1, ended

    def stream(self, path: str, message: bytes, timeout_ms: int = -1, /) -> Any:
        self._town.asked.append((self._address, path.rpartition("/")[2]))
        return Stream(self._town.failures[self._address])

    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None:
        self._town.asked.append((self._address, "connect"))
        if self._town.failures[self._address]:
            raise ConnectionError(self._town.failures[self._address].pop(0)[1])

    def close(self) -> None:
        self._town.closed.append(self._address)


class Stream:
    """Of no pairs; of a node that is silent, of nothing at all."""

    def __init__(self, failures: list[Failure]) -> None:
        self._failures = failures

    def next(self, messages_max: int, timeout_ms: int) -> StreamPart:
        if not self._failures:
            return [], (0, "", b"", 0)
        failure = self._failures.pop(0)
        return [], None if failure is SILENT else failure

    def cancel(self) -> None:
        pass


Run = Callable[..., list[Any]]


def clients(town: Town, level: Any = "linearizable") -> tuple[Routes, Levels]:
    levels = Levels(level)
    return Routes(Nodes(ADDRESSES), levels, lambda: 0.0), levels


@pytest.fixture(params=["sync", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Does calls, one after the other, with one client: (name, arguments...) each."""

    def in_threads(town: Town, *calls: tuple[Any, ...], level: Any = "linearizable") -> list[Any]:
        routes, levels = clients(town, level)
        with Client(ClusterChannel(routes, lambda address: Node(town, address)), timeout_s=9, levels=levels) as client:
            return [getattr(client, name)(*words) for name, *words in calls]

    async def on_a_loop(town: Town, *calls: tuple[Any, ...], level: Any = "linearizable") -> list[Any]:
        routes, levels = clients(town, level)
        nodes: Any = lambda address: Node(town, address)  # noqa: E731
        async with AsyncClient(cluster_loop.ClusterLoopChannel(routes, nodes), 9, levels) as client:
            return [await getattr(client, name)(*words) for name, *words in calls]

    if request.param == "sync":
        return in_threads
    return lambda *words, **options: asyncio.run(on_a_loop(*words, **options))


PUT, GET = ("put", b"k", b"v"), ("get", b"k")


@pytest.mark.parametrize("failure", [REFUSED, GONE, BROKEN, SILENT])
def test_call_that_a_node_fails_is_answered_by_another(run: Run, failure: Failure) -> None:
    """Its caller sees nothing of it, and a write keeps its number. Home is where it was answered."""
    town = Town()
    town.failures["a:1"] = [failure]
    assert run(town, PUT, GET) == [True, b"b:1"]
    assert [address for address, _ in town.asked] == ["a:1", "b:1", "b:1"]
    assert [sequence for _, sequence in town.writes] == [1]


def test_write_goes_to_the_leader_as_soon_as_it_is_known(run: Run) -> None:
    """Reads stay at home. The leader's end makes it unknown, and the next node answers."""
    town = Town(leader="c:1")
    run(town, GET, PUT, GET)
    assert town.asked == [("a:1", "Get"), ("c:1", "Put"), ("a:1", "Get")]
    town.asked.clear()
    town.failures["c:1"] = [BROKEN]
    run(town, GET, PUT)
    assert town.asked == [("a:1", "Get"), ("c:1", "Put"), ("a:1", "Put")]
    assert len({session for session, _ in town.writes}) == 2
    assert len(town.writes) == 2, "a retry has the number of the write that it repeats"


def test_write_whose_leader_was_lost_behind_another_node_is_asked_again_there(run: Run) -> None:
    """The node itself is well."""
    town = Town()
    town.failures["a:1"] = [LEADER_LOST]
    assert run(town, PUT) == [True]
    assert [address for address, _ in town.asked] == ["a:1", "a:1"]


def test_attempt_has_a_second_while_there_are_others(run: Run) -> None:
    """Of nine."""
    town = Town()
    town.failures["a:1"] = [SILENT]
    run(town, GET)
    assert town.timeouts == [1_000, 1_000]


def test_own_writes_are_read_from_a_node_that_has_them(run: Run) -> None:
    """One that is behind is passed over; when all are, the caller is told so."""
    town = Town()
    assert run(town, PUT, GET, level="read_your_writes") == [True, b"a:1"]
    town.failures["a:1"] = [STALE]
    assert run(town, GET, level="read_your_writes") == [b"b:1"]
    town.failures = {address: [STALE] for address in ADDRESSES}
    with pytest.raises(dkv.StaleRead):
        run(town, GET, level="read_your_writes")


def test_refusal_of_the_request_is_not_taken_elsewhere(run: Run) -> None:
    """One call, one typed error."""
    town = Town()
    town.failures["a:1"] = [(Code.INVALID_ARGUMENT, "no", b"", Fate.ANSWERED)]
    with pytest.raises(dkv.InvalidRequest):
        run(town, PUT)
    assert len(town.asked) == 1


@pytest.mark.parametrize("failure", [REFUSED, BROKEN, SILENT])
def test_scan_goes_on_at_another_node(failure: Failure) -> None:
    """Also when a node says nothing any more."""
    town = Town()
    town.failures["a:1"] = [failure]
    routes, levels = clients(town)
    with Client(ClusterChannel(routes, lambda address: Node(town, address)), timeout_s=9, levels=levels) as client:
        assert list(client.scan()) == []
    assert [address for address, _ in town.asked] == ["a:1", "b:1"]
    assert town.closed == list(ADDRESSES)


def test_connecting_takes_the_first_node_that_is_there() -> None:
    """And says why there is none."""
    town = Town()
    town.failures["a:1"] = [GONE]
    routes, levels = clients(town)
    client = Client(ClusterChannel(routes, lambda address: Node(town, address)), timeout_s=9, levels=levels)
    client.wait_until_connected(1)
    assert town.asked == [("a:1", "connect"), ("b:1", "connect")]
    assert client.get(b"k") == b"b:1"
    town.failures = {address: [GONE] for address in ADDRESSES}
    with pytest.raises(dkv.Unavailable, match="refused"):
        client.wait_until_connected(1)
    client.close()
    with pytest.raises(dkv.Cancelled, match="closed"):
        client.get(b"k")


def test_answer_that_is_no_list_of_members_is_ignored() -> None:
    """It is a hint, and calls went well without."""
    routes, _ = clients(Town())
    routes.learn("a:1", b"\xff")
    assert routes.nodes.addresses == ADDRESSES
