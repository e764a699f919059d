"""A process of a node that has no charter yet: the real hellos, on simulated lines, until there is one in the engine.

What `dkv.server.forming` does around them is done here with the same functions.
"""

from typing import NamedTuple

from dkv.cluster.formation import Adopt, Form, Formation, Standing, Way
from dkv.model.node_urls import url_of
from dkv.node.founding import draw_charter, found, history_here
from dkv.node.hellos import Hellos
from dkv.ports.clock import Clock, Random
from dkv.storage.memory import MemoryStore
from dkv.testing.cluster.lines import Line, Lines
from dkv.testing.edge import SimulatedEdge
from dkv.wire.methods import METHODS

METHOD_OF = {path: number for number, (path, _) in enumerate(METHODS)}
NAME = "simulated"


def address_of(number: int) -> str:
    """Where a machine is reached."""
    return f"n{number}:1"


def number_of(address: str) -> int:
    return int(address[1:].partition(":")[0])


class Wish(NamedTuple):
    """How a machine was started."""

    way: Way
    others: tuple[int, ...]
    """The machines that it is told."""
    vbuckets: int


class Newcomer:
    """One process."""

    def __init__(
        self,
        number: int,
        node_id: int,
        wish: Wish,
        *,
        store: MemoryStore,
        lines: Lines,
        edge: SimulatedEdge,
        clock: Clock,
        random: Random,
    ) -> None:
        self.edge: SimulatedEdge = edge
        self.wish: Wish = wish
        self._node_id, self._store, self._clock, self._random = node_id, store, clock, random
        own, asked = address_of(number), tuple(map(address_of, wish.others))
        first = tuple(sorted((own, *asked))) if wish.way is Way.FORM else ()
        name = NAME if wish.way is Way.FORM else ""
        standing = Standing(node_id, own, url_of(own), name, first, wish.vbuckets)
        self._formation = Formation(standing, wish.way, asked)
        self._lines: list[Line] = []

        def connect(address: str, bell: int) -> Line:
            self._lines.append(Line(lines, number, number_of(address), bell))
            return self._lines[-1]

        self.told: list[str] = []
        self._hellos = Hellos(self._formation, edge, connect, clock, self.told.append)

    def turn(self) -> bool:
        """One round. True: it belongs to its cluster from now on. Raises ClusterRefused or StorageFailed."""
        for line in self._lines:
            line.ring()
        step = self._hellos.turn() if self._formation.asked else self._formation.next_step()
        if step is None:
            return False
        if isinstance(step, Adopt):
            found(step.charter, self._node_id, self._store, step.replicas, step.contacts)
            return True
        assert isinstance(step, Form)
        own, history_id = self._formation.own, history_here(self._store)
        charter = draw_charter(step.members, own.name, own.vbuckets, history_id, self._clock, self._random)
        found(charter, self._node_id, self._store, {})
        return True

    def close(self) -> None:
        self._hellos.close()
