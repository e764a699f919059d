"""Idle groups sleep: no ticks, no heartbeats (INVARIANTS 23). That the nodes are in touch stands for it.

A leader that has had nothing to do goes to sleep and tells its followers where it stands; who stands there too goes to
sleep with it, and who does not will ask, which wakes the leader. A node that loses the link to another wakes what was
led from there, to elect another, and what is led here with members there, as it may be the one that was cut off.
"""

from collections.abc import Mapping

from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.wire.peer import Kind, pack_places, parse_places

DROWSY_TICKS = 40
"""Two seconds: a group that is used now and then stays awake."""
LOOK_MS = 500


class Sleep:
    """Owned by the node."""

    def __init__(self, consensus: Consensus, peering: Peering, vbuckets: Mapping[int, Hosted]) -> None:
        self._consensus, self._peering, self._vbuckets = consensus, peering, vbuckets
        self._looked_ms = 0
        self._up: frozenset[int] = frozenset()
        """The nodes that were in touch at the last look."""

    def hear(self, body: bytes) -> None:
        """Groups that their leader has put to sleep. Raises InvalidRequest."""
        self._consensus.sleep([place for place in parse_places(body) if place[0] in self._vbuckets])

    def after_turn(self, now: Now) -> None:
        """Now and then: wakes what has lost touch, and puts to sleep what is idle."""
        up = self._peering.linked_nodes
        if lost := self._up - up:
            self._wake(lost)
        self._up = up
        if now.monotonic_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = now.monotonic_ms
            self._put_to_sleep()

    def _wake(self, lost: frozenset[int]) -> None:
        followed, led = [], []
        for vbucket, hosted in self._vbuckets.items():
            if hosted.is_leader:
                if not lost.isdisjoint(hosted.other_nodes):
                    led.append(vbucket)
            elif hosted.leader_node in lost:
                followed.append(vbucket)
        self._consensus.wake(led)
        self._consensus.wake(followed, leader_is_lost=True)

    def _put_to_sleep(self) -> None:
        """Only with everybody in touch: who is away could not be told, and would ask as soon as it is back."""
        places: list[tuple[int, int, int]] = []
        by_node: dict[int, list[tuple[int, int, int]]] = {}
        for place in self._consensus.drowsy(DROWSY_TICKS):
            nodes = self._vbuckets[place[0]].other_nodes
            if nodes <= self._up:
                places.append(place)
                for node in nodes:
                    by_node.setdefault(node, []).append(place)
        self._consensus.sleep(places)
        for node, told in by_node.items():
            self._peering.tell(node, Kind.SLEEP, 0, pack_places(told))
