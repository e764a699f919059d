"""What no wrong clock may do to a simulated cluster (INVARIANTS 7), looked for after every turn.

Most clocks are a little wrong, and what they show is what time it is: the latest that any of them has shown. At most
one machine at a time is *astray*: set hours or days away. Log time may follow it as far as a clock is believed by
itself, and no further; everybody else's clocks are a majority.
"""

from collections.abc import Iterable, Iterator, Sequence

from dkv.node.hosted import Hosted
from dkv.testing.clock import START_WALL_MS
from dkv.testing.cluster.member import Member
from dkv.vbucket.clock_quorum import quorum_time
from dkv.vbucket.log_time import JUMP_MS_MAX

MARGIN_MS = 60_000
"""What clocks that go too fast gain in a run, and the slew."""


class ClockChecks:
    """Owned by the world."""

    def __init__(self) -> None:
        self.astray: Member | None = None
        self.had_astray: bool = False
        self._shown_ms = START_WALL_MS

    def saw(self, members: Iterable[Member]) -> int:
        """The clocks show what they show. Nothing that is due later than what is returned may have expired."""
        shown = [member.clock.now().wall_ms for member in members if member is not self.astray]
        self._shown_ms = max(self._shown_ms, *shown)
        return self.latest_ms

    @property
    def latest_ms(self) -> int:
        return self._shown_ms + (JUMP_MS_MAX + MARGIN_MS if self.had_astray else 0)

    def go_astray(self, member: Member | None) -> None:
        """None: all are well again."""
        self.astray = member
        self.had_astray |= member is not None

    def look(self, hosted: Hosted) -> Iterator[str]:
        """Complaints about a replica after its turn."""
        log_time = hosted.replica.log_time
        if log_time > self.latest_ms:
            yield f"log time {log_time} is {log_time - self._shown_ms} ms ahead of all clocks but one"


def stands_still(hosted: Hosted, members: Sequence[Member]) -> bool:
    """Whether a leader lets nothing expire although a majority of clocks has reached a time to go on from."""
    walls = {member.node_id: member.clock.now().wall_ms for member in members}
    voters, _, outgoing, *_ = hosted.replica.members
    halves = [[hosted.node_of(replica) for replica in half] for half in (voters, outgoing)]
    reached_ms = quorum_time(walls, halves)
    clock = hosted.replica.clock
    return hosted.is_leader and clock.frozen and reached_ms is not None and reached_ms >= clock.last
