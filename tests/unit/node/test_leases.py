"""Leases: when a leader answers by itself, and when it must not (docs/design/0025)."""

import pytest
from tests.unit.node.test_cluster_turns import VBUCKET, Member, Trio

from dkv.node.lease import ROUNDING_MS, VOW_MS_MIN, Lease, LeaseTerms, lease_ms
from dkv.wire import messages as pb

LEASE_MS = 130
LINEARIZABLE = pb.GetRequest(key=b"k", readConsistency=pb.ReadConsistency.LINEARIZABLE)


@pytest.fixture
def leased() -> Trio:
    """Three nodes whose leader has just confirmed that it is one."""
    trio = Trio(lease_ms=LEASE_MS)
    trio.put(trio.leader, b"old")
    confirm(trio)
    return trio


def confirm(trio: Trio) -> None:
    """Reads until one was answered from a lease that has just begun."""
    leader = trio.leader
    trio.run(20)
    trio.ask(leader, "Get", LINEARIZABLE)
    trio.run(1)


def answer_alone(member: Member) -> pb.GetResponse | None:
    """What it reads in one turn in which nobody else does anything."""
    call_id = member.call_alone("Get", LINEARIZABLE)
    member.step()
    reply = member.reply(call_id)
    return None if reply is None else pb.GetResponse.FromString(reply.message)


def test_leader_with_a_lease_reads_in_the_turn_in_which_it_was_asked(leased: Trio) -> None:
    """The reply says that it is as current as any."""
    found = answer_alone(leased.leader)
    assert found is not None
    assert (found.value, found.servedConsistency, found.stalenessMs) == (b"old", 1, 0)


def test_leader_without_leases_asks_its_quorum(trio_without: Trio) -> None:
    """That is the default."""
    confirm(trio_without)
    assert answer_alone(trio_without.leader) is None


@pytest.fixture
def trio_without() -> Trio:
    return Trio()


def test_lease_of_a_leader_that_was_cut_off_ends_before_another_one_leads(leased: Trio) -> None:
    """Until then its answers are right; from then on it has none."""
    old = leased.leader
    leased.isolate(old)
    assert answer_alone(old) is not None
    answered = []
    for _ in range(100):
        leased.run(1)
        others = [member for member in leased.members if member is not old and member.is_leading]
        answered.append((answer_alone(old) is not None, bool(others)))
        if others:
            break
    assert answered[-1] == (False, True)
    assert all(not (is_answered and is_led) for is_answered, is_led in answered)
    assert any(is_answered for is_answered, _ in answered)


def test_lease_is_over_after_a_pause_although_no_turn_has_seen_it_end(leased: Trio) -> None:
    """The clock is read when a read has come, not when the leader last looked."""
    leader = leased.leader
    leased.clock.advance(LEASE_MS)
    assert answer_alone(leader) is None


def test_lease_counts_from_the_question_and_not_from_its_answer(leased: Trio) -> None:
    """Answers that were under way, or lay unread, for longer than a lease give none."""
    leader = leased.leader
    leased.clock.advance(LEASE_MS)
    call_id = leader.call_alone("Get", LINEARIZABLE)
    leader.step()
    for member in leased.followers:
        member.step()
    leased.clock.advance(LEASE_MS)
    leader.step()
    assert leader.reply(call_id) is not None, "the read itself was confirmed"
    assert answer_alone(leader) is None


def test_lease_ends_when_a_transfer_begins_and_does_not_come_back_in_that_term(leased: Trio) -> None:
    """The message that tells the other one to stand may arrive much later."""
    leader, heir = leased.leader, leased.followers[0]
    leased.isolate(heir)
    assert leader.consensus.transfer_leader(VBUCKET, heir.node_id)
    assert answer_alone(leader) is None
    leased.run(60)
    assert leased.leader is leader
    confirm(leased)
    assert answer_alone(leader) is None


