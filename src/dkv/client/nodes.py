"""Which node of a cluster to ask: what is known of its nodes, from what became of calls and from what nodes tell.

A client stays with one node, its *home*, for as long as that answers. Writes go to the leader, if one node leads every
vBucket; that saves the hop that any other node makes for them. A node that fails goes to the end of the line, so that
the next in line is home; one that does not answer is passed over until a node that does says it is up, or until all
others have refused for a while.

Decides; never waits or sends. Threads share it without a lock: what it knows is replaced and never changed, and an
update that is lost is learned again.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

ATTEMPT_MS_MAX = 1_000
"""For a node to answer while there are others to ask: about an election, and longer than a busy node needs."""


class Seen(NamedTuple):
    """A member, as another node sees it."""

    address: str
    is_up: bool
    leads_all: bool
    """It leads every vBucket."""


class Nodes:
    """Owns the line of a client's nodes. At least one address, each once."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """The first is home."""
        self._given = self._line = tuple(addresses)
        self._silent: frozenset[str] = frozenset()
        """Did not answer, and nobody has said that they are up since."""
        self._behind: frozenset[str] = frozenset()
        """Lacked a change that somebody had seen, and no call went well since."""
        self.leader: str | None = None
        """Where to write; None: at home."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Home first, as long as it answers."""
        return self._line

    def pick(self, *, leader: bool) -> str:
        """The node to ask: the one that leads, if it is known and wanted, else home."""
        if leader and self.leader is not None:
            return self.leader
        silent = self._silent
        return next((each for each in self._line if each not in silent), self._line[0])

    def attempt_ms(self, address: str, left_ms: int) -> int:
        """How long it may take to answer: all the time that is left, if there is nobody else to ask."""
        others = [each for each in self._line if each != address]
        if not others:
            return left_ms
        is_one_up = any(each not in self._silent for each in others)
        return max(1, min(ATTEMPT_MS_MAX, left_ms // 2) if is_one_up else left_ms // 2)

    def has_fresher(self, address: str) -> bool:
        """Whether another node may have what this one lacks."""
        return any(each not in self._silent | self._behind for each in self._line if each != address)

    def went_well(self, address: str) -> None:
        if address in self._silent:
            self._silent -= {address}
        if self._behind:
            self._behind = frozenset()

    def went_wrong(self, address: str, *, is_silent: bool) -> None:
        """It refused, or, if `is_silent`, it did not answer."""
        self.lost_leader()
        if is_silent:
            self._silent |= {address}
        self._line = (*(each for each in self._line if each != address), address)

    def give_another_chance(self) -> None:
        """To those who did not answer: all others refuse."""
        self._silent = frozenset()

    def is_behind(self, address: str) -> None:
        """It lacks a change that a reader has seen."""
        self._behind |= {address}
        self._line = (*(each for each in self._line if each != address), address)

    def lost_leader(self) -> None:
        """Nobody leads whom we know."""
        self.leader = None

    def learn(self, members: Iterable[Seen]) -> None:
        """What a node says. Whoever was given and is no member is the last to be asked: all members may be out of
        reach one day under the names they have for each other."""
        seen = {each.address: each for each in members}
        kept = [each for each in self._line if each in seen]
        new = [each for each in seen if each not in kept]
        rest = [each for each in self._given if each not in seen]
        self._line = (*kept, *new, *rest)
        self._silent = frozenset(each for each in self._silent if each not in seen or not seen[each].is_up)
        self.leader = next((each.address for each in seen.values() if each.leads_all and each.is_up), None)
