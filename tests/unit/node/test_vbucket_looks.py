"""What a node tells of its vBuckets, on three nodes over a network in memory: conditions, sums, and each by itself."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests.unit.node.test_cluster_turns import Member, Trio

from dkv.cluster.group import FAR_BEHIND_ENTRIES
from dkv.node.stats import node_stats
from dkv.node.vbucket_looks import VBucketLooks
from dkv.services.vbuckets import Condition
from dkv.vbucket.retention import Retention
from dkv.wire import messages as pb

COUNT = 4


def looks_at(member: Member, incoming: Sequence[int] = ()) -> VBucketLooks:
    node = member.node
    return VBucketLooks(node.vbuckets, member.consensus, node.stagings, incoming)


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Trio:
    """Nothing of the history goes."""
    monkeypatch.setattr(Member, "retention", Retention())
    trio = Trio(COUNT)
    trio.run(100)
    return trio


def fill(trio: Trio) -> None:
    for at in range(20):
        assert trio.ask(trio.members[0], "Put", pb.PutRequest(key=b"key %d" % at, value=b"v")).code == 0
    trio.run(20)


def test_cluster_at_rest_has_nothing_to_tell(several: Trio) -> None:
    """Each vBucket is led once, and each node knows where."""
    trio = several
    fill(trio)
    led = []
    for member in trio.members:
        looks = looks_at(member)
        assert looks.numbers() == list(range(1, COUNT + 1))
        assert looks.conditions() == {}
        totals = looks.totals()
        assert (totals.changes, totals.changes_kept, totals.least_history) == (20, 20, 0)
        led.append(totals.led)
        for number in looks.numbers():
            look, hosted = looks.look(number), member.node.vbuckets[number]
            assert look.leader == hosted.leader_node != 0
            assert (look.lag is not None) == hosted.is_leader
            assert look.applied_index == look.commit_index == hosted.replica.applied_index
    assert sum(led) == COUNT


def test_node_out_of_touch_names_every_vbucket_as_one_without_a_leader(several: Trio) -> None:
    """The others go on, and those who lead know of no laggard yet: it lacks little."""
    trio = several
    lost, *others = trio.members
    trio.isolate(lost)
    trio.run(100)
    assert looks_at(lost).conditions() == {number: [Condition.NO_LEADER] for number in range(1, COUNT + 1)}
    assert sum(looks_at(each).totals().led for each in others) == COUNT
    for each in others:
        assert all(found == [Condition.REPLICA_LAGS] for found in looks_at(each).conditions().values())


def test_replica_that_lacks_much_is_told_of_where_it_is_led(monkeypatch: Any) -> None:
    """An entry fewer is nothing to tell."""
    trio = Trio()
    leader, lost = trio.leader, trio.followers[0]
    trio.run(20)
    trio.isolate(lost)
    monkeypatch.setattr("dkv.node.vbucket_looks.FAR_BEHIND_ENTRIES", 3)
    assert FAR_BEHIND_ENTRIES > 3
    for count, expected in ((2, {}), (1, {1: [Condition.REPLICA_LAGS]})):
        for at in range(count):
            trio.put(leader, b"%d" % at)
        assert looks_at(leader).conditions() == expected
    assert looks_at(leader).look(1).lag == 3
    assert looks_at(trio.followers[1]).conditions() == {}


def test_conditions_of_a_replica_are_told_side_by_side() -> None:
    """A snapshot comes in, a restore is under way, nothing has been read yet, and the clock is not believed."""
    trio = Trio()
    node = trio.leader.node
    node.stagings.is_restoring_here = True
    node.sole.replica.clock.frozen = True
    assert looks_at(trio.leader, [1]).conditions() == {
        1: [Condition.RECEIVES_SNAPSHOT, Condition.RESTORING, Condition.CLOCK_DISBELIEVED]
    }
    node.sole.is_readable = False
    assert Condition.CATCHING_UP in looks_at(trio.leader).conditions()[1]
    node.sole.is_told_removed = True
    assert looks_at(trio.leader).conditions()[1] == [
        Condition.REMOVED, Condition.RESTORING, Condition.CLOCK_DISBELIEVED
    ]  # fmt: skip


def test_least_history_is_that_of_a_vbucket_that_has_let_changes_go(several: Trio) -> None:
    """One that was hardly written to has few changes, and lacks none."""
    trio = several
    fill(trio)
    member = trio.members[0]
    stats: dict[str, Any] = node_stats(member.node)
    assert (stats["change_number"], stats["oldest_change"], stats["changes_kept_min"]) == (20, 1, 20)
    replicas = {number: hosted.replica for number, hosted in member.node.vbuckets.items()}
    replicas[2].earliest_change = replicas[2].change_number
    replicas[3].earliest_change = replicas[3].change_number - 1
    gone = replicas[2].change_number + replicas[3].change_number - 3
    totals = looks_at(member).totals()
    assert (totals.least_history, totals.changes_kept) == (2, 20 - gone)
    stats = node_stats(member.node)
    assert (stats["changes_kept_min"], stats["change_number"] - stats["oldest_change"] + 1) == (1, 20 - gone)


def test_numbers_of_several_vbuckets_are_sums_or_the_worst(several: Trio) -> None:
    """So that rates and differences are right, and an alert sees the one that is ill."""
    trio = several
    fill(trio)
    node = trio.members[0].node
    stats: dict[str, Any] = node_stats(node)
    replicas = [hosted.replica for hosted in node.vbuckets.values()]
    assert stats["applied_index"] == stats["commit_index"] == sum(each.applied_index for each in replicas)
    assert stats["last_index"] == stats["applied_index"]
    assert stats["term"] == max(hosted.term for hosted in node.vbuckets.values())
    now = trio.members[0].clock.now().wall_ms
    assert stats["log_time_age"] == (now - min(each.log_time for each in replicas)) / 1_000
    replicas[1].earliest_expiry, replicas[3].earliest_expiry = 9_000, 5_000
    stats = node_stats(node)
    assert (stats["earliest_expiry"], stats["sweep_backlog"]) == (5, (replicas[3].log_time - 5_000) / 1_000)
