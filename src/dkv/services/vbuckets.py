"""The vBuckets of a node as dkv.v1.Status tells them: one, a page of them, or what all of them come to.

A node may have a thousand. What is told of all is sums, the worst, and the first few that want a look; a page is
bounded. So an answer takes a turn about ten milliseconds at most.
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol

from dkv.services.discovery_node import NodeIdentity
from dkv.wire import messages as wire

PAGE_MAX = 250
"""VBuckets in an answer: about a millisecond of a turn."""
NOTABLE_MAX = 20


class Condition(IntEnum):
    """What an operator should know of a vBucket. On the wire: as in status.proto."""

    NO_LEADER = 0
    CATCHING_UP = 1
    REMOVED = 2
    NEEDS_SNAPSHOT = 3
    RECEIVES_SNAPSHOT = 4
    RESTORING = 5
    CLOCK_DISBELIEVED = 6
    REPLICA_LAGS = 7


class VBucketLook(NamedTuple):
    """One replica, now. Times are milliseconds since the Unix epoch."""

    number: int
    history_id: bytes
    role: int
    """As Raft numbers them."""
    term: int
    leader: int
    """Its node; 0: not known."""
    applied_index: int
    commit_index: int
    change_number: int
    oldest_change: int
    history_bytes: int
    log_time: int
    earliest_expiry: int
    """0: no key expires."""
    sessions: int
    lag: int | None
    """Entries that the replica furthest behind lacks; None: not led here, or nobody follows."""


class Totals(NamedTuple):
    """Of all vBuckets."""

    led: int
    changes: int
    changes_kept: int
    history_bytes: int
    sessions: int
    least_history: int
    """Of those that have let changes go, the one that keeps the fewest; 0: none has."""


class VBuckets(Protocol):
    """The node, to those who ask for its vBuckets. Read when somebody asks, within a turn."""

    def numbers(self) -> Sequence[int]:
        """Ascending."""

    def look(self, number: int) -> VBucketLook: ...
    def totals(self) -> Totals: ...
    def conditions(self) -> Mapping[int, Sequence[Condition]]:
        """Of those that are in any, by number, ascending."""


def page(known: NodeIdentity, vbuckets: VBuckets, asked: wire.GetVBucketsRequest) -> wire.GetVBucketsResponse:
    """What was asked for, as far as it fits."""
    conditions = vbuckets.conditions()
    there = conditions if asked.isNotable else vbuckets.numbers()
    wanted = [number for number in there if number >= asked.first]
    count = min(asked.limit or PAGE_MAX, PAGE_MAX)
    return wire.GetVBucketsResponse(
        vBuckets=[vbucket_status(known, vbuckets.look(each), conditions.get(each, ())) for each in wanted[:count]],
        next=wanted[count] if count < len(wanted) else 0,
    )


def first_and_summary(known: NodeIdentity, vbuckets: VBuckets) -> tuple[wire.VBucketStatus, wire.VBucketsSummary]:
    """The first one, and what all of them come to."""
    totals, conditions, numbers = vbuckets.totals(), vbuckets.conditions(), vbuckets.numbers()

    def status(number: int) -> wire.VBucketStatus:
        return vbucket_status(known, vbuckets.look(number), conditions.get(number, ()))

    counts = [(each, sum(each in found for found in conditions.values())) for each in Condition]
    return status(numbers[0]), wire.VBucketsSummary(
        count=len(numbers),
        led=totals.led,
        changes=totals.changes,
        changesKept=totals.changes_kept,
        historyBytes=totals.history_bytes,
        sessions=totals.sessions,
        leastHistory=status(totals.least_history) if totals.least_history else None,
        conditions=[wire.ConditionCount(condition=each, count=count) for each, count in counts if count],
        notable=[status(number) for number in list(conditions)[:NOTABLE_MAX]],
    )


def vbucket_status(known: NodeIdentity, look: VBucketLook, conditions: Sequence[Condition]) -> wire.VBucketStatus:
    return wire.VBucketStatus(
        database=known.database,
        vBucket=known.vbucket,
        number=look.number,
        historyId=look.history_id,
        raftRole=look.role,
        term=look.term,
        leader=look.leader,
        appliedIndex=look.applied_index,
        commitIndex=look.commit_index,
        changeNumber=look.change_number,
        oldestChangeNumber=look.oldest_change,
        historyBytes=look.history_bytes,
        logTime=look.log_time,
        earliestExpiry=look.earliest_expiry,
        sessions=look.sessions,
        lagEntries=look.lag,
        conditions=conditions,
    )
