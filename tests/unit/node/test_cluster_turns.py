"""Three nodes over a network in memory: what a turn of each says to the others, and what clients of any of them see."""

from typing import Any, cast

import pytest

from dkv.cluster.plans import REMOVED, Change
from dkv.edge import Raft
from dkv.edge.consensus import NativeConsensus
from dkv.model.errors import StaleRead
from dkv.model.limits import Limits
from dkv.model.members import Member as Entry
from dkv.node.lease import LeaseTerms
from dkv.node.life import drain
from dkv.node.making import Given, make_node
from dkv.node.opening import open_vbucket
from dkv.ports.consensus import VOW_TICKS
from dkv.ports.peers import Link
from dkv.services.discovery_node import NodeIdentity
from dkv.services.registry import Services
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelf
from dkv.testing.clock import SimClock
from dkv.testing.edge import Reply, SimulatedEdge
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.testing.random import SeededRandom, stream
from dkv.vbucket.log_time import ANY_JUMP_MS
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention
from dkv.wire import messages as pb
from dkv.wire.errors import from_status

VBUCKET = 1
NODES = (11, 12, 13)
DIRECTORY = [Entry(node, node, f"h{node}:1", f"http://h{node}:1") for node in NODES]
BULK_MESSAGES_MAX = 3
"""Little room, so that senders meet its end."""


class Wire:
    """Everything on its way; links that are cut lose what is sent over them."""

    def __init__(self) -> None:
        self.waiting: dict[int, list[tuple[int, bytes]]] = {node: [] for node in NODES}
        self.bulk: dict[int, list[tuple[int, bytes]]] = {node: [] for node in NODES}
        self.cut: set[frozenset[int]] = set()

    def is_up(self, one: int, other: int) -> bool:
        return frozenset((one, other)) not in self.cut


class WiredPeers:
    """The `Peers` of one node."""

    def __init__(self, wire: Wire, node: int) -> None:
        self._wire, self._node = wire, node

    def know(self, node: int, address: str) -> None: ...
    def forget(self, node: int) -> None: ...
    def send_bulk(self, node: int, message: bytes) -> bool:
        if len(self._wire.bulk[node]) >= BULK_MESSAGES_MAX:
            return False
        if self._wire.is_up(self._node, node):
            self._wire.bulk[node].append((self._node, message))
        return True

    def send(self, messages: Any) -> None:
        for node, message in messages:
            if self._wire.is_up(self._node, node):
                self._wire.waiting[node].append((self._node, message))

    def receive(self) -> list[tuple[int, bytes]]:
        news, self._wire.waiting[self._node] = self._wire.waiting[self._node], []
        bulk, self._wire.bulk[self._node] = self._wire.bulk[self._node], []
        return news + bulk

    def links(self) -> dict[int, Link]:
        return {node: Link(self._wire.is_up(self._node, node), 0, "", 0) for node in NODES if node != self._node}


class AllAtOnce:
    """The chance of an edge whose calls arrive at once, in order."""

    def shuffle(self, calls: list[int]) -> None: ...
    def randint(self, low: int, high: int) -> int:
        return high


