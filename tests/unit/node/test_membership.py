"""Membership changes between three nodes over a network in memory, asked for on whichever node."""

from types import SimpleNamespace
from typing import Any

import pytest

from dkv.cluster.formation import Standing
from dkv.cluster.plans import LEARNER, REMOVED, Change, Moved
from dkv.model.errors import InvalidRequest
from dkv.model.members import Member, encode_members
from dkv.node.membership import HEARSAY_MS, LOOK_MS, UNHEARD, Membership
from dkv.ports.clock import Now
from dkv.wire.peer import Kind, pack_change, pack_number, parse_change

MEMBERS = [Member(10 * n, n, f"n{n}:1", f"http://n{n}:1") for n in (1, 2, 3)]
NEW = Member(40, 4, "n4:1", "http://n4:1")
LAST = 50


class Bench:
    """A node whose group is a few values, and what it has said."""

    def __init__(self, *, leads: bool, own: Standing | None = None, node: int = 1) -> None:
        directory = SimpleNamespace(members=lambda: self.members)
        replica = SimpleNamespace(replica=10 * node, members=([10, 20, 30], [], [], [], False), directory=directory)
        self.members = MEMBERS
        self.hosted = SimpleNamespace(
            replica=replica,
            is_leader=leads,
            is_leading=leads,
            is_removed=False,
            is_told_removed=False,
            leader=10 if leads else 20,
            leader_node=2,
            term=5,
        )
        self.said: list[Any] = []
        self.known: dict[int, str] = {}
        peers = SimpleNamespace(know=self.known.__setitem__, forget=self.known.pop, links=dict)
        peering = SimpleNamespace(peers=peers, tell=lambda *what: self.said.append(what))
        consensus = SimpleNamespace(
            status=lambda vbucket: {"last_index": LAST, "peers": {20: (48, 49, 1, True), 40: (0, 1, 0, False)}},
            propose_conf_change=lambda *what: self.said.append(what),
            transfer_leader=lambda *what: self.said.append(what),
        )
        random = SimpleNamespace(bytes=lambda count: bytes(count))
        groups: Any = {7: self.hosted}
        self.membership = Membership(node, groups, consensus, peering, random, lambda: {(7, 20): 9}, own)  # type: ignore[arg-type]


def test_group_on_its_leader_knows_who_lags() -> None:
    """One that has never answered lags without end, however short the log."""
    group = Bench(leads=True).membership.group(7)
    assert (group.leader, group.term, list(group.members)) == (10, 5, MEMBERS)
    assert group.lags == {20: 2, 40: UNHEARD}
    assert Bench(leads=False).membership.group(7).lags == {}


def test_leader_proposes_what_is_safe_and_nothing_else() -> None:
    """With the directory's change as the context of the entry."""
    bench = Bench(leads=True)
    change = Change(((LEARNER, 40),), (NEW,))
    bench.membership.propose_change(7, change)
    assert bench.said == [(7, change.changes, 0, change.context)]
    bench.membership.propose_change(7, Change(((REMOVED, 10),)))
    assert len(bench.said) == 1


def test_follower_hands_wishes_to_the_leader() -> None:
    """One hop: who is asked and does not lead does nothing."""
    bench = Bench(leads=False)
    change = Change(((LEARNER, 40), (REMOVED, 20)), (NEW,))
    bench.membership.propose_change(7, change)
    bench.membership.transfer(7, 30)
    (asked, handed) = bench.said
    assert asked == (2, Kind.CHANGE, 7, pack_change(change.changes, change.context))
    assert handed == (2, Kind.TRANSFER, 7, pack_number(30))
    other = Bench(leads=False)
    other.membership.hear(1, *asked[1:])
    assert other.said == []
    leader = Bench(leads=True)
    leader.membership.hear(1, *asked[1:])
    leader.membership.hear(1, *handed[1:])
    leader.membership.hear(1, Kind.TRANSFER, 99, pack_number(30))
    assert leader.said == [(7, change.changes, 0, change.context), (7, 30)]


NOWHERE = encode_members([NEW._replace(address="nowhere")])


