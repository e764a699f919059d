"""When a call is sent again: only if that is safe, only within its time, and only while the budget lasts.

Safe are reads, and writes in a session, which apply once however often they arrive. What is worth another attempt: a
server that is away, that has no leader or no room now. The pause doubles and is spread, so that clients that failed
together do not return together. The budget bounds what retries add to the load of a server in trouble: beyond a start
capital, every success pays for a fifth of a retry.
"""

from collections.abc import Callable

from dkv.model.errors import Code, DkvError, OutcomeUnknown, Overloaded, SessionUnknown, Unavailable

PAUSE_S_MIN = 0.02
PAUSE_S_MAX = 0.25
"""A quarter of an election: who waits for a leader does not wait much longer than there is none."""
RETRIES_SAVED_MAX = 20_000.0
"""Enough for a thousand callers to outlast an election or a restart; a second or two of what a server can do."""
RETRIES_PER_SUCCESS = 0.2


class RetryBudget:
    """The retries a client has left. Shared by its calls; a lost update under threads does no harm."""

    def __init__(self) -> None:
        self.left: float = RETRIES_SAVED_MAX

    def earn(self) -> None:
        """A call went well."""
        if self.left < RETRIES_SAVED_MAX:
            self.left += RETRIES_PER_SUCCESS

    def take(self) -> bool:
        """Whether there was a retry to take."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


def is_worth_it(error: DkvError) -> bool:
    """Whether the same call may go better soon. SessionUnknown never does: the session is gone."""
    if isinstance(error, SessionUnknown):
        return False
    if isinstance(error, Unavailable | Overloaded | OutcomeUnknown):
        return True
    return error.code == Code.ABORTED


def pause_s(error: DkvError, attempt: int, chance: Callable[[], float]) -> float:
    """Seconds before attempt number `attempt` + 1. `chance` is in [0, 1)."""
    doubled: float = min(PAUSE_S_MIN * 2.0 ** min(attempt - 1, 10), PAUSE_S_MAX)
    wanted = error.retry_after_ms / 1_000 if isinstance(error, Overloaded) else 0.0
    return max(doubled, wanted) * (0.5 + chance())