class Member:
    """One node and its disks."""

    retention = Retention(0, 0)

    def __init__(
        self, node_id: int, wire: Wire, clock: SimClock, vbuckets: int, lease_ms: int | None, *, has_fast_writes: bool
    ) -> None:
        self.node_id, self.wire, self.clock = node_id, wire, clock
        self.lease_ms, self.has_fast_writes = lease_ms, has_fast_writes
        self.store, self.disk = MemoryStore(auto_sync=True), LogDisk()
        self.vbuckets = range(VBUCKET, VBUCKET + vbuckets)
        for vbucket in self.vbuckets:
            conf = (list(NODES), list[int](), list[int](), list[int](), False)
            self.store.write(Replica.first_rows(vbucket, node_id, b"h" * 16, conf, 1_000, members=DIRECTORY))
        self.lives = 0
        self.start()

    def start(self) -> None:
        """A process on these disks."""
        node_id, clock, wire = self.node_id, self.clock, self.wire
        self.lives += 1
        self.log = SimulatedLog(self.disk)
        self.edge = SimulatedEdge(stream(1, f"edge {node_id}"))
        random = SeededRandom(1, f"node {node_id} life {self.lives}")
        raft = Raft(seed=node_id, vow_ticks=VOW_TICKS, asks_for_vows=self.lease_ms is not None)
        self.consensus = consensus = NativeConsensus(raft, cast(Any, self.log))
        self.shelf = Shelf(stream(1, "shelf"), self.store)
        replica, *others = [open_vbucket(each, node_id, self.store, consensus, clock, random) for each in self.vbuckets]
        identity = NodeIdentity(role="master")
        self.services = Services(Limits(), identity, has_fast_writes=self.has_fast_writes)
        terms = self.lease_ms and LeaseTerms(lambda: clock.now().monotonic_ms, self.lease_ms)
        self.node = make_node(
            Given(
                edge=self.edge,
                consensus=consensus,
                store=self.store,
                clock=clock,
                replicas=[replica, *others],
                services=self.services,
                limits=Limits(),
                backups=self.shelf,
                random=random,
                retention=self.retention,
                peers=WiredPeers(wire, node_id),
                node_id=node_id,
                lease_terms=terms or None,
            )
        )
        self._paths = {path: number for number, (path, _) in enumerate(self.services.methods)}
        self._replies: dict[int, Reply] = {}

    def crash(self) -> None:
        """kill -9, and a new process."""
        self.disk.crash_process(stream(self.lives, "crash"))
        self.store.crash_process()
        self.start()

    def step(self) -> None:
        self.node.turn(0)
        self.log.step_disk()

    def call_alone(self, name: str, request: Any) -> int:
        """The next turn takes it, and all that came before."""
        self.edge.rng = cast(Any, AllAtOnce())
        return self.call(name, request)

    def call(self, name: str, request: Any) -> int:
        return self.edge.call(self._paths[f"/dkv.serverpb.DKV/{name}"], request.SerializeToString())

    def reply(self, call_id: int) -> Reply | None:
        self._replies |= {reply.call_id: reply for reply in self.edge.take_replies()}
        return self._replies.get(call_id)

    @property
    def is_leading(self) -> bool:
        return self.node.sole.is_leading


class Trio:
    """Three members that know each other."""

    def __init__(self, vbuckets: int = 1, *, lease_ms: int | None = None, has_fast_writes: bool = False) -> None:
        self.wire, self.clock = Wire(), SimClock()
        self.members = [
            Member(node_id, self.wire, self.clock, vbuckets, lease_ms, has_fast_writes=has_fast_writes)
            for node_id in NODES
        ]
        self.run(100)

    def run(self, rounds: int = 30, *, without: tuple[Member, ...] = ()) -> None:
        for _ in range(rounds):
            for member in self.members:
                if member not in without:
                    member.step()
            self.clock.advance(20)

    @property
    def leader(self) -> Member:
        (leader,) = [member for member in self.members if member.is_leading]
        return leader

    @property
    def followers(self) -> list[Member]:
        return [member for member in self.members if not member.is_leading]

    def isolate(self, member: Member) -> None:
        self.wire.cut = {frozenset((member.node_id, node)) for node in NODES if node != member.node_id}

    def ask(self, member: Member, name: str, request: Any, rounds: int = 60) -> Reply:
        call_id = member.call(name, request)
        for _ in range(rounds):
            self.run(1)
            if (reply := member.reply(call_id)) is not None:
                return reply
        raise AssertionError("no answer")

    def put(self, member: Member, value: bytes) -> int:
        reply = self.ask(member, "Put", pb.PutRequest(key=b"k", value=value))
        assert reply.code == 0, reply.reason
        return pb.PutResponse.FromString(reply.message).changeNumber

    def get(self, member: Member, **terms: Any) -> pb.GetResponse:
        reply = self.ask(member, "Get", pb.GetRequest(key=b"k", **terms))
        assert reply.code == 0, reply.reason
        return pb.GetResponse.FromString(reply.message)


