"""How an empty node comes into a cluster: what it says in Hello, and what follows from what it is told.

Every node that was started for a cluster says hello to the others until it has a charter, and answers theirs. A
cluster is *formed* by the first of its sorted addresses, once every address of the list has answered, is empty, and
was given the same list; all others *adopt* its charter, from any node that has it. Nothing else is ever sent.

INVARIANTS 1: a node that is empty and meets a cluster which does not count it as a member refuses to start. Otherwise
two members that lost their folders could elect each other and erase what the third one has.

Never two clusters of one list: a node that tells somebody new "I am empty" drops every answer to what it had asked
before. So what was formed before that moment can reach it only through a node that has the charter already - and which
therefore tells the new one that it is not empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from dkv.cluster.charter import Charter
from dkv.model.errors import ClusterRefused
from dkv.model.members import Member


class Way(Enum):
    """How a node without a charter gets one."""

    FORM = "with the other first nodes"
    JOIN = "by asking to be added"
    WAIT = "once an operator adds it"


class Standing(NamedTuple):
    """What a node says of itself in Hello."""

    node: int
    address: str
    url: str
    name: str
    """Of the cluster; of one that wants to join any, empty."""
    addresses: tuple[str, ...]
    """The first nodes as it was told, sorted; empty when it joins."""
    vbuckets: int
    charter: Charter | None = None
    """None: it is empty."""
    replicas: Mapping[int, int] = {}
    """In an answer: the replica ids of the node that asked, by vBucket; none when it is no member."""
    members: tuple[Member, ...] = ()
    """In an answer: the nodes of today. Of a node itself: whom it was told of when it joined."""


class Wait(NamedTuple):
    """Ask again a little later."""

    missing: dict[str, str]
    """Whom it waits for, and why."""


class Form(NamedTuple):
    """Write the charter of a new cluster, synced, before anybody is told."""

    members: tuple[Member, ...]


class Adopt(NamedTuple):
    """Write this charter, synced."""

    charter: Charter
    replicas: Mapping[int, int]
    """This node's, of every vBucket; its own at the beginning need not be told."""
    contacts: tuple[Member, ...] = ()
    """The nodes of today."""


class AskToJoin(NamedTuple):
    """Ask the member at this address to add this node."""

    address: str
    missing: dict[str, str]


Step = Wait | Form | Adopt | AskToJoin


@dataclass(slots=True)
class Formation:
    """What one empty node has heard, until it has a charter. Who drives it acts on `next_step` after each answer."""

    own: Standing
    way: Way
    asked: tuple[str, ...]
    """Whom to say hello: not to itself."""
    epoch: int = 0
    """Goes with every Hello that is sent; answers to those of an earlier one are dropped."""
    _answers: dict[str, Standing] = field(default_factory=dict)
    _failures: dict[str, str] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)

    def hello(self, asker: Standing) -> Standing:
        """The answer to a node that says hello."""
        if asker.node not in self._seen:
            self._seen.add(asker.node)
            self.epoch += 1
            self._answers.clear()
        return self.own

    def answered(self, address: str, answer: Standing, epoch: int) -> None:
        """`address` answered a Hello that was sent in `epoch`."""
        if epoch == self.epoch:
            self._answers[address] = answer
            self._failures.pop(address, None)

    def failed(self, address: str, reason: str) -> None:
        """A Hello to `address` was not answered."""
        self._answers.pop(address, None)
        self._failures[address] = reason

    def next_step(self) -> Step:
        """Raises ClusterRefused when this node must not start."""
        formed = {address: answer for address, answer in self._answers.items() if answer.charter is not None}
        for address, answer in formed.items():
            if (charter := self._admitted(address, answer)) is not None:
                return Adopt(charter, answer.replicas, answer.members)
        missing = {address: self._failures.get(address, "no answer yet") for address in self._unheard()}
        if self.way is Way.FORM:
            return self._form(missing)
        if not formed:
            return Wait(missing or dict.fromkeys(self.asked, "is in no cluster yet"))
        if self.way is Way.JOIN:
            return AskToJoin(next(iter(formed)), missing)
        return Wait(dict.fromkeys(formed, f"does not know this node: dkvctl -a MEMBER --addNode {self.own.url}"))

    def _unheard(self) -> list[str]:
        return [address for address in self.asked if address not in self._answers]

    def _admitted(self, address: str, answer: Standing) -> Charter | None:
        """The charter, if it counts this node in."""
        own, charter = self.own, answer.charter
        assert charter is not None
        if own.name and charter.name != own.name:
            raise ClusterRefused(
                f"{address} belongs to the cluster {charter.name!r}, not to {own.name!r}; nothing was changed"
            )
        if answer.replicas and (charter.has(own.node) or len(answer.replicas) == charter.vbuckets):
            return charter
        if answer.replicas:
            return None  # it is being added
        if self.way is Way.FORM or charter.has(own.node):
            raise ClusterRefused(
                f"this node is empty, and {address} belongs to the cluster {charter.name!r}, which does not know it: "
                f"remove it from the cluster, then add it again (dkvctl -a {address} --removeNode {own.url}; then "
                f"start it with an empty folder and --join {address})"
            )
        return None

    def _form(self, missing: dict[str, str]) -> Step:
        own = self.own
        for address, answer in self._answers.items():
            if (told := _wish(answer)) != _wish(own):
                raise ClusterRefused(
                    f"{address} was started with other settings of the cluster: {told}; this node: {_wish(own)}"
                )
        if missing:
            return Wait(missing)
        nodes: dict[int, str] = {own.node: own.address}
        for address in self.asked:
            node = self._answers[address].node
            if node in nodes:
                raise ClusterRefused(
                    f"{nodes[node]} and {address} are one node: either the list has it twice, or its folder was copied"
                )
            nodes[node] = address
        if own.address != own.addresses[0]:
            return Wait({own.addresses[0]: "forms the cluster once it reaches every member"})
        named = {own.address: own, **{address: self._answers[address] for address in self.asked}}
        return Form(tuple(Member(named[a].node, named[a].node, a, named[a].url) for a in own.addresses))


def _wish(standing: Standing) -> str:
    """What was asked for, as people wrote it."""
    if not standing.addresses:
        return "to join a cluster"
    return f"cluster {standing.name!r}, nodes {','.join(standing.addresses)}, {standing.vbuckets} vBuckets"
