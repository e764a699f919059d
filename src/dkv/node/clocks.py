"""Clocks of other nodes, asked where a leader does not believe its own (INVARIANTS 7).

Nobody asks while nothing is in doubt, so idle nodes stay idle. A leader whose clock was far ahead of its log when it
began to lead, and who lets nothing expire since, asks the voters of the vBucket twice a second; once the clocks of a
majority, its own among them, have reached a time that the log has not passed, log time goes on from there. If its own
clock is further ahead than the others', theirs counts.

An answer names its question and comes within `ANSWER_MS_MAX` of it, by the monotonic clock; what an old one said counts
for no longer. It tells the time as of when it left, so delay makes it late and never early.
"""

from collections.abc import Mapping

from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now, Random
from dkv.vbucket.clock_quorum import quorum_time
from dkv.vbucket.log_time import JUMP_MS_MAX
from dkv.wire.peer import Kind, pack_number, pack_numbers, parse_number, parse_numbers

ASK_INTERVAL_MS = 500
ASK_AGAIN_INTERVAL_MS = 10_000
"""While this node's clock is wrong and nothing waits for it: until somebody has set it."""
ANSWER_MS_MAX = 2_000
KINDS = frozenset((Kind.CLOCK_ASKED, Kind.CLOCK_TOLD))


class Clocks:
    """Owned by the node. Listens at `peering`."""

    def __init__(self, peering: Peering, vbuckets: Mapping[int, Hosted], random: Random) -> None:
        self._peering, self._vbuckets, self._random = peering, vbuckets, random
        self._looked_ms = 0
        self._asked_ms = -ASK_AGAIN_INTERVAL_MS
        self._question = 0
        self._asked: set[int] = set()
        self._offsets: dict[int, int] = {}
        """What each node's wall clock was ahead of this monotonic one, as told since the last question."""
        self._groups: list[Hosted] = []
        """What was asked for."""
        self.ahead_ms: int = 0
        """How far this node's clock is ahead of a majority's, as of the last answers."""
        peering.listen(KINDS, self.hear)

    @property
    def is_own_wrong(self) -> bool:
        """An operator has to set this node's clock."""
        return self.ahead_ms > JUMP_MS_MAX

    def hear(self, node: int, kind: int, _vbucket: int, body: bytes, now: Now) -> None:
        """Raises InvalidRequest."""
        if kind == Kind.CLOCK_ASKED:
            self._peering.tell(node, Kind.CLOCK_TOLD, 0, pack_numbers(parse_number(body), now.wall_ms))
            return
        question, wall_ms = parse_numbers(body)
        if question == self._question and now.monotonic_ms - self._asked_ms <= ANSWER_MS_MAX:
            self._offsets[node] = wall_ms - now.monotonic_ms
            if self._asked <= self._offsets.keys():
                self._decide(now)

    def after_turn(self, now: Now) -> None:
        """Now and then: asks, where there is a doubt."""
        if now.monotonic_ms - self._looked_ms < ASK_INTERVAL_MS:
            return
        self._looked_ms = now.monotonic_ms
        self._decide(now)
        doubtful = [each for each in self._vbuckets.values() if each.is_leader and each.replica.clock.frozen]
        is_time = now.monotonic_ms - self._asked_ms >= ASK_AGAIN_INTERVAL_MS
        if doubtful or (self.is_own_wrong and is_time):
            self._ask(doubtful or list(self._vbuckets.values())[:1], now)

    def _ask(self, groups: list[Hosted], now: Now) -> None:
        self._groups, self._asked_ms, self._offsets = groups, now.monotonic_ms, {}
        self._question = int.from_bytes(self._random.bytes(8), "big")
        self._asked = set().union(*(each.other_nodes for each in groups))
        for node in self._asked:
            self._peering.tell(node, Kind.CLOCK_ASKED, 0, pack_number(self._question))

    def _decide(self, now: Now) -> None:
        """When all have answered, or have had their time: the first answer may be the one that is wrong."""
        clocks = {node: now.monotonic_ms + offset for node, offset in self._offsets.items()}
        for hosted in self._groups:
            voters, _, outgoing, *_ = hosted.replica.members
            own = {hosted.node_of(hosted.replica.replica): now.wall_ms}
            halves = [[hosted.node_of(replica) for replica in half] for half in (voters, outgoing)]
            reached_ms = quorum_time(clocks | own, halves)
            if reached_ms is None:
                continue
            self.ahead_ms = max(0, now.wall_ms - reached_ms)
            clock = hosted.replica.clock
            if clock.frozen and hosted.is_leader and reached_ms >= clock.last:
                clock.confirm(Now(reached_ms, now.monotonic_ms))
        self._groups = []
