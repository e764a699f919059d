"""Snapshots between groups over the simulated log: the order of the steps, and a crash between any two of them."""

from random import Random

import pytest

native = pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.edge.consensus import NativeConsensus  # noqa: E402
from dkv.model.errors import Corrupt, StorageFailed  # noqa: E402
from dkv.ports.consensus import Conf, Ready  # noqa: E402
from dkv.testing.log import SimulatedLog  # noqa: E402
from dkv.testing.log_disk import LogDisk  # noqa: E402

GROUP = 7
MEMBERS: Conf = ([11, 12, 13], [], [], [], False)
NOBODY: Conf = ([], [], [], [], False)


class Member:
    """A replica whose engine is one row: (applied index, members, term if it is that of a snapshot)."""

    def __init__(self, replica: int, conf: Conf = MEMBERS) -> None:
        self.replica, self.disk = replica, LogDisk()
        self.row: tuple[int, Conf, int | None] = (1 if conf[0] else 0, conf, None)
        self.terms: dict[int, int] = {}
        """Of what was applied, in memory only."""
        self.start()

    def start(self) -> None:
        self.log = SimulatedLog(self.disk)
        self.consensus = NativeConsensus(native.Raft(seed=self.replica), self.log)
        applied, conf, installed_term = self.row
        if not self.consensus.has_group(GROUP):
            if applied:
                self.consensus.create_group(GROUP, conf)
            else:
                self.consensus.create_empty_group(GROUP)
        self.consensus.open_group(GROUP, self.replica, conf, applied, installed_term=installed_term)

    def turn(self) -> list[Ready]:
        news = self.consensus.advance()
        for ready in news:
            for index, term, kind, data in ready.committed:
                conf = self.consensus.apply_conf_change(GROUP, index, data) if kind else self.row[1]
                self.row, self.terms[index] = (index, conf, None), term
            if ready.committed:
                self.consensus.applied([(GROUP, self.row[0])])
        self.log.step_disk()
        self.log.step_disk()
        return news


class Cluster:
    def __init__(self) -> None:
        self.members = {replica: Member(replica) for replica in MEMBERS[0]}
        self.wanted: list[tuple[int, int]] = []
        self.leader = self.members[11]
        self.leader.consensus.campaign(GROUP)
        self.settle()
        assert self.leader.consensus.status(GROUP)["role"] == 2

    def settle(self, *down: int) -> None:
        quiet = 0
        while quiet < 3:
            quiet += 1
            for replica, member in self.members.items():
                if replica in down:
                    continue
                for ready in member.turn():
                    quiet = 0
                    self.wanted += [(replica, peer) for peer in ready.snapshots_wanted]
                    for to, message in ready.messages:
                        if to in self.members and to not in down:
                            self.members[to].consensus.step([(GROUP, message)])

    def beat(self) -> None:
        self.leader.consensus.tick(2)
        self.settle()

    def put(self, count: int, *down: int) -> None:
        for number in range(count):
            assert self.leader.consensus.propose(GROUP, b"%d" % number)
            self.settle(*down)


def behind(*down: int) -> Cluster:
    """A cluster whose member 13 needs a snapshot."""
    cluster = Cluster()
    cluster.put(5, 13)
    cluster.leader.consensus.cut(GROUP, 6)
    cluster.beat()
    assert cluster.wanted == [(11, 13)]
    return cluster


def snapshot(member: Member) -> tuple[int, int, Conf]:
    index, conf, _ = member.row
    return index, member.terms[index], conf


def flip(member: Member, index: int, term: int, conf: Conf) -> None:
    """What the engine does, synced, while the group is stopped."""
    assert member.consensus.begin_install(GROUP, index, term)
    member.row = (index, conf, term)


def reopen(member: Member) -> None:
    applied, conf, installed_term = member.row
    member.consensus.open_group(GROUP, member.replica, conf, applied, installed_term=installed_term)