@pytest.fixture
def trio() -> Trio:
    return Trio()


def test_three_nodes_elect_one_leader_and_all_become_readable(trio: Trio) -> None:
    """Nobody stands alone, and nobody reads before it has caught up."""
    assert len([member for member in trio.members if member.is_leading]) == 1
    assert all(member.node.sole.is_serving for member in trio.members)


def test_put_on_any_node_is_applied_once_on_all(trio: Trio) -> None:
    """A follower hands it to the leader and gives the leader's answer."""
    numbers = [trio.put(member, b"v%d" % at) for at, member in enumerate(trio.members)]
    assert numbers == [1, 2, 3]
    trio.run()
    assert {member.node.sole.replica.change_number for member in trio.members} == {3}
    assert {trio.get(member).value for member in trio.members} == {b"v2"}


def test_linearizable_read_on_a_follower_sees_what_was_acknowledged_elsewhere(trio: Trio) -> None:
    """At once, and the reply says what it promises."""
    for at, member in enumerate(trio.followers):
        trio.put(trio.leader, b"v%d" % at)
        found = trio.get(member, readConsistency=pb.ReadConsistency.LINEARIZABLE)
        assert (found.value, found.servedConsistency) == (b"v%d" % at, pb.ReadConsistency.LINEARIZABLE)


def test_linearizable_read_on_a_leader_without_a_quorum_is_not_answered_from_its_state(trio: Trio) -> None:
    """A new leader may have acknowledged more."""
    old = trio.leader
    trio.put(old, b"old")
    trio.isolate(old)
    call_id = old.call("Get", pb.GetRequest(key=b"k", readConsistency=pb.ReadConsistency.LINEARIZABLE))
    trio.run(100)
    (new,) = [member for member in trio.members if member.is_leading and member is not old]
    trio.put(new, b"new")
    assert old.reply(call_id) is None
    trio.wire.cut = set()
    trio.run(60)
    reply = old.reply(call_id)
    assert reply is not None
    assert (reply.code, pb.GetResponse.FromString(reply.message).value) == (0, b"new")


def test_read_with_a_token_waits_for_its_change(trio: Trio) -> None:
    """The follower is a moment behind, not wrong."""
    follower = trio.followers[0]
    number = trio.put(trio.leader, b"v")
    assert trio.get(follower, minChangeNumber=number).value == b"v"


def test_read_with_a_token_of_a_node_that_cannot_catch_up_is_stale(trio: Trio) -> None:
    """It says how far it is behind."""
    follower = trio.followers[0]
    trio.isolate(follower)
    number = trio.put(trio.leader, b"v")
    reply = trio.ask(follower, "Get", pb.GetRequest(key=b"k", minChangeNumber=number))
    assert (reply.code, reply.reason) == (9, "change 1 is not applied here yet, the latest is 0")


def test_read_with_a_token_of_what_is_not_written_yet_is_told_who_leads(trio: Trio) -> None:
    """So that its caller can ask there."""
    follower, number = trio.followers[0], trio.put(trio.leader, b"v")
    reply = trio.ask(follower, "Get", pb.GetRequest(key=b"k", minChangeNumber=number + 1))
    where = f"h{trio.leader.node_id}:1"
    assert reply.reason == f"change 2 is not applied here yet, the latest is 1; {where} leads"
    error = from_status(reply.code, reply.reason, reply.details)
    assert isinstance(error, StaleRead)
    assert (error.lag, error.leader) == (1, where)
    reply = trio.ask(trio.leader, "Get", pb.GetRequest(key=b"k", minChangeNumber=number + 1))
    assert reply.reason == "change 2 is not applied here yet, the latest is 1"


