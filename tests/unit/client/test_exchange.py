"""What becomes of a call whose attempts fail, each way that they can."""

import logging

import pytest

from dkv.client.answers import Answer, Fate
from dkv.client.exchange import Exchange, StartOver
from dkv.client.retries import PAUSE_S_MAX, RETRIES_SAVED_MAX, RetryBudget, pause_s
from dkv.client.writes import Write, WriteLine
from dkv.model import errors
from dkv.model.errors import Code
from dkv.wire.errors import to_details

PATH = "/t.T/M"
LONG_S = 60.0


def answer(code: int, fate: Fate = Fate.ANSWERED, error: errors.DkvError | None = None) -> Answer:
    return Answer(code, "text", to_details(error) if error else b"", b"", fate)


def write(*, is_retry: bool = False) -> Write:
    line = WriteLine(lambda: b"s" * 16)
    first = line.begin()
    assert first is not None
    line.end(first, True)
    second = line.begin()
    assert second is not None
    second.is_retry = is_retry
    return second


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (answer(Code.INVALID_ARGUMENT), errors.InvalidRequest),
        (answer(Code.DEADLINE_EXCEEDED), errors.DeadlineExceeded),
        (answer(Code.DEADLINE_EXCEEDED, Fate.LOST), errors.DeadlineExceeded),
        (answer(Code.CANCELLED, Fate.LOST), errors.Cancelled),
        (answer(Code.INTERNAL, Fate.LOST), errors.BadReply),
        (answer(Code.UNKNOWN, Fate.LOST), errors.BadReply),
        (answer(Code.RESOURCE_EXHAUSTED, Fate.LOST), errors.InvalidRequest),
        (answer(Code.DATA_LOSS), errors.Corrupt),
        (answer(99), errors.DkvError),
    ],
)
def test_read_that_no_retry_helps_fails_at_once(failure: Answer, kind: type[errors.DkvError]) -> None:
    """With a typed error; a read never may have happened unless the server says so."""
    with pytest.raises(kind) as caught:
        Exchange(PATH, None, RetryBudget()).failed(failure, LONG_S)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "failure",
    [
        answer(Code.UNAVAILABLE),
        answer(Code.UNAVAILABLE, Fate.NOT_SENT),
        answer(Code.UNAVAILABLE, Fate.LOST),
        answer(Code.RESOURCE_EXHAUSTED),
        answer(Code.ABORTED),
    ],
)
def test_read_that_may_go_better_waits_and_goes_again(failure: Answer) -> None:
    """After a pause."""
    assert 0 < Exchange(PATH, None, RetryBudget()).failed(failure, LONG_S) < 1


def test_retry_without_time_for_its_pause_is_not_made() -> None:
    """The last reason is raised, which says more than that time is over."""
    with pytest.raises(errors.Unavailable, match="text"):
        Exchange(PATH, None, RetryBudget()).failed(answer(Code.UNAVAILABLE), 0.001)


def test_retry_beyond_the_budget_is_not_made() -> None:
    """Successes earn new ones, slowly."""
    budget = RetryBudget()
    budget.left = 0
    with pytest.raises(errors.Unavailable):
        Exchange(PATH, None, budget).failed(answer(Code.UNAVAILABLE), LONG_S)
    for _ in range(6):
        budget.earn()
    assert [budget.take(), budget.take()] == [True, False]
    budget.left = RETRIES_SAVED_MAX
    budget.earn()
    assert budget.left == RETRIES_SAVED_MAX


def test_pause_doubles_up_to_a_second_and_obeys_the_server() -> None:
    """Spread by half around it."""
    plain = errors.Unavailable("x")
    pauses = [pause_s(plain, attempt, lambda: 0.5) for attempt in range(1, 40)]
    assert pauses == sorted(pauses)
    assert pauses[:3] == [0.02, 0.04, 0.08]
    assert pauses[-1] == PAUSE_S_MAX
    assert pause_s(plain, 1, lambda: 0.0) == 0.01
    assert pause_s(errors.Overloaded("full", 3_000), 1, lambda: 0.5) == 3.0


