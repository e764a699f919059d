"""Restores of three nodes: every replica switches, or none does, and whoever was away fetches a snapshot."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.node.test_cluster_turns import VBUCKET, Member, Trio, rows_of

from dkv.jobs.stage import named_spaces
from dkv.model.errors import Code
from dkv.testing.edge import Reply
from dkv.vbucket.replica import Replica
from dkv.vbucket.retention import Retention
from dkv.vbucket.rows import unnamed_ranges
from dkv.wire import messages as pb
from dkv.wire import methods

PATH = "/shelf"
KEYS = 40


class Site(Trio):
    """Three members whose backups lie on a disk that all of them reach."""

    def __init__(self, vbuckets: int = 1) -> None:
        super().__init__(vbuckets)
        self.kept: dict[str, Any] = {}
        self.share()

    def share(self) -> None:
        for member in self.members:
            member.shelf.kept = self.kept

    def crash(self, member: Member) -> None:
        member.crash()
        self.share()

    def begin(self, member: Member, method: int, until_change: int = 0) -> int:
        request = pb.RestoreBackupRequest(path=PATH, untilChangeNumber=until_change)
        return member.edge.call(member.services.methods.index(methods.METHODS[method]), request.SerializeToString())

    def end(self, member: Member, call_id: int, rounds: int = 1_500) -> Reply:
        for _ in range(rounds):
            self.run(1)
            if (reply := member.reply(call_id)) is not None:
                return reply
        raise AssertionError("no answer")

    def back_up(self, member: Member) -> None:
        assert self.end(member, self.begin(member, methods.TAKE_BACKUP)).code == Code.OK

    def restore(self, member: Member, until_change: int = 0) -> Reply:
        return self.end(member, self.begin(member, methods.RESTORE_BACKUP, until_change))

    def fill(self, value: bytes) -> None:
        for at in range(KEYS):
            reply = self.ask(self.leader, "Put", pb.PutRequest(key=b"k%02d" % at, value=value * 1_000))
            assert reply.code == Code.OK, reply.reason

    def values(self, member: Member) -> set[bytes]:
        return {row[1:2] for _, row in rows_of(member)}

    def settle(self, rounds: int = 1_500) -> None:
        """Until every replica has applied the same and nothing is left over."""
        for _ in range(rounds):
            self.run(1)
            ends = {each.node.sole.replica.applied_index for each in self.members}
            leaders = [each for each in self.members if each.is_leading]
            if len(ends) == len(leaders) == 1 and not any(map(self.left, self.members)):
                return
        raise AssertionError([each.node.sole.replica.metadata() for each in self.members])

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1_500):
            if condition():
                return
            self.run(1)
        raise AssertionError("it never came to be")

    @staticmethod
    def left(member: Member) -> bool:
        """Something is staged, or lies in a block that nobody serves."""
        spaces = [hosted.replica.space for hosted in member.node.vbuckets.values()]
        is_staged = any(hosted.replica.staged is not None for hosted in member.node.vbuckets.values())
        ranges = unnamed_ranges(spaces)
        return is_staged or named_spaces(member.store) != spaces or any(_has_rows(member, *each) for each in ranges)

    def are_equal(self) -> None:
        first, *others = self.members
        wanted = first.node.sole.replica
        for other in others:
            found = other.node.sole.replica
            assert rows_of(other) == rows_of(first)
            assert found.history_id == wanted.history_id
            assert (found.change_number, found.log_time) == (wanted.change_number, wanted.log_time)


def _has_rows(member: Member, start: bytes, end: bytes) -> bool:
    scan = member.store.scan(start, end)
    try:
        return bool(scan.take(1, 1))
    finally:
        scan.close()


@pytest.fixture
def site() -> Site:
    """Backed up with one value, then filled with another."""
    site = Site()
    site.fill(b"o")
    site.back_up(site.leader)
    site.fill(b"n")
    return site


@pytest.mark.parametrize("asks_leader", [True, False])
def test_restore_asked_of_any_node_replaces_the_rows_of_all(site: Site, asks_leader: bool) -> None:
    """At one index, under one new history; who was asked leads afterwards."""
    member, before = site.leader if asks_leader else site.followers[0], site.leader.node.sole.replica
    history_id, number = before.history_id, before.change_number
    reply = site.restore(member)
    assert reply.code == Code.OK, reply.reason
    told = pb.BackupProgress.FromString(reply.items[-1])
    site.settle()
    site.are_equal()
    assert [site.values(each) for each in site.members] == [{b"o"}] * 3
    replica = member.node.sole.replica
    assert member.is_leading
    assert (told.changeNumber, told.historyId) == (replica.change_number, replica.history_id)
    assert replica.history_id != history_id
    assert replica.change_number == number + 1
    phases = [pb.BackupProgress.FromString(item).phase for item in reply.items]
    assert pb.BackupPhase.BACKUP_PHASE_SPREAD in phases
    assert not any(each.node.duties and each.node.duties.snapshots.sent for each in site.members)


def test_restore_to_a_point_in_time_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was asked replays its history, the others get the result."""
    monkeypatch.setattr(Member, "retention", Retention())
    site = Site()
    site.back_up(site.leader)
    number = site.put(site.leader, b"point")
    site.put(site.leader, b"behind")
    reply = site.restore(site.followers[0], until_change=number)
    assert reply.code == Code.OK, reply.reason
    site.settle()
    site.are_equal()
    assert {site.get(each).value for each in site.members} == {b"point"}


