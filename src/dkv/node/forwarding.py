"""Calls that the leader answers for us, and calls of other nodes that we answer as the leader.

A call travels as its client sent it and its reply comes back as the client gets it, so the leader's clock, limits and
texts count wherever a client is connected. Here a call of another node has a negative id; nothing else tells it from
a client's until its answer leaves. One hop: what was handed over to a node that does not lead is refused there.

Nobody knows what became of a write whose answer does not come: a broken link or the time-out is OutcomeUnknown.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dkv.model.errors import Code, OutcomeUnknown
from dkv.ports.clock import Now
from dkv.ports.edge import CallBatch
from dkv.ports.peers import Link
from dkv.services.calls import fail
from dkv.services.turn import Turn
from dkv.wire.peer import Answer, pack_answers, pack_calls, parse_answers, parse_calls, spans


class HandedOver(NamedTuple):
    """A call that another node was asked to answer."""

    call_id: int
    node: int
    sent_ms: int


class Taken(NamedTuple):
    """Whose call it is that we answer."""

    node: int
    number: int


class Forwarding:
    """Owns the calls between two nodes. One thread calls it."""

    def __init__(self, first_number: int, timeout_ms: int) -> None:
        """`first_number` is random: answers to another life of this node must not be taken for answers to this one."""
        self._first_number = self._number = first_number >> 1
        self._timeout_ms = timeout_ms
        self._handed_over: dict[int, HandedOver] = {}
        self._taken: dict[int, Taken] = {}
        self._last_id = 0

    @property
    def handed_over_count(self) -> int:
        return len(self._handed_over)

    @property
    def handed_over_ever(self) -> int:
        return self._number - self._first_number

    @property
    def taken_count(self) -> int:
        return len(self._taken)

    @property
    def taken_ever(self) -> int:
        return -self._last_id

    def hand_over(self, node: int, path: str, call_ids: Sequence[int], messages: Sequence[bytes], now: Now) -> bytes:
        """The part that asks `node` to answer these calls."""
        first = self._number
        self._number += len(call_ids)
        for number, call_id in enumerate(call_ids, first):
            self._handed_over[number] = HandedOver(call_id, node, now.monotonic_ms)
        return pack_calls(path, first, messages)

    def take_answers(self, node: int, body: bytes, turn: Turn) -> None:
        """What the leader has answered. Raises InvalidRequest."""
        for number, code, retry_after_ms, reason, payload in parse_answers(body):
            asked = self._handed_over.get(number)
            if asked is None or asked.node != node:
                continue  # it came too late
            del self._handed_over[number]
            if code:
                turn.finished.append((asked.call_id, code, reason.decode(errors="replace"), payload, retry_after_ms))
            else:
                turn.reply_ids.append(asked.call_id)
                turn.replies.append(payload)

    def take_calls(self, node: int, body: bytes, methods: Mapping[str, int]) -> CallBatch | bytes:
        """Calls that `node` hands over; or, of a method that is not served here, the answers. Raises InvalidRequest."""
        path, first, messages = parse_calls(body)
        if path not in methods:
            text = f"the leader does not serve {path}".encode()
            return pack_answers(
                Answer(number, int(Code.UNIMPLEMENTED), -1, text, b"") for number in range(first, first + len(messages))
            )
        call_ids = []
        for number in range(first, first + len(messages)):
            self._last_id -= 1
            self._taken[self._last_id] = Taken(node, number)
            call_ids.append(self._last_id)
        return methods[path], call_ids, messages

    def split_answers(self, turn: Turn) -> list[tuple[int, bytes]]:
        """Takes the answers to other nodes' calls out of the turn: (node, part)."""
        if not self._taken:
            return []
        by_node: dict[int, list[Answer]] = {}
        if min(turn.reply_ids, default=0) < 0:
            replies = list(zip(turn.reply_ids, turn.replies, strict=True))
            turn.reply_ids = [call_id for call_id, _ in replies if call_id >= 0]
            turn.replies = [reply for call_id, reply in replies if call_id >= 0]
            for call_id, reply in replies:
                if call_id < 0 and (taken := self._taken.pop(call_id, None)):
                    by_node.setdefault(taken.node, []).append(Answer(taken.number, 0, -1, b"", reply))
        if any(finish[0] < 0 for finish in turn.finished):
            for call_id, code, reason, details, retry_after_ms in turn.finished:
                if call_id < 0 and (taken := self._taken.pop(call_id, None)):
                    answer = Answer(taken.number, code, retry_after_ms, reason.encode(), details)
                    by_node.setdefault(taken.node, []).append(answer)
            turn.finished = [finish for finish in turn.finished if finish[0] >= 0]
        return [
            (node, pack_answers(answers[span]))
            for node, answers in by_node.items()
            for span in spans(len(each.payload) for each in answers)
        ]

    def forget(self, closed: Iterable[int]) -> None:
        """These callers have gone: their answers reach nobody."""
        if self._handed_over:
            gone = set(closed)
            for number in [number for number, each in self._handed_over.items() if each.call_id in gone]:
                del self._handed_over[number]

    def give_up(self, turn: Turn, links: Mapping[int, Link], now: Now) -> None:
        """Answers those whose answer cannot come any more, or has not come for long."""
        for number, each in list(self._handed_over.items()):
            link = links.get(each.node)
            if link is None or not link.is_up or link.since_ms > each.sent_ms:
                text = "the link to the leader broke, the write may have been applied"
            elif now.monotonic_ms - each.sent_ms >= self._timeout_ms:
                text = "context deadline exceeded"
            else:
                continue
            del self._handed_over[number]
            fail(turn, each.call_id, OutcomeUnknown(text))
