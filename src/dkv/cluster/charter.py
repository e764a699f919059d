"""The charter: what a cluster was formed with, the same on every node, for ever.

It is one row of space 0, and it comes before everything else that a node of a cluster does: whoever has it belongs to
the cluster, whoever does not is empty. It says with which members the vBuckets began; who the members are now is in
their directories. A node that forms the cluster writes it in one synced batch with the first rows of every vBucket, so
that a crash leaves all of them or none; so does a node that joins, with replicas of its own that the first members do
not count, as every vBucket was when it began. What came since, its leader sends.

Layout in docs/formats/charter.md. Ids that begin with the cluster are made from the cluster id, which is random.
"""

from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from struct import error as struct_error

from dkv.model.errors import Corrupt
from dkv.model.members import Member, decode_members, encode_members
from dkv.ports.consensus import Conf

CHARTER_KEY = b"\0\0\0\0\5"
"""Persisted. Space 0, kind 5."""
CONTACTS_KEY = b"\0\0\0\0\x09"
"""Persisted. Space 0, kind 9: a list of members. Whom a node that joined was told of, as long as its own directories
do not know it yet: the first members may all have left."""
VERSION = 1
"""Persisted: do not renumber."""
FIRST_VBUCKET = 1
"""The one of a node on its own; those of a cluster are numbered from it on."""
VBUCKETS_MAX = 100_000
NAME_BYTES_MAX = 255
_FIXED = Struct(">B16sQI16sB")
_REPLICA_MASK = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Charter:
    """Facts that never change."""

    cluster_id: bytes
    """16 random bytes."""
    name: str
    vbuckets: int
    """How many there are."""
    formed_ms: int
    """Wall time of the node that formed it: where log time begins; 0 when it began before, on a node on its own."""
    first_history_id: bytes
    """16 bytes: the line of change numbers of vBucket 1."""
    members: tuple[Member, ...]
    """Of vBucket 1, by address: the nodes that the cluster began with."""

    def has(self, node: int) -> bool:
        """Whether the cluster began with this node."""
        return any(member.node == node for member in self.members)

    def numbers(self) -> range:
        """The vBuckets."""
        return range(FIRST_VBUCKET, FIRST_VBUCKET + self.vbuckets)

    def history_id(self, vbucket: int) -> bytes:
        """The line of change numbers that a vBucket begins with."""
        if vbucket == FIRST_VBUCKET:
            return self.first_history_id
        return _drawn(b"history", self.cluster_id, vbucket)[:16]

    def members_of(self, vbucket: int) -> tuple[Member, ...]:
        """With which replicas a vBucket begins. In vBucket 1 they are named after their nodes, as that of a node on its
        own is; in the others no two of a node are alike, so that their timers differ."""
        if vbucket == FIRST_VBUCKET:
            return self.members
        return tuple(member._replace(replica=self._replica_id(vbucket, member.node)) for member in self.members)

    def conf_of(self, vbucket: int) -> Conf:
        """Raft's members as a vBucket begins."""
        return [member.replica for member in self.members_of(vbucket)], [], [], [], False

    def _replica_id(self, vbucket: int, node: int) -> int:
        return int.from_bytes(_drawn(b"replica", self.cluster_id, vbucket, node)[:8], "big") & _REPLICA_MASK or 1


def _drawn(what: bytes, cluster_id: bytes, *numbers: int) -> bytes:
    """As random as the cluster id, and the same wherever it is made."""
    return sha256(what + cluster_id + b"".join(number.to_bytes(8, "big") for number in numbers)).digest()


def encode_charter(charter: Charter) -> bytes:
    name = charter.name.encode()
    c = charter
    head = _FIXED.pack(VERSION, c.cluster_id, c.formed_ms, c.vbuckets, c.first_history_id, len(name))
    return head + name + encode_members(c.members)


def decode_charter(row: bytes) -> Charter:
    """Raises Corrupt."""
    try:
        version, cluster_id, formed_ms, vbuckets, history_id, name_bytes = _FIXED.unpack_from(row)
        name = row[_FIXED.size : _FIXED.size + name_bytes].decode()
    except (struct_error, UnicodeDecodeError):
        raise Corrupt(f"charter: {len(row)} bytes that end early, or a name that is no UTF-8") from None
    if version != VERSION:
        raise Corrupt(f"charter: version {version} at offset 0 is not known to this release")
    if not 0 < vbuckets <= VBUCKETS_MAX:
        raise Corrupt(f"charter: {vbuckets} vBuckets at offset 25")
    members = decode_members(row[_FIXED.size + name_bytes :])
    return Charter(cluster_id, name, vbuckets, formed_ms, history_id, tuple(members))
