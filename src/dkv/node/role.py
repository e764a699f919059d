"""What a replica is in its group: who leads, who else belongs to it, and whether it may answer.

State that `Hosted` changes as consensus and peers have news, and what follows from it.
"""

from dkv.vbucket.replica import Replica

FOLLOWER, LEADER = 0, 2
"""As `Ready.leadership` has it."""
NOBODY = 0
"""No replica and no node is named so."""


class Role:
    """Of one vBucket on this node."""

    def __init__(self, replica: Replica) -> None:
        self.replica: Replica = replica
        self.vbucket: int = replica.vbucket
        self.leader: int = NOBODY
        """The replica that leads, as far as this one knows."""
        self.term: int = 0
        self.is_leader: bool = False
        self.is_readable: bool = False
        """Something newer than what was there at the start is applied: once so, always so."""
        self.is_told_removed: bool = False
        """Another member has seen this replica leave the group. The entry that says so may never come here: whoever
        leads sends a replica nothing more once it is gone."""
        self._homes: dict[int, int] = {}
        """Nodes of replicas that joined behind what is applied here: one may lead, and waits for answers."""

    def note_leader(self, leader: int, role: int, term: int) -> None:
        """Consensus says who leads in which term, and what this replica is to it; `NOBODY` may."""
        self.leader, self.term, self.is_leader = leader, term, role == LEADER

    def note_home(self, replica: int, node: int) -> None:
        """A message of this replica has come from there."""
        if not self.replica.directory.has_node(node):
            self._homes[replica] = node

    @property
    def is_leading(self) -> bool:
        """Leads its group and has applied an entry of its own term: it may propose."""
        return self.is_leader and self.replica.applied_term == self.term

    def node_of(self, replica: int) -> int:
        """Where a replica lives: by the directory, or as its messages came. Before there is either, replicas are named
        after their nodes."""
        return self.replica.directory.node_of(replica) or self._homes.get(replica, replica)

    @property
    def leader_node(self) -> int:
        """Where writes can go; 0: nobody knows."""
        return self.node_of(self.leader) if self.leader else NOBODY

    @property
    def leader_address(self) -> str:
        """Where that node is reached; empty: not known, or it is this one."""
        return "" if self.is_leader else self.replica.directory.address_of(self.leader)

    @property
    def other_nodes(self) -> frozenset[int]:
        """Where the other replicas live."""
        others = set().union(*self.replica.members[:4]) - {self.replica.replica}
        return frozenset(self.node_of(replica) for replica in others)

    def has_member(self, replica: int) -> bool:
        """It has a part in the group, if only in one half of a joint state."""
        return any(replica in ids for ids in self.replica.members[:4])

    @property
    def is_alone(self) -> bool:
        """The only voter: what it has applied is all there is."""
        voters, _, outgoing, _, _ = self.replica.members
        return voters == [self.replica.replica] and not outgoing

    @property
    def is_serving(self) -> bool:
        """Calls can be answered."""
        return self.is_current and self.leader != NOBODY

    @property
    def is_removed(self) -> bool:
        """It has seen itself leave the group, or was told so, and will hear of nothing more; a newcomer has yet to see
        itself come."""
        return self.is_told_removed or (
            self.is_readable and not any(self.replica.replica in each for each in self.replica.members[:4])
        )

    @property
    def is_current(self) -> bool:
        """What is applied here may be read."""
        return self.is_readable and not self.is_removed

    @property
    def is_sole_member(self) -> bool:
        """Nobody else has the vBucket."""
        return not set().union(*self.replica.members[:4]) - {self.replica.replica}
