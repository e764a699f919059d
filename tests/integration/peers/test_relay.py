"""Three nodes with logs of their own over loopback: what they do for a group while Python only waits."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dkv.edge import Bell, EdgeServer, Log, Raft, Relay
from dkv.edge.consensus import NativeConsensus
from dkv.edge.peers import Peers
from dkv.ports.consensus import EntryTuple
from dkv.server.clock import SystemClock
from dkv.wire.peer import Kind, pack, parse

CLUSTER = b"c" * 16
GROUP = 1
NODES = (1, 2, 3)
CONF = (list(NODES), [], [], [], False)


class Member:
    """A node with one replica, which has the node's number for its id."""

    def __init__(self, node: int, folder: Path, sync_delay_ms: int = 0) -> None:
        bell = Bell()
        self.node = node
        self.log, raft = Log(bell, str(folder), sync_delay_ms=sync_delay_ms), Raft(seed=node)
        self.server = EdgeServer(bell, [])
        self.address = self.server.listen("127.0.0.1:0")
        self.peers = Peers(self.server, SystemClock(), CLUSTER, node)
        self.consensus = NativeConsensus(raft, self.log)
        self.consensus.relay.serve(self.server)
        self.consensus.create_group(GROUP, CONF)
        self.consensus.open_group(GROUP, node, CONF, 1)
        self.committed: list[EntryTuple] = []
        self.parts: list[tuple[int, int, bytes]] = []
        """What Python has had to read."""

    def idle(self) -> None:
        """Waits, as a node does that has nothing to decide."""
        self.server.poll(2, 10)
        self.peers.links()

    def turn(self) -> None:
        self.idle()
        for _, message in self.peers.receive():
            parts = parse(message)
            self.parts += parts
            self.consensus.step([(vbucket, body) for kind, vbucket, body in parts if kind == Kind.RAFT])
        for ready in self.consensus.advance():
            self.committed += ready.committed
            self.peers.send([(to, pack([(Kind.RAFT, GROUP, message)])) for to, message in ready.messages])
        if self.committed:
            self.consensus.applied([(GROUP, self.committed[-1][0])])

    def has(self, data: bytes) -> bool:
        return any(entry[3] == data for entry in self.committed)


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    """The first leads, and all have applied its first entry."""
    with grouped(tmp_path, 0) as made:
        yield made


@contextmanager
def grouped(folder: Path, sync_delay_ms: int) -> Iterator[list[Member]]:
    """The delay is that of the followers."""
    with ExitStack() as closing:
        made = [Member(node, folder / str(node), sync_delay_ms if node > 1 else 0) for node in NODES]
        for member in made:
            closing.callback(member.server.close)
            closing.callback(member.log.close)
            for other in made:
                if other is not member:
                    member.peers.know(other.node, other.address)
        rounds(lambda: all(link.is_up for member in made for link in member.peers.links().values()), made, [])
        assert made[0].consensus.campaign(GROUP)
        rounds(lambda: all(member.committed for member in made), [], made)
        yield made


def rounds(condition: Callable[[], object], idle: list[Member], busy: list[Member], limit: int = 2_000) -> bool:
    """Lets some wait and some take turns until `condition` holds; whether it came to that."""
    for _ in range(limit):
        if condition():
            return True
        for member in busy:
            member.turn()
        for member in idle:
            member.idle()
    return False


def test_followers_that_only_wait_acknowledge_and_are_told(members: list[Member]) -> None:
    """An entry is committed by followers whose Python takes no turn, and they learn of it though no time passes in
    Raft."""
    leader, *followers = members
    assert leader.consensus.propose(GROUP, b"value") is not None
    assert rounds(lambda: leader.has(b"value"), followers, [leader])
    for _ in range(10):
        for member in members:
            member.idle()
    for follower in followers:
        follower.turn()
        assert rounds(lambda follower=follower: follower.has(b"value"), [leader], [follower], 20)  # type: ignore[misc]


def test_nothing_is_acknowledged_before_it_is_on_disk(tmp_path: Path) -> None:
    """Followers whose disks take their time for a sync let the leader wait for as long."""
    delay_ms = 100
    with grouped(tmp_path, delay_ms) as members:
        leader, *followers = members
        began = time.monotonic()
        assert leader.consensus.propose(GROUP, b"value") is not None
        assert rounds(lambda: leader.has(b"value"), followers, [leader])
        assert time.monotonic() - began >= delay_ms / 1000


def test_a_log_that_takes_nothing_is_never_acknowledged_for(members: list[Member]) -> None:
    """What a follower cannot write it does not acknowledge; its next turn says why."""
    leader, *followers = members
    for follower in followers:
        follower.log.close()
    assert leader.consensus.propose(GROUP, b"value") is not None
    for follower in followers:
        with pytest.raises(ValueError, match="closed"):
            rounds(lambda: False, [], [leader, follower])
    assert not rounds(lambda: leader.has(b"value"), [], [leader], 20)


def test_a_replica_is_heard_by_python_first(members: list[Member]) -> None:
    """Python sees the first messages of each replica, and none of Raft later; what is not Raft's it always sees."""
    leader, follower, _ = members
    assert follower.parts
    follower.parts.clear()
    assert leader.consensus.propose(GROUP, b"value") is not None
    assert rounds(lambda: leader.has(b"value"), [], members)
    assert follower.parts == []
    leader.peers.send([(follower.node, pack([(Kind.READ_INDEX, GROUP, b"8 bytes.")]))])
    assert rounds(lambda: follower.parts, [], [follower])
    assert follower.parts == [(Kind.READ_INDEX, GROUP, b"8 bytes.")]


def test_a_group_that_was_closed_tells_nothing_of_its_former_life(members: list[Member]) -> None:
    """Entries that were committed before a group was closed do not come out behind a new beginning."""
    leader, follower, third = members
    assert leader.consensus.propose(GROUP, b"value") is not None
    assert rounds(lambda: leader.has(b"value"), [follower], [leader, third])
    for _ in range(20):
        follower.idle()
    assert follower.consensus.close_group(GROUP)
    assert follower.consensus.advance() == []
    follower.consensus.open_group(GROUP, follower.node, CONF, 2)
    assert rounds(lambda: follower.has(b"value"), [leader], [follower])
    assert [entry[3] for entry in follower.committed].count(b"value") == 1


def test_a_server_has_one_relay(tmp_path: Path) -> None:
    """Two would both write."""
    bell = Bell()
    server, log, raft = EdgeServer(bell, []), Log(bell, str(tmp_path / "log")), Raft(seed=1)
    try:
        relay = Relay(raft, log)
        relay.serve(server)
        for each in (relay, Relay(raft, log)):
            with pytest.raises(ValueError, match="already"):
                each.serve(server)
    finally:
        log.close()
        server.close()
