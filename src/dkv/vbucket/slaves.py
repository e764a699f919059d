"""The registry of slaves: who said, through AddReplica, that it follows this vBucket (COMPATIBILITY 1.4).

State of the vBucket, changed through the log, in internal rows that no key of a user can reach: docs/formats/rows.md.
An address is `host:port`, or `zone@host:port`; it is kept as it was checked, and it takes no change number.
"""

from collections.abc import Iterable

from dkv.model.errors import Corrupt
from dkv.vbucket.rows import slave_key, slaves_range

SLAVES_MAX = 1_000
"""Part of the format: replicas refuse the same address at the same entry."""


class Slaves:
    """The registered addresses of one vBucket. Owned by the replica; changed only by apply."""

    def __init__(self, vbucket: int) -> None:
        self._vbucket = vbucket
        self._addresses: set[bytes] = set()

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Fills an empty registry from its rows. Raises Corrupt."""
        prefix = slaves_range(self._vbucket)[0]
        for row_key, row in rows:
            if row or len(row_key) <= len(prefix):
                raise Corrupt(f"registry of slaves: key of {len(row_key)} bytes, row of {len(row)}, not an address")
            self._addresses.add(row_key[len(prefix) :])

    def addresses(self) -> list[bytes]:
        """In byte order."""
        return sorted(self._addresses)

    def add(self, address: bytes, rows: dict[bytes, bytes | None]) -> bool:
        """False: there are too many."""
        if address not in self._addresses and len(self._addresses) >= SLAVES_MAX:
            return False
        self._addresses.add(address)
        rows[slave_key(self._vbucket, address)] = b""
        return True

    def remove(self, address: bytes, rows: dict[bytes, bytes | None]) -> None:
        """Well also when it is not there."""
        self._addresses.discard(address)
        rows[slave_key(self._vbucket, address)] = None
