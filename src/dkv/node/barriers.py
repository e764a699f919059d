"""Reads that wait: for a read index that a quorum has confirmed, or for a change that is not applied here yet.

A *barrier* is one question for all reads of a vBucket and turn that must see every write acknowledged before them: up
to which index? The leader asks its quorum, a follower asks the leader. It is passed once that index is applied here. A
question is asked again when leadership was lost or the answer did not come: a read has no effect, so that is safe.

Invariants kept here:
* nothing is read before the first barrier since the start is passed (5);
* what a barrier proves counts from when it was *begun*, not from when it was answered (23);
* a request id is never used twice, not even by another life of the node: the answer to an older question must not be
  taken for one to a younger.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dkv.model.errors import DkvError, NoLeader, StaleRead
from dkv.ports.clock import Now
from dkv.services.calls import fail
from dkv.services.turn import PointRead, Turn

ASK_AGAIN_MS = 300
"""About what an election takes: a question may have gone to a leader that is none any more."""
REFUSED_MS = 30
"""Until what was refused is asked again: a new leader refuses until its first entry is committed."""
WAIT_MS_MAX = 5_000
"""Then the caller is told; few callers wait for longer."""
CHANGE_WAIT_MS_MAX = 1_000
"""A change that a token names is on its way, or this node is far behind and another one is the better choice."""

Ask = Callable[[int], bool]
"""Asks under this request id up to where a read must see. False: there is nobody to ask now."""


@dataclass(slots=True)
class Barrier:
    """One question and the reads that wait for it."""

    reads: list[PointRead]
    begun_ms: int
    asked_ms: int
    index: int | None = None
    """Confirmed: everything acknowledged before `begun_ms` is at or below it."""


@dataclass(slots=True)
class ChangeWait:
    """A read that wants a change which is not applied here yet."""

    read: PointRead
    begun_ms: int


class Barriers:
    """Owned by one vBucket of a node."""

    def __init__(self, ask: Ask, first_request_id: int) -> None:
        """`first_request_id` is random, so that no other life of this node has used it or will."""
        self._ask, self._request_id = ask, first_request_id
        self._open: list[Barrier] = []
        self._asked: dict[int, Barrier] = {}
        self._waits: list[ChangeWait] = []
        self.confirmed_ms: int | None = None
        """What is applied here has everything that was acknowledged before this monotonic time. None: not known."""

    @property
    def has_waiting(self) -> bool:
        return bool(self._open or self._waits)

    @property
    def waiting_count(self) -> int:
        """Questions that are not answered, or whose answer is not applied here yet."""
        return len(self._open)

    def begin(self, reads: list[PointRead], now: Now) -> None:
        """These must see everything acknowledged so far."""
        barrier = Barrier(reads, now.monotonic_ms, -ASK_AGAIN_MS)
        self._open.append(barrier)
        self._question(barrier, now)

    def begin_at(self, reads: list[PointRead], index: int, now: Now) -> None:
        """The same, with the answer known: everything acknowledged so far is at or below `index`."""
        self._open.append(Barrier(reads, now.monotonic_ms, now.monotonic_ms, index))

    def wait_for_change(self, read: PointRead, now: Now) -> None:
        """It is served once change `read.terms.change_number_min` is applied."""
        self._waits.append(ChangeWait(read, now.monotonic_ms))

    def confirmed(self, request_id: int, index: int) -> None:
        """An answer; one to a question that nobody waits for any more is ignored."""
        barrier = self._asked.pop(request_id, None)
        if barrier is not None and (barrier.index is None or index < barrier.index):
            barrier.index = index

    def lost(self, request_id: int) -> None:
        """There will be no answer."""
        barrier = self._asked.pop(request_id, None)
        if barrier is not None:
            barrier.asked_ms -= ASK_AGAIN_MS - REFUSED_MS

    def ask_again(self, now: Now) -> None:
        """Questions whose answers are overdue."""
        for barrier in self._open:
            if barrier.index is None and now.monotonic_ms - barrier.asked_ms >= ASK_AGAIN_MS:
                self._question(barrier, now)

    def passed(self, applied_index: int, change_number: int) -> list[PointRead]:
        """The reads that may be served now."""
        ready: list[PointRead] = []
        for barrier in [each for each in self._open if each.index is not None and each.index <= applied_index]:
            ready += barrier.reads
            self.confirmed_ms = max(barrier.begun_ms, self.confirmed_ms or barrier.begun_ms)
            self._close(barrier)
        if self._waits:
            ready += [each.read for each in self._waits if each.read.terms.change_number_min <= change_number]
            self._waits = [each for each in self._waits if each.read.terms.change_number_min > change_number]
        return ready

    def give_up(self, turn: Turn, change_number: int, leader: str, now: Now) -> None:
        """Tells the callers whose wait was too long. `leader`: the address of who has more."""
        for barrier in [each for each in self._open if now.monotonic_ms - each.begun_ms >= WAIT_MS_MAX]:
            self._close(barrier)
            _fail_all(turn, barrier.reads, NoLeader("no leader has confirmed what is current, try again"))
        for wait in [each for each in self._waits if now.monotonic_ms - each.begun_ms >= CHANGE_WAIT_MS_MAX]:
            self._waits.remove(wait)
            _fail_all(turn, [wait.read], StaleRead.behind(wait.read.terms.change_number_min, change_number, leader))

    def drop(self) -> list[PointRead]:
        """All that wait: what they wait for will not come."""
        dropped = [read for barrier in self._open for read in barrier.reads] + [wait.read for wait in self._waits]
        self._open, self._waits = [], []
        self._asked.clear()
        return dropped

    def _question(self, barrier: Barrier, now: Now) -> None:
        self._request_id = (self._request_id + 1) & 0xFFFF_FFFF_FFFF_FFFF
        if self._ask(self._request_id):
            self._asked[self._request_id] = barrier
            barrier.asked_ms = now.monotonic_ms

    def _close(self, barrier: Barrier) -> None:
        self._open.remove(barrier)
        for request_id in [request_id for request_id, each in self._asked.items() if each is barrier]:
            del self._asked[request_id]


def _fail_all(turn: Turn, reads: Sequence[PointRead], error: DkvError) -> None:
    for read in reads:
        for call_id in set(read.call_ids):
            fail(turn, call_id, error)
