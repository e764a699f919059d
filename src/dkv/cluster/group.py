"""One vBucket's group as a membership plan sees it: Raft's members, the directory, who leads, who is behind."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dkv.model.members import Member
from dkv.ports.consensus import Conf

CAUGHT_UP_ENTRIES = 1_000
"""A learner at most so many entries behind gets a vote: less than a second of full load."""
FAR_BEHIND_ENTRIES = 10_000
"""A replica that lacks so many is worth a word to an operator: a second of full load."""
UNHEARD = 1 << 62
"""The lag of a replica that has not answered its leader yet, however short the log is."""


class Group(NamedTuple):
    """As one node knows it: what is applied there, and, on the leader alone, how far the others are."""

    vbucket: int
    conf: Conf
    members: Sequence[Member]
    """The directory."""
    leader: int = 0
    """Replica id; 0: unknown."""
    term: int = 0
    lags: Mapping[int, int] = {}
    """Entries that a replica lacks, as its leader knows them; empty on all others."""

    @property
    def is_joint(self) -> bool:
        return bool(self.conf[2])

    def at(self, node: int) -> Member | None:
        """The replica of a node."""
        return next((member for member in self.members if member.node == node), None)

    def is_voter(self, replica: int) -> bool:
        return replica in self.conf[0]

    def is_caught_up(self, replica: int) -> bool:
        """Whether it may get a vote. Not known here: the leader will decide."""
        return self.lags.get(replica, 0) <= CAUGHT_UP_ENTRIES

    def heir(self, besides: int, among: Sequence[int] | None = None) -> int | None:
        """The voter that lacks least, other than `besides`, and one of `among` if given; None: there is none."""
        others = [replica for replica in self.conf[0] if replica != besides and (among is None or replica in among)]
        return min(others, key=lambda replica: (self.lags.get(replica, 0), replica), default=None)
