"""Replicas that lack what the next entry of their log restores: they ask for a snapshot (INVARIANTS 22).

Their leader has everything in its log, and cannot know. One that leads itself hands over, to one after the other of the
voters in touch: at least one of any quorum has what it takes.
"""

import logging
from collections.abc import Mapping

from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.wire.peer import Kind, pack_numbers

ASK_MS = 1_000
"""Longer than a handing over takes, or its failure."""


logger: logging.Logger = logging.getLogger("dkv.snapshots")


class Lacking:
    """Owned by the node."""

    def __init__(self, consensus: Consensus, peering: Peering, vbuckets: Mapping[int, Hosted]) -> None:
        self._consensus, self._peering, self._vbuckets = consensus, peering, vbuckets
        self._asked_ms = self._asked = 0

    def after_turn(self, now: Now) -> None:
        """Asks now and then."""
        if now.monotonic_ms - self._asked_ms < ASK_MS:
            return
        self._asked_ms = now.monotonic_ms
        for hosted in self._vbuckets.values():
            if hosted.is_stuck:
                self._asked += 1
                self._ask(hosted)

    def _ask(self, hosted: Hosted) -> None:
        own, index = hosted.replica.replica, hosted.unapplied[0][0]
        logger.info("vBucket %d: entry %d restores what is not here: waits for a snapshot", hosted.vbucket, index)
        if not hosted.is_leader:
            body = pack_numbers(own, index)
            self._peering.tell(hosted.leader_node, Kind.SNAPSHOT_WANTED, hosted.vbucket, body)
            return
        voters = [each for each in sorted(hosted.replica.members[0]) if each != own]
        in_touch = [each for each in voters if self._peering.is_linked(hosted.node_of(each))]
        if in_touch:
            self._consensus.transfer_leader(hosted.vbucket, in_touch[self._asked % len(in_touch)])