@pytest.mark.parametrize(
    "body",
    [b"", b"\1", b"\2" + bytes(17), pack_change(((LEARNER, 4),), b"no members"), pack_change(((LEARNER, 4),), NOWHERE)],
)
def test_wish_that_is_none_is_refused(body: bytes) -> None:
    """A release that is not ours, or a bug."""
    with pytest.raises(InvalidRequest):
        Bench(leads=True).membership.hear(2, Kind.CHANGE, 7, body)


def test_change_of_members_comes_back_from_its_bytes() -> None:
    """Kinds, replicas and context."""
    changes = [(LEARNER, (1 << 64) - 1), (REMOVED, 1)]
    assert parse_change(pack_change(changes, b"context")) == (changes, b"context")


def test_network_knows_whom_some_directory_has() -> None:
    """Newcomers, other addresses, and those that are gone; never the node itself."""
    bench = Bench(leads=True)
    assert bench.known == {2: "n2:1", 3: "n3:1"}
    bench.members = [MEMBERS[0], MEMBERS[1]._replace(address="moved:1"), NEW]
    bench.membership.after_turn(Now(0, 1_000))
    assert bench.known == {2: "n2:1", 3: "n3:1"}
    bench.hosted.replica.members = ([10, 20, 40], [], [], [], False)
    bench.membership.after_turn(Now(0, 2_000))
    assert bench.known == {2: "moved:1", 3: "n3:1", 4: "n4:1"}
    assert sorted(bench.membership.nodes()) == [1, 2, 4]
    bench.membership.after_turn(Now(0, 2_000 + HEARSAY_MS))
    bench.membership.after_turn(Now(0, 2_000 + HEARSAY_MS + LOOK_MS))
    assert bench.known == {2: "moved:1", 4: "n4:1"}


def test_replica_that_left_is_told_so_for_a_while() -> None:
    """The entry may never reach it: a leader that was elected just before has nothing to say to who is gone."""
    bench, left = Bench(leads=True), Bench(leads=False, node=3)
    bench.members = [*MEMBERS[:2], NEW]
    bench.hosted.replica.members = ([10, 20, 40], [], [], [], False)
    bench.membership.after_turn(Now(0, LOOK_MS))
    (told,) = bench.said
    assert told == (3, Kind.REMOVED, 7, pack_number(30))
    left.membership.hear(1, Kind.REMOVED, 7, pack_number(31))
    assert not left.hosted.is_told_removed
    left.membership.hear(1, *told[1:])
    left.membership.hear(1, Kind.REMOVED, 99, pack_number(30))
    assert left.hosted.is_told_removed
    left.hosted.is_removed = True
    assert left.membership.group(7).at(3) is None
    bench.membership.after_turn(Now(0, HEARSAY_MS))
    assert bench.said.count(told) == 2
    bench.membership.after_turn(Now(0, 2 * HEARSAY_MS))
    assert bench.said.count(told) == 2


def test_node_that_others_tell_of_is_known_for_a_while() -> None:
    """Who lags takes the streams of a leader that joined since; its own directories are what people are shown."""
    bench, teller = Bench(leads=False), Bench(leads=True)
    teller.members = [*MEMBERS, NEW]
    teller.hosted.replica.members = ([10, 20, 30, 40], [], [], [], False)
    teller.membership.after_turn(Now(0, 2_000))
    told = teller.said[-1]
    assert told[:3] == (4, Kind.NODES, 0)
    bench.membership.after_turn(Now(0, 2_000))
    bench.membership.hear(2, *told[1:])
    bench.membership.after_turn(Now(0, 2_100))
    assert bench.known == {2: "n2:1", 3: "n3:1", 4: "n4:1"}
    assert sorted(bench.membership.nodes()) == [1, 2, 3]
    bench.membership.after_turn(Now(0, 2_000 + HEARSAY_MS))
    assert bench.known == {2: "n2:1", 3: "n3:1"}
    with pytest.raises(InvalidRequest):
        bench.membership.hear(2, Kind.NODES, 0, b"no members")
    with pytest.raises(InvalidRequest, match="'nowhere' is no address of a node"):
        bench.membership.hear(2, Kind.NODES, 0, NOWHERE)


