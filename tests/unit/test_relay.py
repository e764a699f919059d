"""The relay over a log and links that note what it does: in which order, and what it holds back until when."""

import pytest

from dkv._native import Raft, Writes
from dkv.edge.consensus import NativeConsensus
from dkv.model.errors import StorageFailed
from dkv.testing.log import SimulatedLog
from dkv.testing.log_disk import LogDisk
from dkv.wire.peer import Kind, pack, parse

GROUP = 1
CONF = ([1, 2, 3], [], [], [], False)
LATE_MS = 5


class NotingLog(SimulatedLog):
    """Durable when the test says so, or in line."""

    def __init__(self, did):
        super().__init__(LogDisk(), is_quick=lambda: self.is_fast)
        self.did, self.is_fast = did, False

    def append(self, writes: Writes):
        self.did.append("append")
        super().append(writes)

    def write_in_line(self):
        self.did.append("write in line")
        return super().write_in_line()

    def sync(self):
        while self.step_disk() != "idle":
            pass


class NotingLinks:
    """What arrived, what left, and the time, in the test's hands."""

    def __init__(self, did):
        self.did, self.ms, self.inbox, self.sent = did, 0, [], []

    def now_ms(self):
        return self.ms

    def receive(self):
        arrived, self.inbox = self.inbox, []
        return arrived

    def send(self, messages):
        self.did.append("send")
        self.sent += messages


class Node:
    """One replica, which has the node's number for its id, and its relay."""

    def __init__(self, number):
        self.number, self.did = number, []
        self.log, self.links = NotingLog(self.did), NotingLinks(self.did)
        self.consensus = NativeConsensus(Raft(seed=number), self.log)
        self.relay = self.consensus.relay
        self.consensus.create_group(GROUP, CONF)
        self.consensus.open_group(GROUP, number, CONF, 1)
        self.relay.link(self.links)
        self.committed = []
        self.unsent = []
        self.turn_ms = 0

    def turn(self, *, in_line=False):
        for _, message in self.relay.receive():
            self.consensus.step([(vbucket, body) for kind, vbucket, body in parse(message) if kind == Kind.RAFT])
        for ready in self.consensus.advance(in_line=in_line):
            self.committed += ready.committed
            self.unsent += ready.messages
        if self.committed:
            self.consensus.applied([(GROUP, self.committed[-1][0])])
        self.links.ms += self.turn_ms
        self.relay.pass_over(False)

    def take_sent(self):
        """(node, message), those that Python has to send among them."""
        sent = self.links.sent + [(to, pack([(Kind.RAFT, GROUP, message)])) for to, message in self.unsent]
        self.links.sent, self.unsent = [], []
        return sent


class Three:
    """The first leads; all know each other, and nothing is under way."""

    def __init__(self):
        self.nodes = {number: Node(number) for number in CONF[0]}
        assert self.nodes[1].consensus.campaign(GROUP)
        for _ in range(20):
            for node in self.nodes.values():
                node.turn()
                node.log.sync()
                node.links.ms += 1
            self.carry()
        for node in self.nodes.values():
            assert node.committed
            node.did.clear()

    def carry(self):
        """What was sent arrives."""
        for node in self.nodes.values():
            for to, message in node.take_sent():
                self.nodes[to].links.inbox.append((node.number, message))


@pytest.fixture
def three():
    return Three()


def test_follower_that_waits_writes_and_then_acknowledges(three):
    """No turn is taken: the entry is handed over, and its acknowledgement leaves when it is on disk."""
    leader, follower, _ = three.nodes.values()
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn()
    three.carry()
    assert not follower.relay.pass_over(False)
    assert follower.did == ["append"]
    assert not follower.relay.pass_over(False)
    follower.log.step_disk()
    assert not follower.relay.pass_over(False)
    assert follower.links.sent == []
    follower.log.sync()
    follower.relay.pass_over(False)
    assert follower.did == ["append", "send"]


def test_leader_sends_before_it_writes_in_line(three):
    """Its followers get on meanwhile; their answers wait for their own disks."""
    leader, follower, _ = three.nodes.values()
    leader.log.is_fast = follower.log.is_fast = True
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn(in_line=True)
    assert leader.did == ["append", "send", "write in line"]
    three.carry()
    follower.relay.pass_over(True)
    assert follower.did == ["append", "write in line", "send"]
    three.carry()
    assert leader.relay.pass_over(True)
    leader.turn()
    assert leader.committed[-1][3] == b"value"


