"""What the services of a cluster need of the node."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from dkv.cluster.group import Group
from dkv.cluster.plans import Change, Moved
from dkv.model.members import Member
from dkv.ports.peers import Link


class ClusterPort(Protocol):
    """The node, to those who look at its groups and change their members. Cheap: it is asked within turns."""

    @property
    def node_id(self) -> int:
        """This node's."""

    def nodes(self) -> Mapping[int, Member]:
        """One entry, whichever, of each node that is in any directory here, by node id."""

    def vbuckets(self) -> Sequence[int]:
        """Those with a replica here, ascending."""

    def group(self, vbucket: int) -> Group:
        """As it stands with what is applied here."""

    def unsettled(self) -> Sequence[int]:
        """The vBuckets led here that have a learner."""

    def moved(self) -> Sequence[tuple[int, Moved]]:
        """What the directories here do not know of this node's address, by vBucket."""

    def links(self) -> Mapping[int, Link]:
        """Of every other node that is known."""

    def snapshots(self) -> Mapping[tuple[int, int], int]:
        """Bytes sent of those that leave from here, by (vBucket, replica)."""

    @property
    def is_restoring(self) -> Callable[[], bool]:
        """Asked each time: whether a restore runs on this node, while which members do not change."""

    def new_replica_id(self) -> int:
        """Random, 1 to 2^63 - 1."""

    def propose_change(self, vbucket: int, change: Change) -> None:
        """Have the leader propose it, here or one hop away, unless `dkv.cluster.plans.refusal` says no there. May be
        lost without a word: whoever wants it looks again, and asks again."""

    def transfer(self, vbucket: int, replica: int) -> None:
        """Have the leader hand over, here or one hop away. May be lost, too."""