def test_snapshot_brings_a_follower_back() -> None:
    """Wanted once, installed, reported: then the log does the rest, also what came meanwhile."""
    cluster = behind()
    for _ in range(5):
        cluster.beat()
    assert cluster.wanted == [(11, 13)]
    follower, (index, term, conf) = cluster.members[13], snapshot(cluster.leader)
    flip(follower, index, term, conf)
    cluster.put(2)
    reopen(follower)
    cluster.leader.consensus.report_snapshot(GROUP, 13, index)
    cluster.settle()
    cluster.beat()
    assert follower.row[0] == cluster.leader.row[0] == index + 2
    assert follower.consensus.log_bounds(GROUP) == (index + 1, index + 2)


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("power", [False, True])
def test_snapshot_crash_at_any_step_leaves_old_or_new(steps: int, power: bool) -> None:
    """Whatever the disks lose between two steps, the follower starts, keeps its term, and is brought back."""
    cluster = behind()
    follower, (index, term, conf) = cluster.members[13], snapshot(cluster.leader)
    old_term = follower.consensus.status(GROUP)["term"]
    actions = [
        lambda: follower.consensus.begin_install(GROUP, index, term),
        lambda: setattr(follower, "row", (index, conf, term)),
        lambda: reopen(follower),
        lambda: follower.log.step_disk(),
        lambda: follower.log.step_disk(),
    ]
    for action in actions[: steps + 1]:
        action()
    lose = follower.disk.power_loss if power else follower.disk.crash_process
    lose(Random(steps))
    follower.start()
    assert follower.row[0] == (index if steps else 2)
    assert follower.consensus.status(GROUP)["term"] == old_term
    if not steps:
        flip(follower, index, term, conf)
        reopen(follower)
    cluster.leader.consensus.report_snapshot(GROUP, 13, index)
    cluster.put(1)
    cluster.beat()
    assert follower.row[0] == cluster.leader.row[0]


def test_snapshot_crash_after_entries_behind_it_keeps_them() -> None:
    """The engine may come back as of the snapshot while the log has gone on: then the log is right, and stays."""
    cluster = behind()
    follower, (index, term, conf) = cluster.members[13], snapshot(cluster.leader)
    flip(follower, index, term, conf)
    installed = follower.row
    reopen(follower)
    cluster.leader.consensus.report_snapshot(GROUP, 13, index)
    cluster.put(3)
    follower.row = installed
    follower.disk.power_loss(Random(1))
    follower.start()
    assert follower.consensus.log_bounds(GROUP).last_index == index + 3


def test_begin_install_of_what_the_log_has_refuses() -> None:
    """Entries that were acknowledged are never dropped for a snapshot that is older, or no newer, than they are."""
    cluster = Cluster()
    cluster.put(3)
    follower, (index, term, _) = cluster.members[13], snapshot(cluster.leader)
    assert not follower.consensus.begin_install(GROUP, index, term)
    assert not follower.consensus.begin_install(GROUP, index - 1, term)
    assert cluster.leader.consensus.propose(GROUP, b"x")
    [ready] = [ready for ready in cluster.leader.turn() if ready.messages]
    follower.consensus.step([(GROUP, message) for to, message in ready.messages if to == 13])
    assert not follower.consensus.begin_install(GROUP, index + 1, term), "acknowledged, and not known to be committed"
    assert not cluster.leader.consensus.begin_install(GROUP, index + 9, term), "a leader needs none"


def test_failed_snapshot_is_wanted_again() -> None:
    """A report of failure is followed by the same want, at the next reply."""
    cluster = behind()
    cluster.leader.consensus.report_snapshot(GROUP, 13, None)
    cluster.settle()
    assert cluster.wanted == [(11, 13)]
    cluster.beat()
    assert cluster.wanted == [(11, 13)] * 2


def test_false_report_of_a_snapshot_does_no_harm() -> None:
    """What the follower answers counts, not what somebody said of it."""
    cluster = behind()
    for index, wanted in ((7, 2), (99, 3)):
        cluster.leader.consensus.report_snapshot(GROUP, 13, index)
        cluster.settle()
        cluster.beat()
        assert cluster.wanted == [(11, 13)] * wanted
    assert cluster.members[13].row[0] == 2


def test_empty_replica_becomes_a_member_by_a_snapshot() -> None:
    """A replica without anything gets a snapshot although the leader's log is whole, and then counts as any other."""
    cluster = Cluster()
    cluster.put(2)
    newcomer = cluster.members[14] = Member(14, NOBODY)
    assert not newcomer.consensus.campaign(GROUP)
    assert cluster.leader.consensus.propose_conf_change(GROUP, [(2, 14)], 0)
    cluster.settle()
    cluster.beat()
    assert cluster.wanted == [(11, 14)]
    index, term, conf = snapshot(cluster.leader)
    flip(newcomer, index, term, conf)
    reopen(newcomer)
    cluster.leader.consensus.report_snapshot(GROUP, 14, index)
    cluster.settle()
    assert cluster.leader.consensus.propose_conf_change(GROUP, [(0, 14)], 0)
    cluster.settle()
    assert newcomer.row[1] == ([11, 12, 13, 14], [], [], [], False)


