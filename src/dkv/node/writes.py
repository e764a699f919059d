"""Writes on their way: proposed, in the log, not yet applied.

A call waits here under the index its entry got. An entry that comes back with the same term is ours and answers its
calls, whoever leads by then; one with another term took the place of ours, which can then never be applied. Without a
quorum neither comes: time ends the wait, and nobody knows.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dkv.model.commands import Command, Outcome
from dkv.model.errors import DkvError, NoLeader, OutcomeUnknown, Overloaded
from dkv.model.limits import Limits
from dkv.node.meter import Meter
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus
from dkv.services.calls import fail
from dkv.services.turn import PutReplies, Turn
from dkv.vbucket.replica import EntryResult, Replica

NOBODY = 0
"""The call of a command that nobody waits for."""
LOG_IS_FULL = "the log takes nothing now: too much waits for it, or leadership is being handed over"


class Waiting(NamedTuple):
    """The calls of one entry, in the order of its commands."""

    term: int
    call_ids: list[int]
    answers: list[PutReplies]
    proposed_ms: int
    by_all: frozenset[int] = frozenset()
    """Those of the calls that wait for every voter."""
    proposed_s: float = 0.0
    """By the stopwatch of the meter."""


class Held(NamedTuple):
    """A call whose command is applied, while some voter may lack it."""

    call_id: int
    answer: PutReplies
    outcome: Outcome
    log_time: int
    proposed_ms: int


class Writes:
    """Owns the calls between proposal and application. Bounded by Raft's limit on uncommitted bytes."""

    def __init__(self, replica: Replica, consensus: Consensus, limits: Limits, meter: Meter, timeout_ms: int) -> None:
        self._replica, self._consensus, self._limits, self._meter = replica, consensus, limits, meter
        self._timeout_ms = timeout_ms
        self._waiting: dict[int, Waiting] = {}
        self._held: dict[int, list[Held]] = {}
        """By log index."""

    @property
    def waiting_entries(self) -> int:
        return len(self._waiting) + len(self._held)

    def propose(self, turn: Turn, now: Now, refusal: DkvError | None) -> None:
        """Make one entry of the turn's commands, more when they exceed the limit of an entry."""
        if refusal is not None:
            _fail_all(turn, turn.command_calls, refusal)
            return
        self._propose(turn, now, turn.commands, turn.command_calls, turn.command_answers)

    def _propose(
        self, turn: Turn, now: Now, commands: list[Command], call_ids: list[int], answers: list[PutReplies]
    ) -> None:
        proposal = self._replica.propose(commands, now)
        if len(proposal.data) > self._limits.entry_bytes_max and len(commands) > 1:
            half = len(commands) // 2
            self._propose(turn, now, commands[:half], call_ids[:half], answers[:half])
            self._propose(turn, now, commands[half:], call_ids[half:], answers[half:])
            return
        accepted = self._consensus.propose(self._replica.vbucket, proposal.data)
        if accepted is None:
            _fail_all(turn, call_ids, Overloaded(LOG_IS_FULL))
            return
        term, index = accepted
        self._meter.entry_commands.observe(len(commands))
        self._replica.note_proposed(index, term, proposal)
        if (replaced := self._waiting.get(index)) is not None:  # of an earlier term, and in other logs it may still be
            _fail_all(turn, replaced.call_ids, OutcomeUnknown("leadership was lost, the write may yet be applied"))
        if turn.at_once:
            call_ids, answers = _answer_at_once(call_ids, answers, turn)
        by_all = frozenset(turn.by_all.intersection(call_ids)) if turn.by_all else frozenset()
        self._waiting[index] = Waiting(term, call_ids, answers, now.monotonic_ms, by_all, self._meter.stopwatch())

    def answer(self, results: Sequence[EntryResult], turn: Turn) -> None:
        """Answer the calls whose entries were applied."""
        for result in results:
            waiting = self._waiting.pop(result.index, None)
            if waiting is None:
                continue
            if waiting.term != result.term:
                _fail_all(turn, waiting.call_ids, NoLeader("another leader took over, the write was not applied"))
                continue
            self._meter.applied(waiting.proposed_s)
            if waiting.by_all:
                waiting, outcomes = self._hold(waiting, result)
                _answer_runs(waiting, outcomes, result.log_time, turn)
            else:
                _answer_runs(waiting, result.outcomes, result.log_time, turn)
        if self._held:
            self.release(self._consensus.all_matched(self._replica.vbucket), turn)

    def _hold(self, waiting: Waiting, result: EntryResult) -> tuple[Waiting, list[Outcome]]:
        """Keeps back the calls that wait for every voter; the others, with their outcomes."""
        if not self._held:
            self._consensus.watch_all(self._replica.vbucket, True)
        rest: list[tuple[int, PutReplies, Outcome]] = []
        for call in zip(waiting.call_ids, waiting.answers, result.outcomes, strict=True):
            if call[0] in waiting.by_all:
                held = Held(*call, result.log_time, waiting.proposed_ms)
                self._held.setdefault(result.index, []).append(held)
            else:
                rest.append(call)
        call_ids, answers, outcomes = (list(column) for column in zip(*rest, strict=True)) if rest else ([], [], [])
        return waiting._replace(call_ids=call_ids, answers=answers), outcomes

    def release(self, all_matched: int, turn: Turn) -> None:
        """Every voter has the entries up to this one on disk."""
        for index in [index for index in self._held if index <= all_matched]:
            for call_id, answer, outcome, log_time, _ in self._held.pop(index):
                answer(turn, [call_id], [outcome], log_time)
        self._watch_no_more()

    def _watch_no_more(self) -> None:
        if not self._held:
            self._consensus.watch_all(self._replica.vbucket, False)

    def give_up(self, turn: Turn, now: Now) -> None:
        """Answers those that have waited for a quorum too long: what they wait for may still be committed."""
        oldest_ms = now.monotonic_ms - self._timeout_ms
        for index in [index for index, each in self._waiting.items() if each.proposed_ms <= oldest_ms]:
            waiting = self._waiting.pop(index)
            _fail_all(turn, waiting.call_ids, OutcomeUnknown("context deadline exceeded"))
        late = [index for index, held in self._held.items() if held[0].proposed_ms <= oldest_ms]
        for index in late:
            text = "context deadline exceeded: the write is committed, but not every voter has it"
            _fail_all(turn, [held.call_id for held in self._held.pop(index)], OutcomeUnknown(text))
        if late:
            self._watch_no_more()


