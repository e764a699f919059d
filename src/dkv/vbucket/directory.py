"""The directory of a vBucket: which node holds each replica, and where that node is reached.

State of the vBucket, in internal rows of space 0 (docs/formats/rows.md) and part of its snapshots. It changes with the
entries that change Raft's members, in the same batch: what an entry carries as its context is added or replaced, then
every replica that Raft's members do not name any more is gone. So a removed replica keeps its address for as long as a
joint state still counts its vote, and no second proposal is needed to forget it.

A folder that was never in a cluster has no directory.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dkv.model.errors import Corrupt
from dkv.model.members import Member, decode_members, encode_members
from dkv.ports.consensus import Conf
from dkv.vbucket.rows import member_key


class ConfChanged(NamedTuple):
    """What an entry that changes the members did."""

    conf: Conf
    """Raft's members from it on."""
    context: bytes = b""
    """What its proposer sent with it: the members that are added; empty: none."""


class Directory:
    """The members of one vBucket. Owned by the replica; changed only by apply."""

    def __init__(self, vbucket: int) -> None:
        self._vbucket = vbucket
        self._members: dict[int, Member] = {}

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Fills an empty directory from its rows. Raises Corrupt."""
        for row_key, row in rows:
            members = decode_members(row)
            if len(members) != 1 or row_key != member_key(self._vbucket, members[0].replica):
                raise Corrupt(f"directory of vBucket {self._vbucket}: a row of {len(members)} members, or of another")
            self._members[members[0].replica] = members[0]

    def members(self) -> list[Member]:
        """By replica id."""
        return [self._members[replica] for replica in sorted(self._members)]

    def node_of(self, replica: int) -> int:
        """Where a replica lives; 0: it is not in the directory."""
        member = self._members.get(replica)
        return member.node if member is not None else 0

    def address_of(self, replica: int) -> str:
        """Where its node is reached; empty: it is not in the directory."""
        member = self._members.get(replica)
        return member.address if member is not None else ""

    def has_node(self, node: int) -> bool:
        """Whether some replica lives there."""
        return any(member.node == node for member in self._members.values())

    def change(self, conf: Conf, added: Iterable[Member], rows: dict[bytes, bytes | None]) -> None:
        """Raft's members are `conf` from here on, and its entry said where those of `added` are."""
        named = set().union(*conf[:4])
        for member in added:
            if member.replica in named:
                self._members[member.replica] = member
                rows[member_key(self._vbucket, member.replica)] = encode_members([member])
        for replica in [replica for replica in self._members if replica not in named]:
            del self._members[replica]
            rows[member_key(self._vbucket, replica)] = None


def first_members(vbucket: int, members: Iterable[Member]) -> list[tuple[bytes, bytes | None]]:
    """The rows of a directory that begins with these."""
    return [(member_key(vbucket, member.replica), encode_members([member])) for member in members]