def test_follower_that_is_away_fetches_a_snapshot_when_it_is_back(site: Site) -> None:
    """A quorum is enough; its log has everything, and it cannot apply the restore."""
    away = site.followers[0]
    site.isolate(away)
    reply = site.restore(site.leader)
    assert reply.code == Code.OK, reply.reason
    assert site.put(site.leader, b"after")
    site.wire.cut = set()
    site.settle()
    site.are_equal()
    assert away.node.duties is not None
    assert away.node.duties.snapshots.arrivals.installed == 1
    assert site.get(away, readConsistency=pb.ReadConsistency.LINEARIZABLE).value == b"after"


def stuck_follower(site: Site) -> Member:
    """Its log has the restore, as the leader did not cut its own so soon; it has not what is restored."""
    away = site.followers[0]
    for member in site.members:
        member.node.consensus.cut = lambda vbucket, index: None  # type: ignore[method-assign]
    site.isolate(away)
    assert site.restore(site.leader).code == Code.OK
    site.wire.cut = set()
    site.until(lambda: away.node.sole.is_stuck)
    return away


def test_replica_that_is_stuck_keeps_what_its_log_has(site: Site) -> None:
    """Entries behind the restore that it has acknowledged may be the only copy a later leader finds."""
    away = stuck_follower(site)
    leader, kept = site.leader, 0
    for at in range(20):
        leader.call("Put", pb.PutRequest(key=b"k", value=b"%d" % at))
        site.run(1)
        last = away.node.consensus.log_bounds(VBUCKET).last_index
        assert last >= kept
        kept = last
    assert kept > leader.node.sole.replica.applied_index - 5
    site.settle()
    site.are_equal()


def test_leader_that_lacks_what_is_restored_hands_over(site: Site) -> None:
    """It could never serve."""
    away, leader = stuck_follower(site), site.leader
    assert leader.node.consensus.transfer_leader(VBUCKET, away.node_id)
    for _ in range(20):
        site.run(1)
        if away.node.sole.is_leader:
            break
    assert away.node.sole.is_leader
    assert not away.is_leading
    site.settle()
    site.are_equal()
    assert site.values(away) == {b"o"}


@pytest.mark.parametrize("turns", range(0, 40, 2))
def test_follower_that_crashes_during_a_restore_is_equal_in_the_end(site: Site, turns: int) -> None:
    """At any step: what it had staged counts, or it gets everything again, or a snapshot."""
    leader, follower = site.leader, site.followers[0]
    call_id = site.begin(leader, methods.RESTORE_BACKUP)
    site.run(turns)
    site.crash(follower)
    reply = site.end(leader, call_id)
    assert reply.code == Code.OK, reply.reason
    site.settle()
    site.are_equal()
    assert site.values(follower) == {b"o"}


@pytest.mark.parametrize("turns", range(0, 40, 2))
def test_node_that_crashes_during_its_restore_leaves_the_old_data_or_the_new_everywhere(site: Site, turns: int) -> None:
    """And nothing that was staged anywhere."""
    leader = site.leader
    site.begin(leader, methods.RESTORE_BACKUP)
    site.run(turns)
    site.crash(leader)
    site.settle(3_000)
    site.are_equal()
    assert site.values(leader) in ({b"o"}, {b"n"})


def test_restore_ends_when_the_lead_is_lost_before_it_is_proposed(site: Site) -> None:
    """With a clear text, and the old data."""
    leader, follower = site.leader, site.followers[0]
    call_id = site.begin(leader, methods.RESTORE_BACKUP)
    site.until(lambda: leader.node.stagings.spreading is not None)
    assert leader.node.consensus.transfer_leader(VBUCKET, follower.node_id)
    reply = site.end(leader, call_id)
    assert reply.code == Code.UNKNOWN
    assert "nothing was replaced" in reply.reason
    site.settle()
    site.are_equal()
    assert site.values(leader) == {b"n"}


def test_restore_without_a_quorum_ends(site: Site) -> None:
    """What was staged goes; afterwards it can be asked for again."""
    leader = site.leader
    call_id = site.begin(leader, methods.RESTORE_BACKUP)
    site.until(lambda: leader.node.stagings.spreading is not None)
    site.isolate(leader)
    reply = site.end(leader, call_id, 2_000)
    assert "nothing was replaced" in reply.reason
    site.wire.cut = set()
    site.settle()
    assert site.values(leader) == {b"n"}
    assert site.restore(site.leader).code == Code.OK


