"""The promises of Raft, on what a few replicas are made to say: kept, and each of them broken."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.ports.consensus import Conf
from dkv.testing.cluster.raft_checks import RaftChecks, has_quorum
from dkv.testing.log import Appended, SimulatedLog
from dkv.testing.log_disk import GroupLog, LogDisk
from dkv.testing.machine import VBUCKET, Life

FOLLOWER, LEADER = 0, 2
CONF: Conf = ([1, 2, 3], [], [], [], False)
FIRST = (1, 1)


def disk_with(*terms: int) -> LogDisk:
    """A disk that has entries of these terms behind the first index, synced."""
    entries = [(index, term, 0, b"e") for index, term in enumerate(terms, 2)]
    return LogDisk({VBUCKET: GroupLog((1, 0, 1), *FIRST, entries)})


class Cluster:
    """Three disks, and what the replicas on them say when they are looked at."""

    def __init__(self, *disks: LogDisk) -> None:
        self.disks = dict(enumerate(disks, 1))
        self.checks = RaftChecks()
        self.looked_at: dict[str, Any] = {}

    def look(
        self, replica: int, role: int, term: int, commit: int, vote: int = 0, conf: Conf = CONF, life: str = ""
    ) -> list[str]:
        """`life`: of one that is looked at again."""
        status = {"role": role, "term": term, "commit": commit, "conf": conf, "vote": vote}
        raft = SimpleNamespace(status=lambda vbucket: status)
        seen = self.looked_at.setdefault(life, {}) if life else {}
        found = SimpleNamespace(raft=raft, log=SimulatedLog(self.disks[replica]), looked_at=seen)
        return list(self.checks.look(replica, cast(Life, found), self.disks))


def test_cluster_that_agrees_has_no_complaint() -> None:
    """A leader, what it has committed on a quorum, and another leader that has it."""
    cluster = Cluster(disk_with(2, 2), disk_with(2, 2), disk_with(2))
    assert cluster.look(1, LEADER, 2, 3) == []
    assert cluster.look(3, FOLLOWER, 2, 2) == []
    assert cluster.look(2, LEADER, 3, 3) == []
    assert (cluster.checks.committed, cluster.checks.terms) == (2, 2)


def test_two_leaders_of_one_term_are_found() -> None:
    """Election safety."""
    cluster = Cluster(disk_with(), disk_with(), disk_with())
    assert cluster.look(1, LEADER, 2, 1) == []
    assert "election safety" in cluster.look(2, LEADER, 2, 1)[0]


def test_vote_that_is_forgotten_is_found() -> None:
    """Its disk has it, and it would vote again; in another term it may."""
    voted = disk_with()
    voted.synced[VBUCKET].hard_state = (4, 2, 1)
    cluster = Cluster(voted, disk_with(), disk_with())
    assert cluster.look(1, FOLLOWER, 4, 1, vote=2) == []
    assert cluster.look(1, FOLLOWER, 5, 1, vote=3) == []
    assert "has voted for 2 in term 4" in cluster.look(1, FOLLOWER, 4, 1)[0]


def test_leader_without_a_committed_entry_is_found() -> None:
    """Leader completeness: the entry is missing, or another one stands in its place."""
    for log in (disk_with(), disk_with(3)):
        cluster = Cluster(disk_with(2), disk_with(2), log)
        assert cluster.look(1, LEADER, 2, 2) == []
        assert "leader completeness" in cluster.look(3, LEADER, 4, 1)[0]


def test_leader_whose_log_is_cut_is_complete() -> None:
    """What it has cut it had."""
    cut = LogDisk({VBUCKET: GroupLog((1, 0, 1), 5, 2, [])})
    cluster = Cluster(disk_with(2), disk_with(2), cut)
    assert cluster.look(1, LEADER, 2, 2) == []
    assert cluster.look(3, LEADER, 3, 1) == []


def test_entry_committed_without_a_quorum_of_disks_is_found() -> None:
    """One disk has it synced, the others have it not at all or of another term."""
    cluster = Cluster(disk_with(2), disk_with(), disk_with(1))
    assert "durable on [1] only" in cluster.look(1, LEADER, 2, 2)[0]


def test_quorum_of_the_members_before_the_turn_will_do() -> None:
    """A change of members that is applied in the turn counts from the entry behind it on."""
    cluster = Cluster(disk_with(2), disk_with(2), disk_with())
    small: Conf = ([1, 2], [], [], [], False)
    assert cluster.look(1, LEADER, 2, 1, conf=small, life="a") == []
    assert cluster.look(1, LEADER, 2, 2, conf=([1, 2, 3, 4, 5], [], [], [], False), life="a") == []


def test_two_entries_committed_at_one_index_are_found() -> None:
    """State machine safety."""
    cluster = Cluster(disk_with(2), disk_with(2), disk_with(3))
    assert cluster.look(1, FOLLOWER, 2, 2) == []
    assert "state machine safety" in cluster.look(3, FOLLOWER, 3, 2)[0]


@pytest.mark.parametrize(
    "other",
    [
        Appended(VBUCKET, 1, [(2, 2, 0, b"x")]),
        Appended(VBUCKET, 2, [(2, 2, 0, b"e")]),
        Appended(VBUCKET, 1, [(2, 2, 1, b"e")]),
    ],
)
def test_entry_that_differs_between_logs_is_found(other: Appended) -> None:
    """Log matching: other data, another entry before, or another kind under the same index and term."""
    checks = RaftChecks()
    entry = Appended(VBUCKET, 1, [(2, 2, 0, b"e")])
    assert list(checks.appended(1, [entry, entry])) == []
    assert "log matching" in next(checks.appended(2, [other]))


@pytest.mark.parametrize(
    ("conf", "have", "is_quorum"),
    [
        (CONF, {1, 2}, True),
        (CONF, {1, 9}, False),
        (([1, 2, 3], [], [3, 4, 5], [], False), {1, 2}, False),
        (([1, 2, 3], [], [3, 4, 5], [], False), {1, 3, 4}, True),
        (([1], [2, 3], [], [], False), {2, 3}, False),
    ],
)
def test_quorum_is_a_majority_of_the_voters_of_both_sets(conf: Any, have: set[int], is_quorum: bool) -> None:
    """Learners and strangers do not count."""
    assert has_quorum(conf, have) is is_quorum