def test_followers_hear_of_a_commit_late_and_apply_it_later(three):
    """Nothing is told of it before 5 ms are over; a patient node is asked for a turn 5 ms after it has heard."""
    leader, follower, third = three.nodes.values()
    follower.consensus.be_patient(True)
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn()
    leader.log.sync()
    three.carry()
    for each in (follower, third):
        each.relay.pass_over(False)
        each.log.sync()
        each.relay.pass_over(False)
    three.carry()
    leader.turn()
    assert leader.committed[-1][3] == b"value"
    assert leader.take_sent() == []
    leader.links.ms += LATE_MS - 1
    leader.relay.pass_over(False)
    assert leader.links.sent == []
    leader.links.ms += 1
    leader.relay.pass_over(False)
    assert sorted(node for node, _ in leader.links.sent) == [2, 3]
    three.carry()
    assert not follower.relay.pass_over(False)
    assert third.relay.pass_over(False)
    follower.links.ms += LATE_MS
    assert follower.relay.pass_over(False)
    follower.turn()
    assert follower.committed[-1][3] == b"value"


def commit(three, value):
    """An entry that all hear of, in turns of the leader; the followers take none."""
    leader, *followers = three.nodes.values()
    assert leader.consensus.propose(GROUP, value) is not None
    for _ in range(3):
        leader.turn()
        leader.log.sync()
        leader.links.ms += LATE_MS
        leader.relay.pass_over(False)
        three.carry()
        for each in followers:
            each.relay.pass_over(False)
            each.log.sync()
            each.relay.pass_over(False)
        three.carry()


@pytest.fixture
def slow(three):
    """A follower whose last turns took 10 ms each, while nothing was to be applied."""
    follower = three.nodes[2]
    follower.turn_ms = 10
    for _ in range(50):
        follower.turn()
    follower.consensus.be_patient(True)
    follower.committed.clear()
    return follower


def test_follower_with_much_to_do_gathers_what_it_has_to_apply(three, slow):
    """Turns that it takes for something else bring nothing before eight of them are over, and then all together."""
    begun_ms = slow.links.ms
    for value in (b"one", b"two", b"three"):
        commit(three, value)
        slow.turn()
        assert slow.committed == []
    while not slow.relay.pass_over(False):
        assert slow.links.ms < begun_ms + 8 * slow.turn_ms
        slow.links.ms += 1
    assert slow.links.ms > begun_ms + 6 * slow.turn_ms
    slow.turn()
    assert [entry[3] for entry in slow.committed] == [b"one", b"two", b"three"]


def test_follower_is_asked_for_a_turn_at_once_when_somebody_waits(three, slow):
    """Or when it leads, and has to know what is committed before."""
    commit(three, b"value")
    assert not slow.relay.pass_over(False)
    slow.consensus.be_patient(False)
    assert slow.relay.pass_over(False)
    slow.turn()
    assert [entry[3] for entry in slow.committed] == [b"value"]


def test_news_of_a_follower_bring_along_what_is_to_be_applied_before(three, slow):
    """Entries never come behind what was true only with them."""
    commit(three, b"value")
    slow.consensus.wake([GROUP], leader_is_lost=True)
    slow.consensus.tick(20)
    news = [ready for ready in slow.consensus.advance() if ready.leadership is not None]
    assert [entry[3] for entry in news[0].committed] == [b"value"]
    slow.links.ms += 1_000
    assert not slow.relay.pass_over(False)  # nothing is left that could be due


def test_group_that_was_closed_leaves_nothing_behind(three):
    """What waits for its disk is not sent for its next life, and what was committed is not told twice."""
    leader, follower, _ = three.nodes.values()
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn()
    three.carry()
    follower.relay.pass_over(False)
    follower.consensus.close_group(GROUP)
    follower.log.sync()
    follower.relay.pass_over(False)
    assert follower.take_sent() == []
    assert follower.consensus.advance() == []


def test_failed_sync_is_told_and_nothing_leaves(three):
    """A node that waits is asked for a turn, which ends it."""
    leader, follower, _ = three.nodes.values()
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn()
    three.carry()
    follower.relay.pass_over(False)
    follower.log._disk.sync_fails = True
    while follower.log.step_disk() != "failed":
        pass
    assert follower.relay.pass_over(False)
    assert follower.links.sent == []
    with pytest.raises(StorageFailed, match="the simulated sync failed"):
        follower.turn()


def test_log_that_raises_is_told(three):
    """An entry that was not taken is never acknowledged, whatever the reason."""
    leader, follower, _ = three.nodes.values()
    assert leader.consensus.propose(GROUP, b"value") is not None
    leader.turn()
    three.carry()
    follower.log.append = lambda writes: {}["no such log"]
    assert follower.relay.pass_over(False)
    with pytest.raises(ValueError, match="no such log"):
        follower.turn()
    assert follower.links.sent == []


def test_relay_has_links_once(three):
    """Two would hear the same twice."""
    with pytest.raises(ValueError, match="already"):
        three.nodes[1].relay.link(NotingLinks([]))
