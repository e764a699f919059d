"""Who is a member, as the whole world knows it: the newest members that anybody has applied, of each vBucket.

What is applied is committed, so nobody can be wrong about it; the operator, who must not harm a majority, asks here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dkv.ports.consensus import Conf
from dkv.testing.cluster.member import Member
from dkv.testing.machine import Life
from dkv.vbucket.replica import Replica

NO_CONF: Conf = ([], [], [], [], False)


class Known(NamedTuple):
    """Of one vBucket."""

    applied_index: int = 0
    conf: Conf = NO_CONF
    nodes: Mapping[int, int] = {}
    """By replica."""


@dataclass(slots=True)
class Members:
    """Owned by the world."""

    vbuckets: Sequence[int]
    known: dict[int, Known] = field(default_factory=dict)

    def look(self, life: Life) -> None:
        """After a turn."""
        for hosted in life.node.vbuckets.values():
            replica = hosted.replica
            known = self.known.get(replica.vbucket, Known())
            if replica.applied_index > known.applied_index:
                nodes = known.nodes if replica.members == known.conf else _nodes(replica)
                self.known[replica.vbucket] = Known(replica.applied_index, replica.members, nodes)

    @property
    def is_formed(self) -> bool:
        return len(self.known) == len(self.vbuckets)

    def nodes_of(self, vbucket: int) -> set[int]:
        """Those that have a replica, be it a learner's."""
        known = self.known.get(vbucket, Known())
        return {known.nodes.get(replica, 0) for replica in set().union(*known.conf[:4])}

    def anywhere(self) -> set[int]:
        """Nodes with a replica of some vBucket."""
        return set().union(*map(self.nodes_of, self.vbuckets))

    def voters(self, vbucket: int, *, with_learners: bool = False) -> set[int]:
        """Nodes; with those that will vote soon."""
        known = self.known.get(vbucket, Known())
        replicas = set(known.conf[0]).union(*known.conf[1:4] if with_learners else ())
        return {known.nodes.get(replica, 0) for replica in replicas}

    def is_even(self) -> bool:
        """Every vBucket has the same nodes, all of which vote, and no change is half done."""
        sets = [self.nodes_of(vbucket) for vbucket in self.vbuckets]
        is_plain = all(not any(self.known[vbucket].conf[1:4]) for vbucket in self.known)
        return self.is_formed and is_plain and all(each == sets[0] for each in sets)

    def has_pending(self, machines: Iterable[Member]) -> bool:
        """Some log has a change that nobody has applied: it may come yet."""
        for machine in machines:
            disk = machine.log_disk
            items = [item for batch in (*disk.written, *disk.queued) for item in batch.items]
            logs = [(vbucket, log.entries) for vbucket, log in disk.synced.items()]
            logs += [(vbucket, list(entries)) for vbucket, _, _, entries in items]
            for vbucket, entries in logs:
                behind = self.known.get(vbucket, Known()).applied_index
                if any(kind and index > behind for index, _, kind, _ in entries):
                    return True
        return False


def _nodes(replica: Replica) -> dict[int, int]:
    return {member.replica: member.node for member in replica.directory.members()}