def test_retry_is_logged_for_whoever_listens(caplog: pytest.LogCaptureFixture) -> None:
    """Logger `dkv`, level debug, no values."""
    with caplog.at_level(logging.DEBUG, "dkv"):
        Exchange(PATH, None, RetryBudget()).failed(answer(Code.UNAVAILABLE), LONG_S)
    assert "/t.T/M" in caplog.text
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("dkv").handlers)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (answer(Code.UNAVAILABLE, Fate.LOST), errors.ConnectionLost),
        (answer(Code.DEADLINE_EXCEEDED, Fate.LOST), errors.WriteTimedOut),
        (answer(Code.DEADLINE_EXCEEDED), errors.WriteTimedOut),
        (answer(Code.DEADLINE_EXCEEDED, error=errors.OutcomeUnknown("x")), errors.OutcomeUnknown),
        (answer(Code.INTERNAL, Fate.LOST), errors.BadReply),
        (answer(Code.UNKNOWN), errors.DkvError),
    ],
)
def test_write_that_may_have_arrived_says_so(failure: Answer, kind: type[errors.DkvError]) -> None:
    """Whatever ended the waiting."""
    with pytest.raises(kind) as caught:
        Exchange(PATH, write(), RetryBudget()).failed(failure, 0)
    assert type(caught.value) is kind
    assert caught.value.may_have_happened


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (answer(Code.UNAVAILABLE), errors.Unavailable),
        (answer(Code.UNAVAILABLE, Fate.NOT_SENT), errors.Unavailable),
        (answer(Code.DEADLINE_EXCEEDED, Fate.NOT_SENT), errors.DeadlineExceeded),
        (answer(Code.RESOURCE_EXHAUSTED), errors.Overloaded),
        (answer(Code.INVALID_ARGUMENT), errors.InvalidRequest),
    ],
)
def test_write_certainly_refused_says_so(failure: Answer, kind: type[errors.DkvError]) -> None:
    """By the server's word, or because it never left."""
    with pytest.raises(kind) as caught:
        Exchange(PATH, write(), RetryBudget()).failed(failure, 0)
    assert type(caught.value) is kind
    assert not caught.value.may_have_happened


@pytest.mark.parametrize(
    ("failure", "kind", "may_have_happened"),
    [
        (answer(Code.UNAVAILABLE), errors.Unavailable, False),
        (answer(Code.UNAVAILABLE, Fate.NOT_SENT), errors.Unavailable, False),
        (answer(Code.UNAVAILABLE, Fate.LOST), errors.ConnectionLost, True),
        (answer(Code.DEADLINE_EXCEEDED, Fate.LOST), errors.WriteTimedOut, True),
        (answer(Code.RESOURCE_EXHAUSTED), errors.Overloaded, False),
        (answer(Code.INVALID_ARGUMENT), errors.InvalidRequest, False),
    ],
)
def test_write_that_is_tried_once_fails_with_its_first_attempt(
    failure: Answer, kind: type[errors.DkvError], may_have_happened: bool
) -> None:
    """However worth it another one were; it says what is known of this one."""
    with pytest.raises(kind) as caught:
        Exchange(PATH, None, RetryBudget(), is_once=True).failed(failure, LONG_S)
    assert type(caught.value) is kind
    assert caught.value.may_have_happened is may_have_happened


def test_write_lost_once_and_refused_afterwards_still_may_have_happened() -> None:
    """The second attempt's refusal says nothing about the first."""
    exchange = Exchange(PATH, write(), RetryBudget())
    exchange.failed(answer(Code.UNAVAILABLE, Fate.LOST), LONG_S)
    with pytest.raises(errors.ConnectionLost):
        exchange.failed(answer(Code.UNAVAILABLE, Fate.NOT_SENT), 0)


def test_write_of_a_forgotten_session_starts_over_unless_it_was_sent_before() -> None:
    """A first attempt was not applied; a retry is nobody's guess."""
    forgotten = answer(Code.DEADLINE_EXCEEDED, error=errors.SessionUnknown("gone"))
    with pytest.raises(StartOver):
        Exchange(PATH, write(), RetryBudget()).failed(forgotten, LONG_S)
    with pytest.raises(errors.SessionUnknown) as caught:
        Exchange(PATH, write(is_retry=True), RetryBudget()).failed(forgotten, LONG_S)
    assert caught.value.may_have_happened


def test_errors_are_those_that_python_knows() -> None:
    """For callers who know nothing of this library."""
    assert issubclass(errors.Unavailable, ConnectionError)
    assert issubclass(errors.ConnectionLost, ConnectionError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.WriteTimedOut, TimeoutError)
    assert issubclass(errors.WriteTimedOut, errors.OutcomeUnknown)
