"""A simulated network edge: clients put calls in, the node takes them in batches that the seed chooses.

Calls of different clients have no order on a real network, so any subset may arrive in any order, and an attempt that
its client has given up may arrive after the next one. A caller who leaves is reported to the node once, and whatever
the node answers it later is ignored. To answer a call twice is a bug of the node and kept in `violations`.
"""

from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from dkv.ports.edge import CallBatch, Finish, HttpReply, Polled


class Reply(NamedTuple):
    """How one call ended, as its client sees it."""

    call_id: int
    code: int
    message: bytes
    """Of a unary success."""
    reason: str
    details: bytes
    at_ms: int
    items: list[bytes]
    """Of a stream: what its reader had not taken."""


@dataclass(slots=True)
class SimulatedEdge:
    """The `Edge` of one process life; call ids are unique in it."""

    rng: Random
    now_ms: int = 0
    """Set by the world before each turn; stamps the replies."""
    violations: list[str] = field(default_factory=list)
    _next_id: int = 1
    _waiting: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    """On the way: not handed to the node yet."""
    _open: set[int] = field(default_factory=set)
    """Handed to the node, not answered."""
    _left: list[int] = field(default_factory=list)
    _gone: set[int] = field(default_factory=set)
    _items: dict[int, list[bytes]] = field(default_factory=dict)
    _drained: list[tuple[int, int]] = field(default_factory=list)
    _replies: list[Reply] = field(default_factory=list)
    _accepting: bool = True

    def call(self, method: int, message: bytes) -> int:
        """A client sends; returns the id of the call."""
        call_id, self._next_id = self._next_id, self._next_id + 1
        self._waiting[call_id] = (method, message)
        return call_id

    def leave(self, call_id: int) -> None:
        """A client gives up waiting. What the node has not got may still arrive; the answer reaches nobody."""
        self._gone.add(call_id)
        if call_id in self._open:
            self._open.discard(call_id)
            self._left.append(call_id)

    def drop(self, call_id: int) -> bool:
        """The network loses a request. False: the node has it already."""
        return self._waiting.pop(call_id, None) is not None

    def take_replies(self) -> list[Reply]:
        """What reached the clients since the last call."""
        news, self._replies = self._replies, []
        return news

    def take_items(self, call_id: int) -> list[bytes]:
        """The reader of a stream takes what has come, before its end; the node hears that there is room."""
        items = self._items.pop(call_id, [])
        if items and call_id in self._open:
            self._drained.append((call_id, 0))
        return items

    def waiting(self) -> int:
        return len(self._waiting)

    def poll(self, timeout_ms: int, calls_max: int) -> Polled:
        """A random part of what waits, in random order, grouped by method."""
        arrived = list(self._waiting)
        self.rng.shuffle(arrived)
        count = min(self.rng.randint(0, len(arrived)), calls_max) if self._accepting else 0
        columns: dict[int, CallBatch] = {}
        for call_id in arrived[:count]:
            method, message = self._waiting.pop(call_id)
            _, ids, messages = columns.setdefault(method, (method, [], []))
            ids.append(call_id)
            messages.append(message)
            if call_id in self._gone:
                self._left.append(call_id)
            else:
                self._open.add(call_id)
        left, self._left = self._left, []
        drained, self._drained = self._drained, []
        return list(columns.values()), left, drained, []

    def emit(
        self,
        call_ids: list[int],
        messages: list[bytes],
        items: list[tuple[int, list[bytes]]],
        finished: list[Finish],
        http: list[HttpReply],
    ) -> None:
        if len(call_ids) != len(messages):
            self.violations.append(f"{len(call_ids)} calls answered with {len(messages)} messages")
        for call_id, new_items in items:
            self._items.setdefault(call_id, []).extend(new_items)
        for call_id, message in zip(call_ids, messages, strict=False):
            self._end(call_id, 0, message, "", b"")
        for call_id, code, reason, details, _ in finished:
            self._end(call_id, code, b"", reason, details)

    def stats(self) -> dict[str, object]:
        return {"inbox_calls": len(self._waiting)}

    def stop_accepting(self) -> None:
        self._accepting = False

    def open_calls(self) -> int:
        return len(self._open)

    def _end(self, call_id: int, code: int, message: bytes, reason: str, details: bytes) -> None:
        items = self._items.pop(call_id, [])
        if call_id in self._open:
            self._open.discard(call_id)
            self._replies.append(Reply(call_id, code, message, reason, details, self.now_ms, items))
        elif call_id not in self._gone:
            self.violations.append(f"call {call_id} was answered twice or never made")
