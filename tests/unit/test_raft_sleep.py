"""Time in Raft groups: heartbeats of all groups in one tick, elections drawn from the seed, groups that sleep."""

import pytest

native = pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.edge.consensus import NativeConsensus  # noqa: E402
from dkv.ports.consensus import Conf, Ready  # noqa: E402
from dkv.testing.log import SimulatedLog  # noqa: E402
from dkv.testing.log_disk import LogDisk  # noqa: E402

THREE: Conf = ([11, 12, 13], [], [], [], False)
HEARTBEAT = 8
"""By number in Raft's messages."""


class Nodes:
    """Three nodes with a replica each of every group; what they send arrives at once."""

    def __init__(self, count: int) -> None:
        self.groups = range(1, count + 1)
        self.logs = {replica: SimulatedLog(LogDisk()) for replica in THREE[0]}
        self.nodes = {replica: NativeConsensus(native.Raft(seed=replica), log) for replica, log in self.logs.items()}
        for group in self.groups:
            for replica, node in self.nodes.items():
                node.create_group(group, THREE)
                node.open_group(group, replica, THREE, 1)
        for group in self.groups:
            self.nodes[11].campaign(group)
        self.settle()

    def turn(self, replica: int) -> list[Ready]:
        news = self.nodes[replica].advance()
        marks = [(ready.vbucket, ready.committed[-1][0]) for ready in news if ready.committed]
        self.nodes[replica].applied(marks)
        self.logs[replica].step_disk()
        self.logs[replica].step_disk()
        return news

    def settle(self, *down: int) -> None:
        quiet = 0
        while quiet < 3:
            quiet += 1
            for replica in sorted(set(self.nodes) - set(down)):
                for ready in self.turn(replica):
                    quiet = 0
                    for to, message in ready.messages:
                        if to not in down:
                            self.nodes[to].step([(ready.vbucket, message)])

    def tick(self, count: int, *down: int) -> None:
        """No two clocks of machines step at the same moment."""
        for _ in range(count):
            for replica in sorted(set(self.nodes) - set(down)):
                self.nodes[replica].tick(1)
                self.settle(*down)

    def sleep(self) -> int:
        places = self.nodes[11].drowsy(4)
        assert [self.nodes[replica].sleep(places) for replica in THREE[0]] == [[], [], []]
        return len(places)

    def leaders(self, *down: int) -> dict[int, int]:
        up = set(self.nodes) - set(down)
        roles = {(group, replica): self.nodes[replica].status(group)["role"] for group in self.groups for replica in up}
        return {group: replica for (group, replica), role in roles.items() if role == 2}


@pytest.mark.parametrize(
    "wrong", [{"heartbeat_ticks": 0}, {"heartbeat_ticks": 10}, {"election_ticks_max": 10}, {"election_ticks": 2}]
)
def test_raft_times_that_cannot_be_refuse(wrong: dict[str, int]) -> None:
    """A leader could never be heard in time, or a follower has nothing to draw from."""
    with pytest.raises(ValueError, match=r"."):
        native.Raft(**({"seed": 1} | wrong))


def test_heartbeats_of_all_groups_leave_in_the_same_tick() -> None:
    """However long each leader has led, so that those to one peer share a message."""
    log = SimulatedLog(LogDisk())
    node = NativeConsensus(native.Raft(seed=1), log)

    def heartbeats() -> int:
        sent = 0
        for _ in range(4):
            for ready in node.advance():
                sent += sum(1 for _, data in ready.messages if data[1] == HEARTBEAT)
                if ready.committed:
                    node.applied([(ready.vbucket, ready.committed[-1][0])])
            log.step_disk()
            log.step_disk()
        return sent

    for group in (1, 2, 3):
        node.tick(1)
        node.create_group(group, ([11], [12], [], [], False))
        node.open_group(group, 11, ([11], [12], [], [], False), 1)
        node.campaign(group)
        heartbeats()
    sent = []
    for _ in range(4):
        node.tick(1)
        sent.append(heartbeats())
    assert sent == [3, 0, 3, 0]