def test_nodes_that_were_removed_do_not_keep_each_other_known() -> None:
    """They go on telling of themselves and of one another, as no entry has reached them that says otherwise."""
    bench = Bench(leads=True)
    bench.membership.after_turn(Now(0, 2_000))
    removed = [Member(50, 5, "n5:1", "http://n5:1"), Member(60, 6, "n6:1", "http://n6:1")]
    bench.membership.hear(5, Kind.NODES, 0, encode_members([*MEMBERS, *removed]))
    bench.membership.hear(6, Kind.NODES, 0, encode_members([*MEMBERS, *removed]))
    bench.membership.after_turn(Now(0, 2_100))
    assert bench.known == {2: "n2:1", 3: "n3:1"}


def test_member_is_reached_where_it_says() -> None:
    """Before any directory says so, or it could not be reached for that; and no longer than it says so."""
    bench = Bench(leads=True)
    bench.membership.after_turn(Now(0, 2_000))
    bench.membership.hear(2, Kind.NODES, 0, encode_members([MEMBERS[0], MEMBERS[1]._replace(address="new:1")]))
    bench.membership.after_turn(Now(0, 2_100))
    assert bench.known == {2: "new:1", 3: "n3:1"}
    bench.membership.hear(3, Kind.NODES, 0, encode_members(MEMBERS))
    bench.membership.after_turn(Now(0, 2_200))
    assert bench.known == {2: "new:1", 3: "n3:1"}
    bench.membership.after_turn(Now(0, 2_000 + HEARSAY_MS))
    assert bench.known == {2: "n2:1", 3: "n3:1"}


def test_node_with_another_address_says_so_and_has_it_written_down() -> None:
    """To everybody, as it may not know who leads; in the directory it is the leader's to write."""
    bench = Bench(leads=False, own=Standing(1, "new:1", "http://new:1", "prod", (), 1))
    assert bench.membership.moved() == [(7, Moved(1, "new:1", "http://new:1"))]
    bench.membership.after_turn(Now(0, 2_000))
    told = encode_members([*MEMBERS[1:], Member(0, 1, "new:1", "http://new:1")])
    assert bench.said == [(node, Kind.NODES, 0, told) for node in (2, 3)]
    bench.members = [MEMBERS[0]._replace(address="new:1", url="http://new:1"), *MEMBERS[1:]]
    bench.hosted.replica.members = ([10, 20, 30], [], [], [], False)
    bench.membership.after_turn(Now(0, 3_000))
    assert bench.membership.moved() == []


def test_newcomer_knows_whom_it_was_told_of_until_its_directories_know_it() -> None:
    """Those that the cluster began with may all have left; their addresses, too, may be others by now."""
    told = (MEMBERS[1]._replace(address="moved:1"), NEW)
    bench = Bench(leads=False, own=Standing(9, "n9:1", "http://n9:1", "prod", (), 1, members=told), node=9)
    bench.membership.after_turn(Now(0, 2_000))
    assert bench.known == {1: "n1:1", 2: "moved:1", 3: "n3:1", 4: "n4:1"}
    alone = encode_members([Member(0, 9, "n9:1", "http://n9:1")])
    assert bench.said == [(node, Kind.NODES, 0, alone) for node in bench.known]  # what it has is old
    other = Member(50, 5, "n5:1", "http://n5:1")
    bench.membership.hear(4, Kind.NODES, 0, encode_members([NEW, other]))
    bench.membership.after_turn(Now(0, 2_100))
    assert bench.known[5] == "n5:1"
    bench.members = [NEW, Member(90, 9, "n9:1", "http://n9:1")]
    bench.hosted.replica.members = ([40, 90], [], [], [], False)
    bench.membership.after_turn(Now(0, 2_000 + HEARSAY_MS))
    bench.membership.after_turn(Now(0, 2_000 + 2 * HEARSAY_MS))
    bench.membership.after_turn(Now(0, 2_100 + 2 * HEARSAY_MS))
    assert bench.known == {4: "n4:1"}


def test_only_a_leader_with_learners_has_something_to_settle() -> None:
    """Others leave it to theirs."""
    for leads, learners, found in ((True, [40], [7]), (True, [], []), (False, [40], [])):
        bench = Bench(leads=leads)
        bench.hosted.replica.members = ([10, 20, 30], learners, [], [], False)
        bench.membership.after_turn(Now(0, 1_000))
        assert bench.membership.unsettled() == found
    assert bench.membership.vbuckets() == [7]
    assert bench.membership.snapshots() == {(7, 20): 9}
    assert bench.membership.new_replica_id() == 1
    assert bench.membership.links() == {}