def test_read_with_a_bound_is_local_while_it_holds_and_asks_beyond_it(trio: Trio) -> None:
    """The reply says how old the state may be."""
    follower = trio.followers[0]
    trio.put(trio.leader, b"v")
    first = trio.get(follower, maxStalenessMs=100)
    assert first.value == b"v"
    assert first.stalenessMs <= 100
    trio.isolate(follower)
    trio.run(2)
    assert trio.get(follower, maxStalenessMs=10_000).value == b"v"
    call_id = follower.call("Get", pb.GetRequest(key=b"k", maxStalenessMs=10))
    trio.run(10)
    assert follower.reply(call_id) is None
    trio.run(300)
    reply = follower.reply(call_id)
    assert reply is not None
    assert reply.code == 14


def test_write_handed_over_a_link_that_breaks_is_of_unknown_outcome(trio: Trio) -> None:
    """It may have arrived."""
    follower = trio.followers[0]
    call_id = follower.call("Put", pb.PutRequest(key=b"k", value=b"v"))
    while follower.edge.waiting():
        follower.step()
    trio.isolate(follower)
    trio.run(10)
    reply = follower.reply(call_id)
    assert reply is not None
    assert (reply.code, reply.reason) == (4, "the link to the leader broke, the write may have been applied")


def test_write_of_a_leader_without_a_quorum_ends_as_unknown(trio: Trio) -> None:
    """In the words of the original, after the time-out."""
    leader = trio.leader
    trio.isolate(leader)
    call_id = leader.call("Put", pb.PutRequest(key=b"k", value=b"v"))
    trio.run(300)
    reply = leader.reply(call_id)
    assert reply is not None
    assert (reply.code, reply.reason) == (4, "context deadline exceeded")


def test_deposed_leader_applies_at_once_while_its_callers_wait(trio: Trio) -> None:
    """What followers have only to apply may come late, but not the answer to a write that another one decides about."""
    leader = trio.leader
    trio.isolate(leader)
    call_id = leader.call("Put", pb.PutRequest(key=b"k", value=b"v"))
    while leader.node.sole.is_leader:
        trio.run(1)
    assert leader.reply(call_id) is None
    assert leader.node.sole.is_awaited
    trio.wire.cut = set()
    trio.run(30)
    assert leader.reply(call_id) is not None
    assert not leader.node.sole.is_awaited


def test_write_in_the_log_of_a_deposed_leader_is_answered_when_the_next_one_commits_it(trio: Trio) -> None:
    """Losing office is no reason to forget the caller."""
    leader = trio.leader
    call_id = leader.call("Put", pb.PutRequest(key=b"k", value=b"v"))
    while leader.edge.waiting():
        leader.step()
    to = trio.followers[0].node_id
    assert leader.node.consensus.transfer_leader(VBUCKET, to)
    trio.run(100)
    assert trio.leader.node_id == to
    reply = leader.reply(call_id)
    assert reply is not None
    assert reply.code == 0
    assert trio.get(trio.leader).value == b"v"


def test_removed_node_refuses_at_once_what_waits_and_what_comes(trio: Trio) -> None:
    """What it would wait for never comes, and it does not hand writes over either: who asks goes elsewhere."""
    follower = trio.followers[0]
    waiting = follower.call("Get", pb.GetRequest(key=b"k", minChangeNumber=1_000))
    follower.step()
    assert trio.leader.node.duties is not None
    membership = trio.leader.node.duties.membership
    membership.propose_change(VBUCKET, Change(((REMOVED, follower.node_id),)))
    trio.run(10)
    assert follower.node.sole.is_removed
    refusals = [follower.reply(waiting)]
    for level in pb.ReadConsistency.values():
        refusals.append(trio.ask(follower, "Get", pb.GetRequest(key=b"k", readConsistency=level), rounds=10))
    refusals.append(trio.ask(follower, "Put", pb.PutRequest(key=b"k", value=b"v"), rounds=10))
    assert [reply and reply.code for reply in refusals] == [14] * len(refusals)