def test_create_empty_group_drops_the_log_of_a_former_replica() -> None:
    """A replica that comes back to a node is another one to Raft: it has nothing, and has voted for nobody."""
    member = Member(11, ([11], [], [], [], False))
    member.consensus.campaign(GROUP)
    member.turn()
    with pytest.raises(ValueError, match="is open"):
        member.consensus.create_empty_group(GROUP)
    member.consensus.close_group(GROUP)
    member.consensus.create_empty_group(GROUP)
    member.consensus.open_group(GROUP, 21, NOBODY, 0)
    assert member.consensus.log_bounds(GROUP) == (1, 0)
    status = member.consensus.status(GROUP)
    assert (status["term"], status["vote"], status["last_index"]) == (1, 0, 0)


def test_open_group_log_behind_without_mark_raises_corrupt() -> None:
    """Only the row of a snapshot may be ahead of the log; any other is damage."""
    member = Member(11)
    member.consensus.close_group(GROUP)
    with pytest.raises(Corrupt, match="applied to 9"):
        member.consensus.open_group(GROUP, 11, MEMBERS, 9)
    member.consensus.open_group(GROUP, 11, MEMBERS, 9, installed_term=3)
    assert member.consensus.log_bounds(GROUP) == (10, 9)
    assert member.consensus.status(GROUP)["term"] == 3


def test_open_group_snapshot_without_log_raises_corrupt() -> None:
    """A row of a snapshot does not make up for a log that is lost: the votes were in it."""
    consensus = NativeConsensus(native.Raft(seed=1), SimulatedLog(LogDisk()))
    with pytest.raises(Corrupt, match="does not know"):
        consensus.open_group(GROUP, 11, MEMBERS, 9, installed_term=3)


def test_open_group_snapshot_over_failed_log_raises_storage_failed() -> None:
    """The log never writes again after a failure, not its new beginning either."""
    member = Member(11, ([11], [], [], [], False))
    member.consensus.campaign(GROUP)
    member.consensus.advance()
    member.disk.sync_fails = True
    assert (member.log.step_disk(), member.log.step_disk()) == ("written", "failed")
    member.consensus.close_group(GROUP)
    with pytest.raises(StorageFailed, match="sync failed"):
        member.consensus.open_group(GROUP, 11, MEMBERS, 9, installed_term=3)


def test_all_matched_waits_for_the_slowest_voter() -> None:
    """What all voters have on disk is told while somebody watches, and once per change."""
    cluster = Cluster()
    leader = cluster.leader.consensus
    leader.watch_all(GROUP, True)
    told: list[int | None] = []
    leader.propose(GROUP, b"x")
    for _ in range(4):
        for replica in (11, 12):
            for ready in cluster.members[replica].turn():
                told += [] if ready.all_matched is None else [ready.all_matched]
                for to, message in ready.messages:
                    if to != 13:
                        cluster.members[to].consensus.step([(GROUP, message)])
    assert (told, leader.all_matched(GROUP)) == ([2], 2)
    cluster.beat()
    assert leader.all_matched(GROUP) == 3
    assert cluster.members[12].consensus.all_matched(GROUP) == 0
    leader.watch_all(GROUP, False)
    leader.propose(GROUP, b"y")
    assert all(ready.all_matched is None for ready in cluster.leader.turn())


@pytest.mark.parametrize("is_up", [True, False])
def test_transfer_tells_how_it_ended(is_up: bool) -> None:
    """The old leader hears that the other leads, or after an election timeout that it could not be had."""
    cluster = Cluster()
    down = () if is_up else (12,)
    assert cluster.leader.consensus.transfer_leader(GROUP, 12)
    told = []
    for _ in range(40):
        cluster.leader.consensus.tick(1)
        for replica, member in cluster.members.items():
            if replica in down:
                continue
            for ready in member.turn():
                told += [] if ready.transfer is None else [ready.transfer]
                for to, message in ready.messages:
                    if to not in down:
                        cluster.members[to].consensus.step([(GROUP, message)])
    assert told == [(12, is_up)]
