"""Leases: for how long a leader knows, without asking anybody, that nobody else leads.

Each question to the quorum up to where a read must see (a read index) is one for vows, too: who has confirmed it will
not vote, and not stand for election, for VOW_TICKS of its own. So once a quorum has confirmed, nobody else can lead
until the fastest of their clocks has counted those ticks, from when the question was *sent* on. Until then the leader
answers with its commit index. The proof, and what else ends a lease, is in docs/design/0025.

Invariants kept here:
* a lease counts from before the question left, never from when it was answered: the answer may have been on its way, or
  this process have stood still, for any time;
* it is judged by a reading of the clock that is later than the arrival of the read, never by that of another turn;
* a term has leases of its own, and a change of members ends the one there is.
"""

from collections.abc import Callable
from typing import NamedTuple

from dkv.ports.consensus import TICK_MS, VOW_TICKS, Consensus

RAFT_TICKS_PER_TURN_MAX = 3
"""A slow turn must not look like a silent leader."""
VOW_MS_MIN = (VOW_TICKS - 2 * RAFT_TICKS_PER_TURN_MAX - 1) * TICK_MS
"""What a vow lasts at least, by the clock of who made it. Ticks are counted after messages, by a reading of the clock
from before them, and a process may have stood still in between: that turn, and the next one, may each count as many
ticks as a turn may, of time before the vow. And a tick may be due just then."""
ROUNDING_MS = 2
"""Two clocks are read in whole milliseconds."""


class LeaseTerms(NamedTuple):
    """What leases are given by."""

    clock_ms: Callable[[], int]
    """Never goes back, and goes on while the machine is suspended."""
    duration_ms: int


def lease_ms(drift_percent: int) -> int:
    """How long a lease is, where the rate of no clock is wrong by more than `drift_percent`: this one as slow, and that
    of a follower as fast as can be."""
    return VOW_MS_MIN * (100 - drift_percent) // (100 + drift_percent) - ROUNDING_MS


class Asked(NamedTuple):
    """A question on its way."""

    term: int
    sent_ms: int


class Lease:
    """Of one vBucket. Owned by what hosts it."""

    def __init__(self, vbucket: int, consensus: Consensus, terms: LeaseTerms | None) -> None:
        """`terms`: None where leases are off: then there never is one."""
        self._vbucket, self._consensus, self._terms = vbucket, consensus, terms
        self._asked: dict[bytes, Asked] = {}
        self._asked_ms = self._until_ms = 0
        self._term = 0
        """0: there is none."""
        self.answers: int = 0
        """Questions that it has answered."""

    def asks(self, context: bytes) -> None:
        """This question leaves next."""
        if self._terms is not None and (place := self._consensus.lease_place(self._vbucket)) is not None:
            self._asked_ms = self._terms.clock_ms()
            self._asked[context] = Asked(place[0], self._asked_ms)

    def confirmed(self, context: bytes) -> None:
        """A quorum has heard it from the leader of that term."""
        if self._terms is None or (asked := self._asked.pop(context, None)) is None:
            return
        until_ms = asked.sent_ms + self._terms.duration_ms
        if asked.term > self._term:
            self._term, self._until_ms = asked.term, until_ms
        elif asked.term == self._term:
            self._until_ms = max(self._until_ms, until_ms)

    def lost(self, context: bytes) -> None:
        """There will be no answer."""
        self._asked.pop(context, None)

    def end(self) -> None:
        """Only what is asked from now on gives another one."""
        self._term = 0
        self._asked.clear()

    def index(self) -> int | None:
        """Up to where a read must see that has arrived; None: the quorum has to be asked."""
        if self._terms is None or not self._term or (place := self._consensus.lease_place(self._vbucket)) is None:
            return None
        term, commit_index = place
        if term != self._term or self._terms.clock_ms() >= self._until_ms:
            return None
        self.answers += 1
        return commit_index

    @property
    def is_due(self) -> bool:
        """Who goes on answering should ask anew: half of it is over, and nobody has asked since."""
        if self._terms is None:
            return False
        half_ms = self._terms.duration_ms // 2
        now_ms = self._terms.clock_ms()
        return now_ms >= self._until_ms - half_ms and now_ms - self._asked_ms >= half_ms