def fall_behind(trio: Trio, follower: Member) -> None:
    """What the follower lacks has left the log of the others."""
    trio.isolate(follower)
    trio.run(5, without=(follower,))
    for at in range(40):
        reply = trio.ask(trio.leader, "Put", pb.PutRequest(key=b"k%d" % at, value=b"v" * 2_000))
        assert reply.code == 0
    trio.run(200, without=(follower,))
    first = trio.leader.node.consensus.log_bounds(VBUCKET).first_index
    assert first > follower.node.sole.replica.applied_index + 1
    trio.wire.cut = set()


def rows_of(member: Member) -> list[tuple[bytes, bytes]]:
    """The user's rows of a member, without the number of its block."""
    scan = member.store.scan(*member.node.sole.replica.data_range())
    try:
        return [(key[4:], row) for key, row in scan.take(1_000, 1 << 30)]
    finally:
        scan.close()


def test_follower_below_the_log_catches_up_by_a_snapshot_and_then_follows(trio: Trio) -> None:
    """Both sides serve meanwhile, and the rows are the same at the end."""
    follower = trio.followers[0]
    fall_behind(trio, follower)
    follower.node.sole.replica.clock.believe(trio.clock.now())
    trio.run(200)
    assert follower.node.sole.replica.clock.jump_ms_max == ANY_JUMP_MS
    assert trio.leader.node.duties is not None
    assert trio.leader.node.duties.snapshots.sent == 1
    trio.put(follower, b"after")
    trio.run(20)
    assert follower.node.sole.replica.applied_index == trio.leader.node.sole.replica.applied_index
    assert rows_of(follower) == rows_of(trio.leader)
    assert follower.node.sole.replica.change_number == trio.leader.node.sole.replica.change_number


@pytest.mark.parametrize("turns", range(0, 60, 3))
def test_receiver_that_crashes_during_a_snapshot_goes_on_or_has_it(trio: Trio, turns: int) -> None:
    """At any step it has the old state or the new one."""
    follower = trio.followers[0]
    fall_behind(trio, follower)
    trio.run(turns)
    follower.crash()
    trio.run(400)
    assert rows_of(follower) == rows_of(trio.leader)
    assert follower.node.sole.replica.applied_index == trio.leader.node.sole.replica.applied_index


@pytest.mark.parametrize("turns", range(0, 60, 6))
def test_sender_that_crashes_during_a_snapshot_is_replaced(trio: Trio, turns: int) -> None:
    """Whoever leads then sends another one."""
    follower = trio.followers[0]
    fall_behind(trio, follower)
    trio.run(turns)
    trio.leader.crash()
    trio.run(600)
    assert rows_of(follower) == rows_of(trio.leader)


def test_leader_without_a_quorum_but_with_a_follower_below_its_log_sends_the_snapshot(trio: Trio) -> None:
    """The third node is gone for good: until the snapshot is there, no entry of the leader's term can be committed."""
    follower, leader = trio.followers[0], trio.leader
    fall_behind(trio, follower)
    trio.isolate(next(each for each in trio.followers if each is not follower))
    leader.crash()
    trio.run(600)
    assert trio.leader is leader
    assert rows_of(follower) == rows_of(leader)


def test_replica_that_is_removed_gets_no_snapshot_any_more(trio: Trio) -> None:
    """Neither the one under way nor another; and the log is not kept for it."""
    follower, leader = trio.followers[0], trio.leader
    fall_behind(trio, follower)
    assert leader.node.duties is not None
    snapshots = leader.node.duties.snapshots
    while not snapshots.bytes_sent():
        trio.run(1)
    trio.isolate(follower)
    leader.node.consensus.propose_conf_change(VBUCKET, [(1, follower.node_id)], 0)
    trio.run(30, without=(follower,))
    assert (snapshots.bytes_sent(), snapshots.failed) == ({}, 1)
    trio.run(100, without=(follower,))
    assert (snapshots.bytes_sent(), snapshots.failed) == ({}, 1)
    assert leader.node.sole.upkeep.held_from is None


