"""Which node is asked, whatever became of the calls before."""

from dkv.client.nodes import ATTEMPT_MS_MAX, Nodes, Seen

A, B, C = "a:1", "b:1", "c:1"


def members(leader: str = "", down: str = "") -> list[Seen]:
    return [Seen(address, address not in down.split(), address == leader) for address in (A, B, C)]


def test_client_stays_at_home_and_writes_to_the_leader() -> None:
    """The leader is who leads every vBucket and is up."""
    nodes = Nodes([B, A])
    assert nodes.pick(leader=True) == B
    nodes.learn(members(leader=C))
    assert (nodes.pick(leader=False), nodes.pick(leader=True)) == (B, C)
    assert nodes.addresses == (B, A, C)
    nodes.learn(members(leader=C, down=C))
    assert nodes.pick(leader=True) == B


def test_node_that_refuses_goes_to_the_end_of_the_line() -> None:
    """All are asked in turn, for as long as all refuse."""
    nodes = Nodes([A, B, C])
    seen = []
    for _ in range(4):
        seen.append(nodes.pick(leader=False))
        nodes.went_wrong(seen[-1], is_silent=False)
    assert seen == [A, B, C, A]


def test_silent_node_is_passed_over_until_somebody_says_it_is_up() -> None:
    """However often the others refuse."""
    nodes = Nodes([A, B, C])
    nodes.went_wrong(A, is_silent=True)
    nodes.went_wrong(B, is_silent=False)
    nodes.went_wrong(C, is_silent=False)
    assert nodes.pick(leader=False) == B
    nodes.learn(members(down=A))
    nodes.went_wrong(B, is_silent=True)
    nodes.went_wrong(C, is_silent=True)
    assert nodes.pick(leader=False) == A, "nobody is left but those who failed: the one that did so first"
    nodes.learn(members())
    assert nodes.attempt_ms(A, 10_000) == ATTEMPT_MS_MAX, "the others are up again"


def test_failure_of_any_node_makes_the_leader_unknown() -> None:
    """Leadership moves when nodes fail; home is asked meanwhile."""
    nodes = Nodes([A])
    nodes.learn(members(leader=C))
    nodes.went_wrong(C, is_silent=True)
    assert nodes.pick(leader=True) == A
    assert nodes.leader is None


def test_attempt_is_short_while_others_are_up_and_leaves_half_of_the_time_else() -> None:
    """One node alone has all of it: there is nothing to save time for."""
    assert Nodes([A]).attempt_ms(A, 10_000) == 10_000
    nodes = Nodes([A, B])
    assert nodes.attempt_ms(A, 10_000) == ATTEMPT_MS_MAX
    assert nodes.attempt_ms(A, 500) == 250
    nodes.went_wrong(B, is_silent=True)
    assert nodes.attempt_ms(A, 10_000) == 5_000
    assert nodes.attempt_ms(A, 1) == 1


def test_address_that_was_given_and_is_no_member_is_asked_last() -> None:
    """It may be a member under another name, behind a translation of addresses."""
    nodes = Nodes(["outside:1", A])
    nodes.learn(members())
    assert nodes.addresses == (A, B, C, "outside:1")
    nodes.learn(members()[1:])
    assert nodes.addresses == (B, C, "outside:1", A)


def test_fresher_node_is_looked_for_until_all_were_behind() -> None:
    """And again after a call that went well."""
    nodes = Nodes([A, B])
    nodes.is_behind(A)
    assert nodes.has_fresher(A)
    assert not nodes.has_fresher(B)
    nodes.went_well(B)
    assert nodes.has_fresher(B)
    nodes.went_wrong(A, is_silent=True)
    assert not nodes.has_fresher(B)
    nodes.went_well(A)
    assert nodes.has_fresher(B)
