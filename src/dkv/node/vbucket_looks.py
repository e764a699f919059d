"""The vBuckets of a node, to those who look at them: see `dkv.services.vbuckets`. Nothing here runs in a turn unasked.

A look at a thousand of them takes a few milliseconds, most of it for the followers of those that are led here.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dkv.cluster.group import FAR_BEHIND_ENTRIES, UNHEARD
from dkv.node.hosted import Hosted
from dkv.node.role import NOBODY
from dkv.node.stagings import Stagings
from dkv.ports.consensus import Consensus
from dkv.services.vbuckets import Condition, Totals, VBucketLook


class VBucketLooks:
    """Knows parts of the node and changes nothing."""

    def __init__(
        self,
        vbuckets: Mapping[int, Hosted],
        consensus: Consensus,
        stagings: Stagings,
        snapshots_incoming: Collection[int],
    ) -> None:
        """`snapshots_incoming`: the vBuckets that a snapshot comes in for, at any time."""
        self._vbuckets, self._consensus, self._stagings = vbuckets, consensus, stagings
        self._snapshots_incoming = snapshots_incoming

    def numbers(self) -> Sequence[int]:
        return sorted(self._vbuckets)

    def look(self, number: int) -> VBucketLook:
        hosted = self._vbuckets[number]
        replica, raft = hosted.replica, self._raft(number)
        return VBucketLook(
            number=number,
            history_id=replica.history_id,
            role=raft["role"],
            term=raft["term"],
            leader=hosted.leader_node,
            applied_index=replica.applied_index,
            commit_index=raft["commit"],
            change_number=replica.change_number,
            oldest_change=replica.earliest_change,
            history_bytes=replica.history_bytes,
            log_time=replica.log_time,
            earliest_expiry=replica.earliest_expiry or 0,
            sessions=len(replica.sessions),
            lag=_lag(hosted, raft),
        )

    def totals(self) -> Totals:
        replicas = [hosted.replica for hosted in self._vbuckets.values()]
        purged = [each for each in replicas if each.earliest_change > 1]
        least = min(purged, key=lambda each: (each.change_number - each.earliest_change, each.vbucket), default=None)
        return Totals(
            led=sum(hosted.is_leader for hosted in self._vbuckets.values()),
            changes=sum(each.change_number for each in replicas),
            changes_kept=sum(each.change_number - each.earliest_change + 1 for each in replicas),
            history_bytes=sum(each.history_bytes for each in replicas),
            sessions=sum(len(each.sessions) for each in replicas),
            least_history=least.vbucket if least is not None else 0,
        )

    def conditions(self) -> Mapping[int, Sequence[Condition]]:
        coming, restoring = self._snapshots_incoming, self._stagings.vbuckets
        found = {number: self._conditions(self._vbuckets[number], coming, restoring) for number in self.numbers()}
        return {number: conditions for number, conditions in found.items() if conditions}

    def _conditions(self, hosted: Hosted, coming: Collection[int], restoring: Collection[int]) -> list[Condition]:
        is_moving = hosted.vbucket in coming or hosted.vbucket in restoring
        if hosted.is_serving and not hosted.is_leader and not hosted.unapplied and not is_moving:
            return []  # as most are
        is_removed = hosted.is_removed
        holds = (
            (Condition.NO_LEADER, hosted.leader == NOBODY and not is_removed),
            (Condition.CATCHING_UP, not hosted.is_readable and not is_removed),
            (Condition.REMOVED, is_removed),
            (Condition.NEEDS_SNAPSHOT, hosted.is_stuck),
            (Condition.RECEIVES_SNAPSHOT, hosted.vbucket in coming),
            (Condition.RESTORING, hosted.vbucket in restoring),
            (Condition.CLOCK_DISBELIEVED, hosted.is_leader and hosted.replica.clock.frozen),
            (Condition.REPLICA_LAGS, self._has_laggard(hosted)),
        )
        return [condition for condition, does_hold in holds if does_hold]

    def _has_laggard(self, hosted: Hosted) -> bool:
        if not hosted.is_leader or hosted.is_sole_member:
            return False
        return (_lag(hosted, self._raft(hosted.vbucket)) or 0) >= FAR_BEHIND_ENTRIES

    def _raft(self, number: int) -> Mapping[str, Any]:
        return self._consensus.status(number)


def _lag(hosted: Hosted, raft: Mapping[str, Any]) -> int | None:
    own, last = hosted.replica.replica, raft["last_index"]
    lags = [last - matched if matched else UNHEARD for each, (matched, *_) in raft["peers"].items() if each != own]
    return max(lags, default=None) if hosted.is_leader else None