def test_lease_ends_when_members_change(leased: Trio) -> None:
    """Another quorum has to vow."""
    leader, follower = leased.leader, leased.followers[0].node_id
    assert leader.consensus.propose_conf_change(VBUCKET, [(2, follower)], 0, b"")
    while follower not in leader.node.sole.replica.members[1]:
        for member in leased.members:
            member.step()
    assert answer_alone(leader) is None


def test_leader_with_a_lease_answers_the_question_of_a_follower_at_once(leased: Trio) -> None:
    """Without a word to the third one."""
    leader, follower = leased.leader, leased.followers[0]
    before = leader.node.sole.reads.lease.answers
    call_id = follower.call_alone("Get", LINEARIZABLE)
    follower.step()
    leader.step()
    follower.step()
    reply = follower.reply(call_id)
    assert reply is not None
    assert pb.GetResponse.FromString(reply.message).value == b"old"
    assert leader.node.sole.reads.lease.answers == before + 1


def test_lease_is_kept_up_while_there_are_reads(leased: Trio) -> None:
    """It is asked for anew before it ends, and no read waits for that."""
    leader = leased.leader
    for _ in range(50):
        assert answer_alone(leader) is not None
        leased.run(1)


def test_new_leader_has_no_lease_of_the_former_one(leased: Trio) -> None:
    """It begins with its own first question."""
    old = leased.leader
    leased.isolate(old)
    leased.run(100)
    (new,) = [member for member in leased.members if member is not old and member.is_leading]
    assert answer_alone(new) is None


def test_follower_that_restarts_keeps_its_vow(leased: Trio) -> None:
    """It has forgotten to whom, so it votes for nobody for a while, and does not stand."""
    leader, *followers = leased.leader, *leased.followers
    leased.isolate(leader)
    followers[0].crash()
    assert not followers[0].consensus.campaign(VBUCKET)


def test_lost_link_to_the_leader_does_not_break_a_vow(leased: Trio) -> None:
    """Followers that know their leader to be gone wait as long as if they did not."""
    leader, followers = leased.leader, leased.followers
    leased.isolate(leader)
    for member in followers:
        member.consensus.wake([VBUCKET], leader_is_lost=True)
    leased.run(LEASE_MS // 20)
    assert not any(member.is_leading for member in followers)
    assert leader.is_leading


def test_lease_is_shorter_than_a_vow_by_the_drift_of_two_clocks() -> None:
    """The leader's clock may be as slow as the follower's is fast."""
    assert lease_ms(0) == VOW_MS_MIN - ROUNDING_MS == 148
    for percent in range(51):
        real_ms = (lease_ms(percent) + ROUNDING_MS) * 100 / (100 - percent)
        assert real_ms * (100 + percent) / 100 <= VOW_MS_MIN
        assert lease_ms(percent) > 0


class Leading:
    """A `Consensus`, as far as a lease looks at it."""

    def __init__(self) -> None:
        self.place: tuple[int, int] | None = (2, 7)

    def lease_place(self, vbucket: int) -> tuple[int, int] | None:
        return self.place


def test_lease_of_one_term_is_none_in_another() -> None:
    """Also when the answer of the former one comes late."""
    now, consensus = [0], Leading()
    lease = Lease(VBUCKET, consensus, LeaseTerms(lambda: now[0], 100))  # type: ignore[arg-type]
    lease.asks(b"a")
    lease.confirmed(b"a")
    assert lease.index() == 7
    consensus.place = (3, 9)
    assert lease.index() is None
    lease.asks(b"b")
    consensus.place = (4, 9)
    lease.confirmed(b"b")
    assert lease.index() is None


def test_late_answer_to_an_early_question_does_not_shorten_a_lease() -> None:
    """Answers may overtake each other."""
    now = [0]
    lease = Lease(VBUCKET, Leading(), LeaseTerms(lambda: now[0], 100))  # type: ignore[arg-type]
    lease.asks(b"a")
    now[0] = 50
    lease.asks(b"b")
    lease.confirmed(b"b")
    lease.confirmed(b"a")
    now[0] = 149
    assert lease.index() == 7
    now[0] = 150
    assert lease.index() is None
