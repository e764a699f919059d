"""The network between simulated machines: the `Peers` of every node, moved by the schedule and by a seed.

What it promises is what the port promises, and no more. A message may be lost. Two messages of one lane do not overtake
each other while their stream lives. When a stream breaks, what was on it is lost, or arrives later, in any order, even
behind what the next stream brings: a connection that one end takes for dead may still be read at the other.

One thing happens here that the port excludes: what only Raft and read indexes say may arrive twice, as they have to
stand it. A call that was handed over twice would be two calls.

Time here is the true one, which no machine knows. A cut stops a direction: what is sent meanwhile waits, up to a bound,
and the stream breaks at some point. The end of a process loses what it had not sent and what it had not taken.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from dkv.edge import Relay
from dkv.ports.clock import Clock
from dkv.ports.peers import Link
from dkv.testing.partitions import Cuts
from dkv.wire.peer import Kind, parse

SMALL, BULK = 0, 1
QUEUE_BYTES_MAX = 64 << 10
"""Small messages that wait for one node; the oldest go first."""
BULK_BYTES_MAX = 16 << 10
BULK_BYTES_PER_MS = 64
"""Slow enough that a snapshot of a simulated vBucket is under way for a while."""
LINK_NOTICE_MS = 300
"""How long it takes until a node knows that a link is gone, or is back."""
STRAY_DELAY_MS_MAX = 5_000
NO_CUTS: Cuts = frozenset()


class Weather(NamedTuple):
    """What the network does to messages between nodes that reach each other."""

    loss: float = 0.0
    delay_ms_max: int = 3
    arrives_late: float = 0.2
    """Of what is on a stream that breaks: how much of it arrives nevertheless."""
    arrives_twice: float = 0.0
    """Of that: how much arrives once more."""


CALM = Weather()


class Packet(NamedTuple):
    """One message on its way."""

    due_ms: int
    message: bytes


class Stray(NamedTuple):
    """A message of a stream that broke."""

    due_ms: int
    sender: int
    receiver: int
    message: bytes


Lane = tuple[int, int, int]
"""(sender, receiver, SMALL or BULK)"""


@dataclass(slots=True)
class Network:
    """Owned by the world. Nodes are node ids."""

    rng: Random
    now_ms: int = 0
    weather: Weather = CALM
    cuts: Cuts = NO_CUTS
    delivered: int = 0
    lost: int = 0
    _lanes: dict[Lane, deque[Packet]] = field(default_factory=dict)
    _strays: list[Stray] = field(default_factory=list)
    _alive: dict[int, "SimulatedPeers"] = field(default_factory=dict)
    _silent: set[int] = field(default_factory=set)

    def attach(self, node: int, clock: Clock) -> "SimulatedPeers":
        """A process of `node` begins."""
        self._alive[node] = peers = SimulatedPeers(self, node, clock)
        return peers

    def detach(self, node: int) -> None:
        """The process of `node` is over. Streams from and to it break; what is sent to it from now on waits."""
        self._alive.pop(node, None)
        self._silent.discard(node)
        for lane in list(self._lanes):
            if node in lane[:2]:
                self._break(lane)

    def pause(self, node: int, is_paused: bool) -> None:
        """The process takes no turns: others do not hear of it."""
        if is_paused:
            self._silent.add(node)
        else:
            self._silent.discard(node)

    def cut(self, cuts: Cuts) -> None:
        """From now on exactly these directions are cut. Some of the streams that wait behind a cut break."""
        for lane in list(self._lanes):
            if (lane[:2] in self.cuts) is not (lane[:2] in cuts) and self.rng.random() < 0.5:
                self._break(lane)
        self.cuts = cuts

    def break_stream(self) -> None:
        """One stream breaks, and is opened again at once."""
        if self._lanes:
            self._break(self.rng.choice(list(self._lanes)))

    def reaches(self, sender: int, receiver: int) -> bool:
        return (sender, receiver) not in self.cuts

    def is_linked(self, one: int, other: int) -> bool:
        """Both live, and each hears the other."""
        heard = {one, other} <= self._alive.keys() and not {one, other} & self._silent
        return heard and self.reaches(one, other) and self.reaches(other, one)

    def put(self, lane: Lane, message: bytes) -> None:
        """A message leaves, if it is not lost at once."""
        if self.rng.random() < self.weather.loss:
            self.lost += 1
            return
        queue = self._lanes.setdefault(lane, deque())
        free_ms = max(queue[-1].due_ms if queue else 0, self.now_ms)
        if lane[2] == BULK:
            free_ms += len(message) // BULK_BYTES_PER_MS
        queue.append(Packet(max(free_ms, self.now_ms + self.rng.randint(0, self.weather.delay_ms_max)), message))
        if lane[2] == SMALL and self.queued_bytes(lane) > QUEUE_BYTES_MAX:
            queue.popleft()
            self.lost += 1

    def take(self, receiver: int) -> list[tuple[int, bytes]]:
        """(sender, message) of what has arrived: each lane in its order, the lanes one behind the other in any."""
        arrived = list(self._strays_of(receiver))
        lanes = [lane for lane in self._lanes if lane[1] == receiver and lane[:2] not in self.cuts]
        self.rng.shuffle(lanes)
        for lane in lanes:
            queue = self._lanes[lane]
            while queue and queue[0].due_ms <= self.now_ms:
                arrived.append((lane[0], queue.popleft().message))
            if not queue:
                del self._lanes[lane]
        self.delivered += len(arrived)
        return arrived

    def queued_bytes(self, lane: Lane) -> int:
        return sum(len(packet.message) for packet in self._lanes.get(lane, ()))

    def _strays_of(self, receiver: int) -> Iterator[tuple[int, bytes]]:
        if not self._strays:
            return
        due = [s for s in self._strays if s.receiver == receiver and s.due_ms <= self.now_ms]
        self._strays = [s for s in self._strays if s.receiver != receiver or s.due_ms > self.now_ms]
        for stray in due:
            if self.reaches(stray.sender, receiver):
                yield stray.sender, stray.message
            else:
                self.lost += 1

    def _break(self, lane: Lane) -> None:
        """Of what is on a stream some arrives late, some of that once more, and the rest never."""
        for packet in self._lanes.pop(lane):
            if self.rng.random() >= self.weather.arrives_late:
                self.lost += 1
                continue
            is_twice = self.rng.random() < self.weather.arrives_twice and not _has_calls(packet.message)
            for _ in range(1 + is_twice):
                due_ms = self.now_ms + self.rng.randint(0, STRAY_DELAY_MS_MAX)
                self._strays.append(Stray(due_ms, *lane[:2], packet.message))


def _has_calls(message: bytes) -> bool:
    return any(kind == Kind.CALLS for kind, _, _ in parse(message))


@dataclass(slots=True)
class _Known:
    """What one node believes of its link to another."""

    address: str
    link: Link
    was_linked: bool = False
    changed_ms: int = 0
    """True time."""


class SimulatedPeers:
    """The `Peers` of one process."""

    def __init__(self, network: Network, node: int, clock: Clock) -> None:
        self._network, self._node, self._clock = network, node, clock
        self._known: dict[int, _Known] = {}
        self._relay: Relay | None = None

    def know(self, node: int, address: str) -> None:
        if node in self._known:
            self._known[node].address = address
        else:
            down = Link(False, self._clock.now().monotonic_ms, "", 0)
            self._known[node] = _Known(address, down, changed_ms=self._network.now_ms)

    def forget(self, node: int) -> None:
        self._known.pop(node, None)

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        for node, message in messages:
            if node in self._known:
                self._network.put((self._node, node, SMALL), message)

    def send_bulk(self, node: int, message: bytes) -> bool:
        lane = self._node, node, BULK
        if node not in self._known or self._network.queued_bytes(lane) + len(message) > BULK_BYTES_MAX:
            return False
        self._network.put(lane, message)
        return True

    def speak_through(self, relay: Relay) -> None:
        """It hears and speaks from now on, as where the links are native; the node is told what is left for it."""
        self._relay = relay
        relay.link(SimulatedLinks(self, self._clock))

    def receive(self) -> list[tuple[int, bytes]]:
        return self.arrived() if self._relay is None else self._relay.receive()

    def arrived(self) -> list[tuple[int, bytes]]:
        """All there is."""
        for node, known in self._known.items():
            self._look(node, known)
        return [each for each in self._network.take(self._node) if each[0] in self._known]

    def links(self) -> dict[int, Link]:
        return {node: known.link for node, known in self._known.items()}

    def _look(self, node: int, known: _Known) -> None:
        """A change that has lasted for long enough is noticed."""
        network = self._network
        is_linked = network.is_linked(self._node, node)
        if is_linked is not known.was_linked:
            known.was_linked, known.changed_ms = is_linked, network.now_ms
        since_ms = known.link.since_ms
        if is_linked is not known.link.is_up and network.now_ms - known.changed_ms >= LINK_NOTICE_MS:
            is_up, since_ms = is_linked, self._clock.now().monotonic_ms
        else:
            is_up = known.link.is_up
        known.link = Link(is_up, since_ms, "", network.queued_bytes((self._node, node, SMALL)))


class SimulatedLinks:
    """The network and the time of one process, as its relay sees them."""

    def __init__(self, peers: SimulatedPeers, clock: Clock) -> None:
        self._peers, self._clock = peers, clock

    def receive(self) -> list[tuple[int, bytes]]:
        return self._peers.arrived()

    def send(self, messages: Sequence[tuple[int, bytes]]) -> None:
        self._peers.send(messages)

    def now_ms(self) -> int:
        return self._clock.now().monotonic_ms
