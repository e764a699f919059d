"""What a node says to its peers and hears from them in a turn, for all of its vBuckets together.

Parts for one node leave together, when consensus has spoken and at the end of the turn. What cannot be read is a peer's
bug or a newer release: it is counted and passed over, as a lost message would be.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from dkv.model.errors import InvalidRequest
from dkv.node.forwarding import Forwarding
from dkv.ports.clock import Now
from dkv.ports.edge import CallBatch
from dkv.ports.peers import Link, Peers
from dkv.services.turn import Turn
from dkv.wire.peer import Kind, Part, pack_all, parse, parse_number, parse_numbers, spans

LINKS_INTERVAL_MS = 20
"""Between two looks at the links: what waits for an answer over a broken one is told so late at most."""
REFUSED_MS = 3_000
"""A node that has just started or come is refused, too, until the others have heard of it."""


class IndexListener(Protocol):
    """Who asks, and is asked, up to where a read of a vBucket must see."""

    def asked_for_index(self, node: int, request_id: int) -> None:
        """A follower on `node` wants to know."""

    def told_index(self, request_id: int, index: int) -> None: ...
    def told_index_lost(self, request_id: int) -> None: ...


class Listener(Protocol):
    """One vBucket, as far as other nodes speak to it."""

    @property
    def reads(self) -> IndexListener: ...
    def step(self, node: int, message: bytes) -> None:
        """A message of Raft from a replica on `node`."""


Hear = Callable[[int, int, int, bytes, Now], None]
"""Takes in (node, kind, vBucket, body) of a part. Raises InvalidRequest."""

MEMBERSHIP_KINDS = frozenset((Kind.CHANGE, Kind.TRANSFER, Kind.NODES, Kind.REMOVED))
SNAPSHOT_KINDS = frozenset(
    (Kind.SNAPSHOT_OFFER, Kind.SNAPSHOT_CHUNK, Kind.SNAPSHOT_RECEIVED, Kind.SNAPSHOT_DONE, Kind.SNAPSHOT_WANTED)
)
STAGE_KINDS = frozenset(
    (Kind.STAGE_OFFER, Kind.STAGE_CHUNK, Kind.STAGE_RECEIVED, Kind.STAGE_DONE, Kind.STAGE_DROP, Kind.STAGE_HELD)
)


class Peering:
    """Owned by the node."""

    def __init__(self, peers: Peers, forwarding: Forwarding, methods: Mapping[str, int]) -> None:
        """`methods`: the numbers of what this node serves, by path."""
        self.peers: Peers = peers
        self.forwarding: Forwarding = forwarding
        self._methods = methods
        self._paths = {number: path for path, number in methods.items()}
        self._hear_of: dict[int, Hear] = {}
        """Who takes in parts of a kind, where it is not the vBucket."""
        self._outbox: dict[int, list[Part]] = {}
        self._links: Mapping[int, Link] = {}
        self._linked: frozenset[int] = frozenset()
        self._looked_ms = -LINKS_INTERVAL_MS
        self.is_refused: bool = False
        """For a while every other node that is known has taken no stream of ours, and said why."""
        self.unreadable: int = 0
        """Messages and parts that were passed over."""

    def listen(self, kinds: Iterable[int], hear: Hear) -> None:
        """Parts of these kinds are for `hear` from now on."""
        self._hear_of |= dict.fromkeys(kinds, hear)

    def receive(
        self, listener_of: Callable[[int], Listener | None], turn: Turn, now: Now
    ) -> list[tuple[int, CallBatch]]:
        """Takes in what the peers have said; returns the calls that they hand over to us, by vBucket."""
        calls: list[tuple[int, CallBatch]] = []
        for node, message in self.peers.receive():
            try:
                for kind, vbucket, body in parse(message):
                    if kind == Kind.ANSWERS:
                        self.forwarding.take_answers(node, body, turn)
                    elif (hear := self._hear_of.get(kind)) is not None:
                        hear(node, kind, vbucket, body, now)
                    elif (listener := listener_of(vbucket)) is None:
                        self.unreadable += 1
                    elif kind == Kind.CALLS:
                        taken = self.forwarding.take_calls(node, body, self._methods)
                        if isinstance(taken, bytes):
                            self.tell(node, Kind.ANSWERS, 0, taken)
                        else:
                            calls.append((vbucket, taken))
                    else:
                        self._hear(listener, node, kind, body)
            except InvalidRequest:
                self.unreadable += 1
        return calls

    def _hear(self, listener: Listener, node: int, kind: int, body: bytes) -> None:
        if kind == Kind.RAFT:
            listener.step(node, body)
        elif kind == Kind.READ_INDEX:
            listener.reads.asked_for_index(node, parse_number(body))
        elif kind == Kind.READ_INDEX_REPLY:
            listener.reads.told_index(*parse_numbers(body))
        elif kind == Kind.READ_INDEX_LOST:
            listener.reads.told_index_lost(parse_number(body))
        else:
            self.unreadable += 1

    def hand_over(self, node: int, vbucket: int, batch: CallBatch, now: Now) -> None:
        """`node` leads the vBucket: it answers these calls."""
        method, call_ids, messages = batch
        for span in spans(map(len, messages)):
            part = self.forwarding.hand_over(node, self._paths[method], call_ids[span], messages[span], now)
            self.tell(node, Kind.CALLS, vbucket, part)

    def tell(self, node: int, kind: Kind, vbucket: int, body: bytes) -> None:
        """To leave with the next `send`."""
        self._outbox.setdefault(node, []).append((kind, vbucket, body))

    @property
    def linked_nodes(self) -> frozenset[int]:
        """Those that were in touch a moment ago."""
        return self._linked

    def is_linked(self, node: int) -> bool:
        """Whether what is said to `node` now has a chance to arrive, as of a moment ago."""
        return node in self._linked

    def after_turn(self, turn: Turn, now: Now) -> None:
        """Looks at the links now and then; what waits for an answer that cannot come is told."""
        if now.monotonic_ms - self._looked_ms >= LINKS_INTERVAL_MS:
            self._looked_ms, self._links = now.monotonic_ms, self.peers.links()
            self._linked = frozenset(node for node, link in self._links.items() if link.is_up)
            self.is_refused = bool(self._links) and all(
                link.refusal and now.monotonic_ms - link.since_ms >= REFUSED_MS for link in self._links.values()
            )
            self.forwarding.give_up(turn, self._links, now)

    def divert(self, turn: Turn) -> None:
        """Answers to what other nodes have handed over are not for the edge."""
        for node, body in self.forwarding.split_answers(turn):
            self.tell(node, Kind.ANSWERS, 0, body)

    def send(self) -> None:
        """Everything said since the last time leaves."""
        if self._outbox:
            outbox, self._outbox = self._outbox, {}
            self.peers.send([(node, message) for node, parts in outbox.items() for message in pack_all(parts)])