def _answer_at_once(call_ids: list[int], answers: list[PutReplies], turn: Turn) -> tuple[list[int], list[PutReplies]]:
    """Answers the calls of an entry just proposed that do not wait for more; returns the columns without them."""
    at_once = turn.at_once
    for call_id in call_ids:
        if call_id in at_once:
            turn.reply_ids.append(call_id)
            turn.replies.append(at_once[call_id])
    kept = [(NOBODY, no_answer) if call[0] in at_once else call for call in zip(call_ids, answers, strict=True)]
    return [call_id for call_id, _ in kept], [answer for _, answer in kept]


def no_answer(turn: Turn, call_ids: object, outcomes: object, log_time: int) -> None:
    """Nobody waits for it."""


def _answer_runs(waiting: Waiting, outcomes: Sequence[Outcome], log_time: int, turn: Turn) -> None:
    """Calls of one kind lie side by side: answer each run in one call of its service."""
    answers, call_ids, start = waiting.answers, waiting.call_ids, 0
    while start < len(answers):
        answer, end = answers[start], start + 1
        while end < len(answers) and answers[end] == answer:
            end += 1
        if end - start == len(answers):
            answer(turn, call_ids, outcomes, log_time)
        else:
            answer(turn, call_ids[start:end], outcomes[start:end], log_time)
        start = end


def _fail_all(turn: Turn, call_ids: list[int], error: DkvError) -> None:
    for call_id in call_ids:
        if call_id:
            fail(turn, call_id, error)
