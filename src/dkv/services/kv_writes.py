"""Put, Delete, MultiPut, CompareAndSet and DeleteRange: requests to commands, outcomes to replies.

A batch of plain puts, by far the most common, is parsed and answered without a protobuf object.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from dkv.model.commands import Command, CompareAndSet, Delete, DeleteRange, MultiPut, Outcome, Put, Session
from dkv.model.errors import InvalidRequest, LimitExceeded, SessionUnknown
from dkv.model.limits import Limits
from dkv.services.calls import fail, parse_each
from dkv.services.checks import (
    check_acknowledgement,
    check_any_acknowledgement,
    check_key,
    check_payload,
    check_session,
    check_value,
    expires_at,
)
from dkv.services.turn import PutReplies, Turn
from dkv.wire import messages as wire
from dkv.wire.kv import (
    PLAIN_BYTES_MAX,
    STATUS_OK,
    cas_reply,
    change_token,
    plain_put,
    plain_put_in_session,
    put_replies,
)
from dkv.wire.messages import Acknowledgement

PLAIN_KEY_BYTES_MAX = 127
CHANGE_NUMBER_OF: Callable[[Outcome], int] = attrgetter("change_number")
ERROR_OF: Callable[[Outcome], str] = attrgetter("error")
_new = tuple.__new__


class Asked(NamedTuple):
    """What a request wants done, and who has it on disk before it is answered."""

    command: Command
    acknowledgement: int


class AskedMultiPut(NamedTuple):
    """The same of a MultiPut."""

    command: MultiPut
    acknowledgement: int


class KvWrites:
    """Stateless but for its limits. Never raises for what a caller sent."""

    def __init__(self, limits: Limits, *, has_fast_writes: bool = False) -> None:
        """`has_fast_writes`: who asks for it is answered before anybody has the write."""
        self._limits, self._has_fast_writes = limits, has_fast_writes
        allowed = min(limits.value_bytes_max, limits.request_bytes_max, PLAIN_BYTES_MAX)
        self._plain_bytes_max = allowed if limits.key_bytes_max >= PLAIN_KEY_BYTES_MAX else 0

    def put(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """PutRequest."""
        commands = _plain_puts(messages) if max(map(len, messages), default=0) <= self._plain_bytes_max else None
        if commands is None:
            self._ask(self._parse_put, answer_puts, call_ids, messages, turn)
            return
        turn.commands += commands
        turn.command_calls += call_ids
        turn.command_answers += [answer_puts] * len(commands)

    def delete(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """DeleteRequest."""
        self._ask(self._parse_delete, answer_puts, call_ids, messages, turn)

    def compare_and_set(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """CompareAndSetRequest."""
        self._ask(self._parse_compare_and_set, answer_compare_and_sets, call_ids, messages, turn)

    def delete_range(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """dkv.v1 DeleteRangeRequest."""
        self._ask(self._parse_delete_range, answer_puts, call_ids, messages, turn)

    def multi_put(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """MultiPutRequest. An empty list is well, and takes no change number."""
        ids, asked = parse_each(lambda each: self._parse_multi_put(each, turn.log_time), call_ids, messages, turn)
        calls = list(zip(ids, asked, strict=True))
        empty = [call_id for call_id, each in calls if not each.command.puts]
        turn.reply_ids += empty
        turn.replies += [STATUS_OK] * len(empty)
        _add(turn, [(call_id, each) for call_id, each in calls if each.command.puts], answer_puts)

    @staticmethod
    def _ask(
        parse: Callable[[bytes, int], Asked],
        answer: PutReplies,
        call_ids: Sequence[int],
        messages: Sequence[bytes],
        turn: Turn,
    ) -> None:
        ids, asked = parse_each(lambda message: parse(message, turn.log_time), call_ids, messages, turn)
        _add(turn, list(zip(ids, asked, strict=True)), answer)

    def _parse_put(self, message: bytes, log_time: int) -> Asked:
        request = wire.PutRequest.FromString(message)
        put = self._put(request, log_time)._replace(session=check_session(request))
        check_payload(len(put.value), self._limits)  # without the key: the largest value may be put under any
        return Asked(put, self._acknowledgement(request.acknowledgement, put.session))

    def _acknowledgement(self, level: int, session: Session | None) -> int:
        return check_any_acknowledgement(level, session, may_be_fast=self._has_fast_writes)

    def _put(self, request: wire.PutRequest, log_time: int, index: int = -1) -> Put:
        return Put(
            check_key(request.key, self._limits, index),
            check_value(request.value, self._limits, index),
            expires_at(request.expireTS, request.ttlMs, log_time),
        )

    def _parse_multi_put(self, message: bytes, log_time: int) -> AskedMultiPut:
        request = wire.MultiPutRequest.FromString(message)
        entries = request.putRequest
        if len(entries) > self._limits.multi_put_entries_max:
            raise LimitExceeded("entries", self._limits.multi_put_entries_max, len(entries))
        puts = tuple(self._put(entry, log_time, index) for index, entry in enumerate(entries))
        if any(entry.session or entry.sequence or entry.lowestOutstanding for entry in entries):
            raise InvalidRequest("the session of a MultiPut belongs to the whole list")
        check_payload(sum(len(put.key) + len(put.value) for put in puts), self._limits)
        return AskedMultiPut(MultiPut(puts, check_session(request)), check_acknowledgement(request.acknowledgement))

    def _parse_delete(self, message: bytes, log_time: int) -> Asked:
        request = wire.DeleteRequest.FromString(message)
        command = Delete(check_key(request.key, self._limits), check_session(request))
        return Asked(command, self._acknowledgement(request.acknowledgement, command.session))

    def _parse_compare_and_set(self, message: bytes, log_time: int) -> Asked:
        request = wire.CompareAndSetRequest.FromString(message)
        command = CompareAndSet(
            check_key(request.key, self._limits),
            check_value(request.oldValue, self._limits),
            check_value(request.newValue, self._limits),
            expires_at(request.expireTS, request.ttlMs, log_time),
            check_session(request),
        )
        check_payload(len(command.key) + len(command.expected) + len(command.value), self._limits)
        return Asked(command, check_acknowledgement(request.acknowledgement))

    def _parse_delete_range(self, message: bytes, log_time: int) -> Asked:
        request = wire.DeleteRangeRequest.FromString(message)
        start, end = request.start, request.end
        for bound in filter(None, (start, end)):
            check_key(bound, self._limits)
        if end and end < start:
            raise InvalidRequest("the end of a range cannot be before its start")
        command = DeleteRange(start, end, check_session(request))
        return Asked(command, check_acknowledgement(request.acknowledgement))


def _add(turn: Turn, asked: Sequence[tuple[int, Asked | AskedMultiPut]], answer: PutReplies) -> None:
    """Puts commands into the turn: (call id, what it asks for)."""
    turn.commands += [each.command for _, each in asked]
    turn.command_calls += [call_id for call_id, _ in asked]
    turn.command_answers += [answer] * len(asked)
    for call_id, each in asked:
        if each.acknowledgement == Acknowledgement.ALL:
            turn.by_all.add(call_id)
        elif each.acknowledgement == Acknowledgement.FAST:
            turn.at_once[call_id] = STATUS_OK


def _plain_puts(messages: Sequence[bytes]) -> list[Put] | None:
    """The commands of puts that are all plain, or all plain in a session; None for anything else."""
    if messages and plain_put(messages[0]) is None:
        in_session = list(map(plain_put_in_session, messages))
        if None in in_session:
            return None
        # Skips the argument handling of two NamedTuples: half of what parsing costs.
        return [_new(Put, (put[0], put[1], 0, _new(Session, put[2]))) for put in in_session if put is not None]
    plain = list(map(plain_put, messages))
    return None if None in plain else [Put(pair[0], pair[1]) for pair in plain if pair is not None]


def answer_puts(turn: Turn, call_ids: Sequence[int], outcomes: Sequence[Outcome], log_time: int) -> None:
    """PutResponses; DeleteResponse and DeleteRangeResponse have the same bytes."""
    call_ids, outcomes = _refuse_unknown(turn, call_ids, outcomes)
    turn.reply_ids += call_ids
    turn.replies += put_replies(list(map(CHANGE_NUMBER_OF, outcomes)), change_token(turn.history_id, log_time))


def answer_compare_and_sets(turn: Turn, call_ids: Sequence[int], outcomes: Sequence[Outcome], log_time: int) -> None:
    """CompareAndSetResponses."""
    call_ids, outcomes = _refuse_unknown(turn, call_ids, outcomes)
    token = change_token(turn.history_id, log_time)
    turn.reply_ids += call_ids
    turn.replies += [cas_reply(outcome.took_effect, outcome.change_number, token) for outcome in outcomes]


def _refuse_unknown(
    turn: Turn, call_ids: Sequence[int], outcomes: Sequence[Outcome]
) -> tuple[Sequence[int], Sequence[Outcome]]:
    """Ends the calls whose outcome nobody knows; returns the others."""
    if not any(map(ERROR_OF, outcomes)):
        return call_ids, outcomes
    known = [at for at, outcome in enumerate(outcomes) if not outcome.error]
    for call_id, outcome in zip(call_ids, outcomes, strict=True):
        if outcome.error:
            fail(turn, call_id, SessionUnknown(outcome.error))
    return [call_ids[at] for at in known], [outcomes[at] for at in known]