def test_leader_that_loses_its_office_keeps_no_log_for_a_snapshot(trio: Trio) -> None:
    """Whoever leads then sends another one, and keeps his."""
    follower, leader = trio.followers[0], trio.leader
    fall_behind(trio, follower)
    assert leader.node.duties is not None
    snapshots = leader.node.duties.snapshots
    while not snapshots.bytes_sent():
        trio.run(1)
    trio.run(1)
    assert leader.node.sole.upkeep.held_from is not None
    trio.isolate(follower)
    to = next(each for each in trio.followers if each is not follower).node_id
    assert leader.node.consensus.transfer_leader(VBUCKET, to)
    trio.run(100)
    assert not leader.is_leading
    assert leader.node.sole.upkeep.held_from is None


def awake(trio: Trio) -> int:
    """Groups in which time passes, on all members."""
    return sum(cast(Any, member.node.consensus).raft_stats()["awake"] for member in trio.members)


def test_idle_group_sleeps_on_all_nodes_and_any_call_wakes_it(trio: Trio) -> None:
    """No heartbeats, and nobody misses them."""
    trio.run(300)
    assert awake(trio) == 0
    term = trio.leader.node.sole.term
    trio.run(300)
    assert not any(trio.wire.waiting.values())
    assert trio.put(trio.followers[0], b"v") == 1
    assert trio.get(trio.followers[1], readConsistency=pb.ReadConsistency.LINEARIZABLE).value == b"v"
    assert trio.leader.node.sole.term == term


def test_sleeping_group_elects_another_leader_when_the_link_to_its_leader_is_lost(trio: Trio) -> None:
    """That the nodes are in touch stands for heartbeats, and so does that they are not."""
    trio.run(300)
    assert awake(trio) == 0
    old = trio.leader
    trio.isolate(old)
    trio.run(100)
    leaders = [member for member in trio.members if member.is_leading and member is not old]
    assert len(leaders) == 1
    assert not old.is_leading


def test_write_for_all_is_answered_once_every_voter_has_it(trio: Trio) -> None:
    """A quorum is not enough; and what asks for a quorum does not wait for it."""
    leader, away = trio.leader, trio.followers[0]
    trio.isolate(away)
    strong = pb.PutRequest(key=b"k", value=b"all", acknowledgement=pb.Acknowledgement.ALL)
    call_id = leader.call("Put", strong)
    trio.run(20)
    assert trio.put(leader, b"quorum") == 2
    assert leader.reply(call_id) is None
    trio.wire.cut = set()
    trio.run(60)
    reply = leader.reply(call_id)
    assert reply is not None
    assert (reply.code, pb.PutResponse.FromString(reply.message).changeNumber) == (0, 1)
    assert trio.ask(trio.followers[0], "Put", strong).code == 0


def test_write_for_all_with_a_voter_away_is_of_unknown_outcome_in_the_end(trio: Trio) -> None:
    """It says that it is committed."""
    leader = trio.leader
    trio.isolate(trio.followers[0])
    request = pb.PutRequest(key=b"k", value=b"v", acknowledgement=pb.Acknowledgement.ALL)
    reply = trio.ask(leader, "Put", request, rounds=400)
    assert (reply.code, reply.reason) == (
        4,
        "context deadline exceeded: the write is committed, but not every voter has it",
    )
    assert not leader.node.sole.writes.waiting_entries


def test_node_that_stops_has_another_one_lead_first(trio: Trio) -> None:
    """So nobody has to miss the leader."""
    leader, term = trio.leader, trio.leader.node.sole.term
    wait = leader.node.turn

    def turn(wait_ms: int) -> None:
        wait(0)
        leader.log.step_disk()
        trio.run(1, without=(leader,))

    leader.node.turn = turn  # type: ignore[method-assign,assignment]
    assert drain(leader.node, 5_000)
    assert not leader.node.sole.is_leader
    trio.run(5, without=(leader,))
    assert [member.is_leading for member in trio.members if member is not leader].count(True) == 1
    assert trio.leader.node.sole.term == term + 1
