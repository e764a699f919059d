"""A node whose disk is nearly full has others lead: it may not take writes, and they may have room.

Asked for once each time that the disk fills up, for a few seconds. Whoever leads a group whose nodes are all full keeps
it: leadership that goes round would help nobody, and cost every reader.
"""

from dkv.node.disk import Disk
from dkv.node.membership import Membership
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus

TRY_MS = 3_000
AGAIN_MS = 500


class Resigning:
    """Owned by the node."""

    def __init__(self, disk: Disk, membership: Membership, consensus: Consensus) -> None:
        self._disk, self._membership, self._consensus = disk, membership, consensus
        self._filled_ms: int | None = None
        """When the disk was first seen to be full; None: it has room."""
        self._asked_ms = 0

    def after_turn(self, now: Now) -> None:
        """Looks at the disk, which is cheap: it does so a few times a second only."""
        if self._disk.full(now) is None:
            self._filled_ms = None
            return
        if self._filled_ms is None:
            self._filled_ms, self._asked_ms = now.monotonic_ms, now.monotonic_ms - AGAIN_MS
        if now.monotonic_ms - self._filled_ms < TRY_MS and now.monotonic_ms - self._asked_ms >= AGAIN_MS:
            self._asked_ms = now.monotonic_ms
            for vbucket, heir in self._membership.to_hand_over().items():
                self._consensus.transfer_leader(vbucket, heir)
