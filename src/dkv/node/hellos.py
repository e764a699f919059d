"""Hello on the network, for a node that has no charter yet: it asks and answers until the next step is more than that.

Nothing waits longer than a moment: a signal ends it, and whoever calls is answered. Other calls than Hello are told to
come back later. The edge numbers methods as `dkv.wire.methods` does.
"""

import socket
from collections.abc import Callable, Sequence

from dkv.cluster.formation import Adopt, AskToJoin, Form, Formation
from dkv.model.errors import BadReply, Code, DkvError, Unavailable
from dkv.ports.calls import Caller, Connect
from dkv.ports.clock import Clock
from dkv.ports.edge import CallBatch, Edge, Finish
from dkv.services.standing import hello_request, hello_response, standing_of_request, standing_of_response
from dkv.wire import messages as wire
from dkv.wire import methods

WAIT_MS = 20
HELLO_INTERVAL_MS = 200
HELLO_TIMEOUT_MS = 1_000
JOIN_TIMEOUT_MS = 30_000
QUIET_MS, TELL_INTERVAL_MS = 1_000, 10_000
"""Nodes that are started together find each other sooner than it is told that one is missing."""
CALLS_MAX = 1_024
NOT_SERVING = wire.HealthCheckResponse(status=wire.HealthCheckResponse.NOT_SERVING).SerializeToString()
NOT_YET = Unavailable("this node does not belong to its cluster yet, try again")


class Hellos:
    """Owns the connections of this time; `close` lets go of them. The edge is closed by who made it."""

    def __init__(
        self, formation: Formation, edge: Edge, connect: Connect, clock: Clock, tell: Callable[[str], None]
    ) -> None:
        """`tell` is told whom it waits for."""
        self._formation, self._edge, self._connect = formation, edge, connect
        self._clock, self._tell = clock, tell
        self._heard, self._bell = socket.socketpair()
        self._heard.setblocking(False)
        self._bell.setblocking(False)
        self._clients: dict[str, Caller] = {}
        self._hellos: dict[tuple[str, int], int] = {}
        """(address, call id) of those under way -> the epoch they were sent in."""
        self._joins: set[tuple[str, int]] = set()
        self._last_id = 0
        self._next_ms = self._told_ms = clock.now().monotonic_ms
        self._told: set[str] = set()
        self._refusals: dict[str, str] = {}
        """Why a member did not add this node, by address."""

    def turn(self) -> Form | Adopt | None:
        """One round; the step that ends all this, once there is one. Raises ClusterRefused."""
        calls, *_ = self._edge.poll(WAIT_MS, CALLS_MAX)
        self._answer(calls)
        if self._clock.now().monotonic_ms >= self._next_ms:
            self._next_ms = self._clock.now().monotonic_ms + HELLO_INTERVAL_MS
            self._say_hello()
        self._take()
        step = self._formation.next_step()
        if isinstance(step, Form | Adopt):
            return step
        missing = step.missing
        if isinstance(step, AskToJoin):
            self._ask_to_join(step.address)
            missing = missing | {step.address: self._refusals.get(step.address, "is asked to add this node")}
        self._tell_missing(missing)
        return None

    def _answer(self, calls: Sequence[CallBatch]) -> None:
        ids: list[int] = []
        replies: list[bytes] = []
        refused: list[Finish] = []
        for method, call_ids, messages in calls:
            if method == methods.HEALTH_CHECK:
                ids += call_ids
                replies += [NOT_SERVING] * len(call_ids)
                continue
            for call_id, message in zip(call_ids, messages, strict=True):
                try:
                    if method != methods.HELLO:
                        raise NOT_YET
                    answer = self._formation.hello(standing_of_request(message))
                except DkvError as refusal:
                    refused.append((call_id, int(refusal.code), str(refusal), b"", -1))
                else:
                    ids.append(call_id)
                    replies.append(hello_response(answer).SerializeToString())
        if ids or refused:
            self._edge.emit(ids, replies, [], refused, [])

    def _say_hello(self) -> None:
        message = hello_request(self._formation.own).SerializeToString()
        under_way = {address for address, _ in self._hellos}
        for address in self._formation.asked:
            if address not in under_way:
                sent = self._send(address, methods.HELLO_PATH, message, HELLO_TIMEOUT_MS)
                self._hellos[sent] = self._formation.epoch

    def _ask_to_join(self, address: str) -> None:
        if not self._joins:
            own = self._formation.own
            request = wire.JoinRequest(node=own.node, address=own.address, url=own.url)
            self._joins.add(self._send(address, methods.JOIN_PATH, request.SerializeToString(), JOIN_TIMEOUT_MS))

    def _send(self, address: str, path: str, message: bytes, timeout_ms: int) -> tuple[str, int]:
        if address not in self._clients:
            self._clients[address] = self._connect(address, self._bell.fileno())
        self._last_id += 1
        self._clients[address].send([(self._last_id, path, message, timeout_ms)])
        return address, self._last_id

    def _take(self) -> None:
        """What has come back."""
        try:
            self._heard.recv(CALLS_MAX)
        except BlockingIOError:
            return
        for address, client in self._clients.items():
            ids, replies, failures, _ = client.take()
            for call_id, reply in zip(ids, replies, strict=True):
                self._came_back(address, call_id, reply)
            for call_id, code, text, _, _ in failures:
                self._failed(address, call_id, code, text)

    def _came_back(self, address: str, call_id: int, reply: bytes) -> None:
        epoch = self._hellos.pop((address, call_id), None)
        if epoch is None:
            self._joins.discard((address, call_id))
            self._refusals.pop(address, None)
            return
        try:
            self._formation.answered(address, standing_of_response(reply), epoch)
        except BadReply as damage:
            self._formation.failed(address, str(damage))

    def _failed(self, address: str, call_id: int, code: int, text: str) -> None:
        if self._hellos.pop((address, call_id), None) is None:
            self._joins.discard((address, call_id))
            self._refusals[address] = text
        else:
            is_other = code == Code.UNIMPLEMENTED
            self._formation.failed(address, "was started without a cluster" if is_other else text)

    def _tell_missing(self, missing: dict[str, str]) -> None:
        """At most once in a while, and sooner when it is news."""
        now_ms = self._clock.now().monotonic_ms
        pause_ms = TELL_INTERVAL_MS if missing.keys() == self._told else QUIET_MS
        if now_ms >= self._told_ms + pause_ms:
            self._told, self._told_ms = set(missing), now_ms
            whom = ", ".join(f"{address} ({reason})" for address, reason in sorted(missing.items()))
            self._tell(f"dkvsrv waits for its cluster: {whom}")

    def close(self) -> None:
        """Idempotent."""
        for client in self._clients.values():
            client.close()
        self._heard.close()
        self._bell.close()
