"""Forming and joining, one answer at a time."""

import pytest

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Adopt, AskToJoin, Form, Formation, Standing, Step, Wait, Way
from dkv.model.errors import ClusterRefused
from dkv.model.members import Member

LIST = ("a:1", "b:1", "c:1")
MEMBERS = tuple(Member(n, n, f"{name}:1", f"http://{name}:1") for n, name in ((1, "a"), (2, "b"), (3, "c")))
CHARTER = Charter(b"c" * 16, "prod", 2, 0, b"h" * 16, MEMBERS)

REPLICAS = {1: 77, 2: 88}
"""Of the node that asks."""


def empty(name: str, node: int, addresses: tuple[str, ...] = LIST, cluster: str = "prod") -> Standing:
    return Standing(node, f"{name}:1", f"http://{name}:1", cluster, addresses, 1)


def formed(name: str, node: int, *, is_member: bool) -> Standing:
    return empty(name, node)._replace(charter=CHARTER, replicas=REPLICAS if is_member else {})


A, B, C = empty("a", 1), empty("b", 2), empty("c", 3)


def starting(own: Standing, way: Way = Way.FORM) -> Formation:
    return Formation(own, way, tuple(address for address in LIST if address != own.address))


def after(formation: Formation, *answers: Standing) -> Step:
    for answer in answers:
        formation.answered(answer.address, answer, formation.epoch)
    return formation.next_step()


def test_first_of_the_list_forms_the_cluster_once_all_have_answered() -> None:
    """With the members sorted as in the list."""
    assert after(starting(A), B, C) == Form(MEMBERS)


def test_others_wait_for_the_first_of_the_list() -> None:
    """Also when they have heard everybody."""
    assert after(starting(B), A, C) == Wait({"a:1": "forms the cluster once it reaches every member"})


def test_node_alone_in_its_list_forms_at_once() -> None:
    """There is nobody to ask."""
    own = empty("a", 1, ("a:1",))
    assert Formation(own, Way.FORM, ()).next_step() == Form((MEMBERS[0],))


def test_nobody_forms_while_somebody_is_missing() -> None:
    """And says whom it waits for, and why; a failure takes back what was said before."""
    formation = starting(A)
    after(formation, B, C)
    formation.failed("b:1", "connection refused")
    assert formation.next_step() == Wait({"b:1": "connection refused"})
    assert after(starting(A), C) == Wait({"b:1": "no answer yet"})


@pytest.mark.parametrize("own", [A, B])
def test_member_adopts_the_charter_of_whoever_has_it(own: Standing) -> None:
    """Another member than the first, too: that one may be gone."""
    assert after(starting(own), formed("c", 3, is_member=True)) == Adopt(CHARTER, REPLICAS)


def test_empty_node_that_the_cluster_does_not_know_is_refused() -> None:
    """INVARIANTS 1: its folder was lost."""
    with pytest.raises(ClusterRefused, match="remove it from the cluster, then add it again") as refusal:
        after(starting(empty("b", 99)), formed("a", 1, is_member=False))
    assert "dkvctl -a a:1 --removeNode http://b:1" in str(refusal.value)


def test_node_that_was_removed_before_it_came_is_refused() -> None:
    """It is in the charter, and no member any more, whichever way it comes."""
    with pytest.raises(ClusterRefused, match="remove it from the cluster"):
        after(starting(B, Way.JOIN), formed("a", 1, is_member=False))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (empty("b", 2, ("a:1", "b:1")), "nodes a:1,b:1, 1 vBuckets; this node: cluster 'prod', nodes a:1,b:1,c:1"),
        (empty("b", 2, cluster="test"), "b:1 was started with other settings of the cluster: cluster 'test'"),
        (B._replace(vbuckets=8), "8 vBuckets"),
        (empty("b", 2, (), ""), "to join a cluster"),
    ],
)
def test_nodes_with_different_settings_do_not_form(other: Standing, text: str) -> None:
    """Both sides would refuse; the text has both."""
    with pytest.raises(ClusterRefused) as refusal:
        after(starting(A), other)
    assert text in str(refusal.value)


def test_one_node_under_two_addresses_does_not_form() -> None:
    """A list that has it twice, or a copied folder."""
    with pytest.raises(ClusterRefused, match="b:1 and c:1 are one node"):
        after(starting(A), B, empty("c", 2))


def test_node_of_another_cluster_is_refused() -> None:
    """By name, before anything else is believed."""
    with pytest.raises(ClusterRefused, match="a:1 belongs to the cluster 'prod', not to 'test'"):
        after(starting(empty("b", 2, cluster="test")), formed("a", 1, is_member=True))


def test_joiner_asks_until_it_is_a_member() -> None:
    """Whatever the name, if it was given none; who is missing is told on the way."""
    own = empty("n", 9, (), "")
    formation = Formation(own, Way.JOIN, ("a:1",))
    assert formation.next_step() == Wait({"a:1": "no answer yet"})
    assert after(formation, A) == Wait({"a:1": "is in no cluster yet"})
    assert after(formation, formed("a", 1, is_member=False)) == AskToJoin("a:1", {})
    assert after(formation, formed("a", 1, is_member=True)._replace(replicas={1: 77})) == AskToJoin("a:1", {})
    assert after(formation, formed("a", 1, is_member=True)) == Adopt(CHARTER, REPLICAS)


def test_joiner_takes_the_members_of_today_with_the_charter() -> None:
    """Those of the charter may all be gone."""
    today = (Member(9, 9, "z:1", "http://z:1"),)
    formation = Formation(empty("n", 9, (), ""), Way.JOIN, ("a:1",))
    assert after(formation, formed("a", 1, is_member=True)._replace(members=today)) == Adopt(CHARTER, REPLICAS, today)


def test_node_that_waits_to_be_added_says_how() -> None:
    """The original's way: an operator adds it."""
    formation = Formation(empty("n", 9), Way.WAIT, LIST)
    step = after(formation, formed("a", 1, is_member=False))
    assert step == Wait({"a:1": "does not know this node: dkvctl -a MEMBER --addNode http://n:1"})
    assert after(formation, formed("a", 1, is_member=True)) == Adopt(CHARTER, REPLICAS)


def test_answer_asked_for_before_telling_a_new_node_is_dropped() -> None:
    """A was formed and lost its folder; its late answer must not make B a member of what nobody has any more."""
    formation = starting(B)
    asked_in = formation.epoch
    assert formation.hello(empty("a", 77)).charter is None
    formation.answered("a:1", formed("a", 1, is_member=True), asked_in)
    assert formation.next_step() == Wait({"a:1": "no answer yet", "c:1": "no answer yet"})


def test_answer_is_kept_when_a_known_node_says_hello_again() -> None:
    """Everybody says hello all the time."""
    formation = starting(A)
    formation.hello(B)
    formation.answered("b:1", B, formation.epoch)
    formation.hello(B)
    assert after(formation, C) == Form(MEMBERS)