def test_election_timeouts_are_drawn_within_bounds() -> None:
    """Nobody stands before more than the least time has passed, and everybody has after the most; groups differ."""
    raft = native.Raft(seed=5)
    for group in range(1, 101):
        raft.open_group(group, 11, THREE, 1, (1, 0, 1), 1, 1, [])
    stood = []
    for _ in range(16):
        raft.tick(1)
        stood.append(len(raft.ready()[1]))
    assert stood[:10] == [0] * 10
    assert sum(stood) == 100
    assert all(count > 5 for count in stood[10:])


def test_sleeping_groups_send_nothing_and_elect_nobody() -> None:
    """No time passes in them, for leaders and followers alike; one that is written to wakes alone."""
    nodes = Nodes(20)
    nodes.tick(4)
    assert nodes.sleep() == 20
    for node in nodes.nodes.values():
        assert (node.raft_stats()["groups"], node.raft_stats()["awake"]) == (20, 0)
        node.tick(1_000)
    assert all(nodes.turn(replica) == [] for replica in THREE[0])
    assert nodes.nodes[11].propose(7, b"x")
    nodes.settle()
    assert [node.raft_stats()["awake"] for node in nodes.nodes.values()] == [1, 1, 1]
    assert nodes.nodes[12].status(7)["commit"] == 3
    assert nodes.nodes[12].status(6)["asleep"]


def test_sleeping_groups_without_their_leader_elect_another() -> None:
    """Woken by who knows that it is lost, all of them have a new leader after the drawn part of an election timeout."""
    nodes = Nodes(20)
    nodes.tick(4)
    nodes.sleep()
    for replica in (12, 13):
        nodes.nodes[replica].wake(list(nodes.groups), leader_is_lost=True)
    nodes.tick(6, 11)
    assert sorted(nodes.leaders(11)) == list(nodes.groups)
    assert set(nodes.leaders(11).values()) == {12, 13}


@pytest.mark.parametrize("wake", ["read", "campaign", "transfer", "change", "wake"])
def test_sleeping_leader_wakes_for_whatever_is_asked(wake: str) -> None:
    """No way into a group leaves it asleep with something to do."""
    nodes = Nodes(1)
    nodes.tick(4)
    nodes.sleep()
    node = nodes.nodes[11]
    ways = {
        "read": lambda: node.read_index(1, b"r"),
        "campaign": lambda: not node.campaign(1),
        "transfer": lambda: node.transfer_leader(1, 12),
        "change": lambda: node.propose_conf_change(1, [(2, 14)], 0) is not None,
        "wake": lambda: node.wake([1]) is None,
    }
    assert ways[wake]()
    assert not node.status(1)["asleep"]


def test_sleep_of_unsettled_or_unknown_groups_refuses() -> None:
    """Uncommitted entries, followers without a leader and groups that are not there stay as they are."""
    nodes = Nodes(1)
    leader, follower = nodes.nodes[11], nodes.nodes[12]
    assert leader.sleep([(5, 2, 2)]) == [5]
    leader.propose(1, b"x")
    assert leader.sleep([(1, 2, 3)]) == [1]
    assert leader.drowsy(0) == []
    follower.tick(16)
    assert follower.status(1)["leader"] == 0
    assert follower.sleep([(1, 2, 2)]) == [1]


def test_raft_stats_count_what_happened() -> None:
    """Elections, leaders, proposals, commits and messages by kind, over all groups of a node."""
    nodes = Nodes(2)
    nodes.nodes[11].propose(1, b"x")
    nodes.tick(2)
    stats = nodes.nodes[11].raft_stats()
    assert (stats["elections"], stats["leader_changes"]) == (2, 2)
    assert (stats["proposals"], stats["committed"]) == (1, 3)
    assert isinstance(sent := stats["sent"], dict)
    assert (sent["pre_vote"], sent["vote"], sent["heartbeat"]) == (4, 4, 4)
    assert isinstance(received := nodes.nodes[12].raft_stats()["received"], dict)
    assert (received["vote"], received["heartbeat"]) == (2, 2)
    assert "snapshot" not in sent
