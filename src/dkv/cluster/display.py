"""Nodes as people name them: by address or URL, and by an id that is made from it (COMPATIBILITY 1.5).

Raft knows nothing of either: its ids are random (INVARIANTS 1). Whoever puts another node at the same URL gets the same
displayed id, which is why it may only be displayed.
"""

from hashlib import sha1

from dkv.model.members import Member


def display_id(url: str) -> int:
    """The first 8 bytes, big endian, of the SHA-1 of the host:port of a node's URL."""
    return int.from_bytes(sha1(url.removeprefix("http://").encode(), usedforsecurity=False).digest()[:8], "big")


def is_called(member: Member, name: str) -> bool:
    """Whether `name`, an address or a URL, is that of a member: as nodes reach it, or as people are shown it."""
    return name.removeprefix("http://") in (member.address, member.url.removeprefix("http://"))
