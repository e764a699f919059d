"""Unary calls between simulated machines, as a node without a charter makes them: Hello and Join.

They go over the network of the peers: what is cut there is cut here, and what is slow there is slow here. A call is
answered once, or its time is over, or its connection broke because a process ended.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dkv.model.errors import Code
from dkv.ports.calls import Failure
from dkv.testing.network import Network

CONNECT_MS = 1


class Answer(NamedTuple):
    """How a call ended."""

    due_ms: int
    code: int
    message: bytes
    text: str


@dataclass(slots=True)
class Request:
    """One call. Machines are their numbers."""

    call_id: int
    sender: int
    receiver: int
    path: str
    message: bytes
    due_ms: int
    deadline_ms: int
    is_handed: bool = False
    answer: Answer | None = None


@dataclass(slots=True)
class Lines:
    """Owned by the world."""

    network: Network
    reaches: Callable[[int, int], bool]
    """Whether what one machine sends gets to the other."""
    is_there: Callable[[int], bool]
    """Whether a process listens on a machine."""
    _requests: list[Request] = field(default_factory=list)

    def send(self, sender: int, receiver: int, call: tuple[int, str, bytes, int]) -> None:
        call_id, path, message, timeout_ms = call
        now_ms, network = self.network.now_ms, self.network
        if network.rng.random() < network.weather.loss:
            due_ms = now_ms + timeout_ms
        else:
            due_ms = now_ms + CONNECT_MS + self._delay()
        self._requests.append(Request(call_id, sender, receiver, path, message, due_ms, now_ms + timeout_ms))

    def arrived(self, receiver: int) -> list[Request]:
        """What the process there has not seen yet."""
        now_ms = self.network.now_ms
        arrived = [
            request
            for request in self._requests
            if request.receiver == receiver and not request.is_handed and request.due_ms <= now_ms
            if self.reaches(request.sender, receiver)
        ]
        for request in arrived:
            request.is_handed = True
        return arrived

    def answered(self, request: Request, code: int, message: bytes, text: str) -> None:
        request.answer = Answer(self.network.now_ms + self._delay(), code, message, text)

    def ended(self, number: int) -> None:
        """The process there is over: what it asked is of no interest any more, and what it was asked has failed."""
        self._requests = [request for request in self._requests if request.sender != number]
        for request in self._requests:
            if request.receiver == number and request.is_handed and request.answer is None:
                self.answered(request, Code.UNAVAILABLE, b"", "the connection broke")

    def news(self, sender: int, receiver: int) -> list[Request]:
        """Calls that have ended; they stay."""
        now_ms = self.network.now_ms
        found: list[Request] = []
        for request in self._requests:
            if (request.sender, request.receiver) != (sender, receiver):
                continue
            if request.answer is None and now_ms >= request.deadline_ms:
                request.answer = Answer(now_ms, Code.DEADLINE_EXCEEDED, b"", "deadline exceeded")
            elif request.answer is None and not request.is_handed and not self.is_there(receiver):
                request.answer = Answer(now_ms, Code.UNAVAILABLE, b"", "connection refused")
            if request.answer is not None and request.answer.due_ms <= now_ms:
                is_told = now_ms >= request.deadline_ms or self.reaches(receiver, sender)
                found += [request] if is_told else []
        return found

    def take(self, sender: int, receiver: int) -> list[Request]:
        taken = self.news(sender, receiver)
        self._requests = [request for request in self._requests if request not in taken]
        return taken

    def _delay(self) -> int:
        return self.network.rng.randint(0, self.network.weather.delay_ms_max)


class Line:
    """The `Caller` of one machine to another."""

    def __init__(self, lines: Lines, sender: int, receiver: int, bell: int) -> None:
        self._lines, self._sender, self._receiver, self._bell = lines, sender, receiver, bell

    def send(self, calls: Sequence[tuple[int, str, bytes, int]]) -> None:
        for call in calls:
            self._lines.send(self._sender, self._receiver, call)

    def ring(self) -> None:
        """Tell the owner if something has ended."""
        if self._lines.news(self._sender, self._receiver):
            os.write(self._bell, b"!")

    def take(self) -> tuple[list[int], list[bytes], list[Failure], list[int]]:
        ids: list[int] = []
        replies: list[bytes] = []
        failures: list[Failure] = []
        for request in self._lines.take(self._sender, self._receiver):
            answer = request.answer
            assert answer is not None
            if answer.code == Code.OK:
                ids.append(request.call_id)
                replies.append(answer.message)
            else:
                failures.append((request.call_id, answer.code, answer.text, b"", 0))
        return ids, replies, failures, []

    def close(self) -> None:
        """Nobody is left to hear of what was asked; `Lines.ended` forgets it."""
