"""A node whose disk is nearly full has others lead: it may not take writes, and they may have room.

It tries for a few seconds, then rests: where all disks are full leadership would go round without end, help nobody, and
cost every reader.
"""

from dkv.node.disk import Disk
from dkv.node.membership import Membership
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus

TRY_MS = 3_000
AGAIN_MS = 500
REST_MS = 60_000


class Resigning:
    """Owned by the node."""

    def __init__(self, disk: Disk, membership: Membership, consensus: Consensus) -> None:
        self._disk, self._membership, self._consensus = disk, membership, consensus
        self._tried_ms: int | None = None
        """When it last began to try; None: not since the disk has filled up."""
        self._looked_ms = -AGAIN_MS

    def after_turn(self, now: Now) -> None:
        """Looks at the disk, which is cheap: it does so a few times a second only."""
        if self._disk.full(now) is None:
            self._tried_ms = None
        elif now.monotonic_ms - self._looked_ms >= AGAIN_MS:
            self._looked_ms = now.monotonic_ms
            if led := self._membership.to_hand_over():
                self._hand_over(led, now.monotonic_ms)

    def _hand_over(self, led: dict[int, int], now_ms: int) -> None:
        if self._tried_ms is None or now_ms - self._tried_ms >= REST_MS:
            self._tried_ms = now_ms
        if now_ms - self._tried_ms < TRY_MS:
            for vbucket, heir in led.items():
                self._consensus.transfer_leader(vbucket, heir)
