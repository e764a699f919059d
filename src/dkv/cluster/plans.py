"""Membership plans: from a group as it is to one with a node more, or less, one safe step at a time.

A plan remembers nothing. It looks at the group before each step and says what comes next, so it can be interrupted
after any step, by a crash or a change of leader, and begun again anywhere: what was done is seen, what was lost is
asked for again. A step is a wish; whether it came to be, the next look shows.

| goal | steps |
|---|---|
| Added | learner, wait until it has caught up, voter |
| Removed | hand leadership over if it leads, remove |
| Replaced | as Added up to the learner, hand over, then a joint change: the one voter, the other removed |
| Led | hand leadership over |
| Moved | the voter made a voter once more, or the learner a learner, with its new address |

The leader is the last to judge: `refusal`, asked with what it has applied when a change is to be proposed. Raft lets
one change at a time into the log, so what it sees is what the change meets, and no node gets two replicas.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from dkv.cluster.group import Group
from dkv.model.errors import InvalidRequest
from dkv.model.members import Member, encode_members

VOTER, REMOVED, LEARNER = range(3)
"""Kinds of change, as `Consensus.propose_conf_change` takes them."""


class Added(NamedTuple):
    """A node has a replica that votes."""

    member: Member
    """Its replica id is for the case that the node has none yet: freshly drawn, never used before."""


class Removed(NamedTuple):
    """A node has no replica."""

    node: int


class Replaced(NamedTuple):
    """One node votes in the place of another."""

    node: int
    member: Member
    """As in Added."""


class Led(NamedTuple):
    """A node leads."""

    node: int


class Moved(NamedTuple):
    """The directory says where a node is reached now."""

    node: int
    address: str
    url: str


Goal = Added | Removed | Replaced | Led | Moved


class Change(NamedTuple):
    """Have the leader propose this change of members."""

    changes: tuple[tuple[int, int], ...]
    """(kind, replica)"""
    added: tuple[Member, ...] = ()
    """What the directory learns with it."""

    @property
    def context(self) -> bytes:
        """What goes with the entry."""
        return encode_members(self.added) if self.added else b""


class Transfer(NamedTuple):
    """Have the leader hand over to a replica."""

    replica: int


class Pause(NamedTuple):
    """Nothing to ask for now: look again later."""

    why: str


Step = Change | Transfer | Pause


def steps(goal: Goal, look: Callable[[], Group]) -> Iterator[Step]:
    """What to ask for, until the goal is reached. Raises InvalidRequest when it cannot be."""
    while (step := next_step(goal, look())) is not None:
        yield step


def next_step(goal: Goal, group: Group) -> Step | None:
    """None: the goal is reached, as this node sees it. Raises InvalidRequest when it cannot be."""
    match goal:
        case Added(member):
            return _add(group, member)
        case Removed(node):
            return _remove(group, node)
        case Replaced(node, member):
            return _replace(group, node, member)
        case Led(node):
            return _lead(group, node)
        case Moved(node, address, url):
            return _move(group, node, address, url)


def refusal(change: Change, group: Group) -> str:
    """Why the leader, whose view is `group`, must not propose this; empty: it may."""
    if group.is_joint:
        return "another change is under way"
    for member in change.added:
        if (held := group.at(member.node)) is not None and held.replica != member.replica:
            return f"{member.address} has a replica already"
    known = {member.replica for member in group.members}
    for kind, replica in change.changes:
        if kind == VOTER and replica not in known:
            return "the replica is in no directory"
        if kind == VOTER and not (group.is_voter(replica) or group.is_caught_up(replica)):
            return f"the replica is {group.lags[replica]} entries behind"
        if kind == REMOVED and replica == group.leader:
            return "the replica leads: it hands over first"
    return ""


def _add(group: Group, member: Member) -> Step | None:
    held = group.at(member.node)
    if held is not None and group.is_voter(held.replica):
        return None
    if (pause := _pause(group)) is not None:
        return pause
    if held is None:
        return Change(((LEARNER, member.replica),), (member,))
    return _behind(group, held.replica) or Change(((VOTER, held.replica),))


def _remove(group: Group, node: int) -> Step | None:
    held = group.at(node)
    if held is None:
        return None
    if (pause := _pause(group)) is not None:
        return pause
    if group.is_voter(held.replica) and group.heir(held.replica) is None:
        raise InvalidRequest("the last member cannot be removed")
    return _hand_over(group, held.replica) or Change(((REMOVED, held.replica),))


def _replace(group: Group, node: int, member: Member) -> Step | None:
    old, new = group.at(node), group.at(member.node)
    if old is None:
        return _add(group, member)
    if new is not None and group.is_voter(new.replica):
        return _remove(group, node)
    if (pause := _pause(group)) is not None:
        return pause
    if new is None:
        return Change(((LEARNER, member.replica),), (member,))
    if group.heir(old.replica) is None:
        return _behind(group, new.replica) or Change(((VOTER, new.replica),))  # somebody has to lead meanwhile
    both = Change(((VOTER, new.replica), (REMOVED, old.replica)))
    return _behind(group, new.replica) or _hand_over(group, old.replica) or both


def _lead(group: Group, node: int) -> Step | None:
    held = group.at(node)
    if held is None or not group.is_voter(held.replica):
        raise InvalidRequest("the node has no replica that may lead")
    if group.leader == held.replica:
        return None
    return _pause(group) or Transfer(held.replica)


def _move(group: Group, node: int, address: str, url: str) -> Step | None:
    held = group.at(node)
    if held is None or (held.address, held.url) == (address, url):
        return None
    kind = VOTER if group.is_voter(held.replica) else LEARNER
    return _pause(group) or Change(((kind, held.replica),), (held._replace(address=address, url=url),))


def _pause(group: Group) -> Pause | None:
    if not group.leader:
        return Pause("no leader is known")
    return Pause("another change is under way") if group.is_joint else None


def _behind(group: Group, replica: int) -> Pause | None:
    if group.is_caught_up(replica):
        return None
    return Pause(f"the newcomer is {group.lags[replica]} entries behind")


def _hand_over(group: Group, replica: int) -> Transfer | None:
    heir = group.heir(replica)
    return Transfer(heir) if group.leader == replica and heir is not None else None
