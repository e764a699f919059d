"""When enough replicas have on their disks what a restore has staged (INVARIANTS 22). Pure.

All that are in touch, and at least a quorum of the voters: then whatever quorum is left later has somebody who can
apply the command, and everybody else can fetch a snapshot from there.
"""

from collections.abc import Collection, Mapping
from enum import Enum


class Standing(Enum):
    """Of one voter."""

    HAS = 1
    """On its disk."""
    COMING = 2
    AWAY = 3
    """It is not waited for; it may come back."""


class Verdict(Enum):
    GO = 1
    WAIT = 2
    NO_QUORUM = 3
    """Nobody is waited for, and it is not enough."""


def judge(voters: Collection[int], standings: Mapping[int, Standing]) -> Verdict:
    """`standings` of the voters; who is not in it is away."""
    found = [standings.get(voter, Standing.AWAY) for voter in voters]
    if Standing.COMING in found:
        return Verdict.WAIT
    return Verdict.GO if 2 * found.count(Standing.HAS) > len(found) else Verdict.NO_QUORUM