def test_restore_that_a_voter_has_no_room_for_ends(site: Site) -> None:
    """It could not fetch a snapshot either."""
    follower = site.followers[0]
    follower.node.disk.free_bytes_min = 1 << 20
    follower.store.free_bytes_now = 1_000
    reply = site.restore(site.leader)
    assert reply.code == Code.UNKNOWN
    assert "refuses: the disk has less than 1 MiB left" in reply.reason
    follower.store.free_bytes_now = 1 << 40
    site.settle()
    site.are_equal()
    assert site.values(follower) == {b"n"}


def test_what_is_staged_for_a_restore_that_is_over_goes_though_nobody_was_told(site: Site) -> None:
    """The follower asks."""
    leader, follower = site.leader, site.followers[0]
    follower.node.disk.free_bytes_min = 1 << 20
    follower.store.free_bytes_now = 1_000
    other = site.followers[1]
    call_id = site.begin(leader, methods.RESTORE_BACKUP)
    site.until(lambda: leader.node.stagings.spreading is not None)
    spreading = leader.node.stagings.spreading
    assert spreading is not None
    spreading.drop = spreading.close  # type: ignore[method-assign]
    site.end(leader, call_id)
    assert site.left(other)
    site.settle()
    assert site.values(other) == {b"n"}


def test_members_and_leaders_stay_as_they_are_during_a_restore(site: Site) -> None:
    """Whoever asks is asked to come again."""
    leader = site.leader
    assert leader.node.duties is not None
    membership = leader.node.duties.membership
    call_id = site.begin(leader, methods.RESTORE_BACKUP)
    site.run(3)
    assert membership.is_restoring()
    membership.transfer(VBUCKET, site.followers[0].node_id)
    assert site.end(leader, call_id).code == Code.OK
    assert leader.is_leading
    assert not membership.is_restoring()


def test_restore_beside_a_learner_is_refused(site: Site) -> None:
    """Somebody is on the way in."""
    leader = site.leader
    site.wire.waiting[99], site.wire.bulk[99] = [], []
    assert leader.node.consensus.propose_conf_change(VBUCKET, [(2, 99)], 0)
    site.run(20)
    reply = site.restore(leader)
    assert reply.code == Code.UNKNOWN
    assert "are being changed" in reply.reason


def test_backup_and_restore_of_several_vbuckets_hold_all_of_them() -> None:
    """One checkpoint; every vBucket switches."""
    site = Site(vbuckets=3)
    site.run(200)

    def put(value: bytes) -> None:
        for at in range(12):
            reply = site.ask(site.members[0], "Put", pb.PutRequest(key=b"k%d" % at, value=value))
            assert reply.code == Code.OK, reply.reason

    def seen(member: Member) -> set[bytes]:
        request = pb.MultiGetRequest(keys=[b"k%d" % at for at in range(12)], readConsistency=1)
        reply = site.ask(member, "MultiGet", request)
        return {pair.value for pair in pb.MultiGetResponse.FromString(reply.message).keyValues}

    put(b"old")
    site.run(20)
    site.back_up(site.members[1])
    assert [each.vbucket for each in site.kept[PATH].vbuckets] == [1, 2, 3]
    put(b"new")
    assert seen(site.members[0]) == {b"new"}
    reply = site.restore(site.members[2])
    assert reply.code == Code.OK, reply.reason
    told = pb.BackupProgress.FromString(reply.items[-1])
    assert (told.changeNumber, told.historyId) == (0, b"")
    assert all(hosted.is_leading for hosted in site.members[2].node.vbuckets.values())
    assert [seen(member) for member in site.members] == [{b"old"}] * 3
    put(b"newer")
    assert [seen(member) for member in site.members] == [{b"newer"}] * 3


def test_restore_of_a_backup_with_other_vbuckets_is_refused() -> None:
    """It would not be one state of the database."""
    one, three = Site(), Site(vbuckets=3)
    one.fill(b"o")
    one.back_up(one.leader)
    three.kept.update(one.kept)
    three.run(200)
    reply = three.restore(three.members[0])
    assert (reply.code, reply.reason) == (
        Code.UNKNOWN,
        "the backup is of vBucket 1, this database has 3 vBuckets",
    )
    reply = three.restore(three.members[0], until_change=3)
    assert reply.code == Code.INVALID_ARGUMENT


def test_row_of_a_restore_is_gone_once_a_later_term_is_applied(site: Site) -> None:
    """Also where the node that staged it never comes back."""
    leader = site.leader
    site.begin(leader, methods.RESTORE_BACKUP)
    follower = site.followers[0]
    site.until(lambda: follower.node.sole.replica.staged is not None)
    site.isolate(leader)
    rest = (leader,)
    site.run(400, without=rest)
    assert follower.node.sole.replica.staged is None or follower.node.sole.replica.applied_term == 1
    assert follower.store.get_many([Replica.staging_key(VBUCKET)]) == [None]
