"""What becomes of a call whose attempts fail: again after a pause, begun anew, or over. Decides; never waits or sends.

the first attempt fails: exchange = Exchange(path, its write or None, budget, is_once=whether it is tried once)
after every attempt that fails: pause for as long as exchange.failed(answer, time left) says; it raises when there
is no use in another
"""

import logging
import os
from typing import NamedTuple

from dkv.client.answers import Answer, error_of, may_have_arrived, of_write
from dkv.client.retries import RetryBudget, is_worth_it, pause_s
from dkv.client.writes import Write
from dkv.model.errors import DkvError, SessionUnknown, StaleRead
from dkv.wire.methods import STREAM_CHANGES_PATH

logger: logging.Logger = logging.getLogger("dkv")
logger.addHandler(logging.NullHandler())


EVERYWHERE = b""
"""No key is empty: a write that concerns all vBuckets."""


class Call(NamedTuple):
    """What an operation wants done."""

    path: str
    message: bytes
    is_write: bool = False
    """A write with a place in a session."""
    is_fast: bool = False
    """A write without one, which is tried once."""
    key: bytes = EVERYWHERE
    """One that the write is about; it lies in the same vBucket as the others."""


class StartOver(Exception):
    """The write never arrived and its session is gone: it begins again as a new write."""


def _chance() -> float:
    return os.urandom(1)[0] / 256


class Exchange:
    """Owns the failed attempts of one call: a read, a write with its place in a session, or, `is_once`, one without."""

    __slots__ = ("_budget", "_is_once", "_path", "_write", "attempts", "last")

    def __init__(self, path: str, write: Write | None, budget: RetryBudget, *, is_once: bool = False) -> None:
        self._path, self._write, self._budget, self._is_once = path, write, budget, is_once
        self.attempts: int = 0
        self.last: DkvError | None = None
        """Why the last attempt failed."""

    def failed(self, answer: Answer, left_s: float) -> float:
        """Seconds to wait before the next attempt. Raises the error of the call when there is to be none, StartOver
        when the write has to begin again."""
        error, write = error_of(answer), self._write
        self.last = error
        self.attempts += 1
        if self._is_once:
            raise of_write(error) if may_have_arrived(answer, error) else error
        if write is not None:
            if isinstance(error, SessionUnknown) and not write.is_retry:
                raise StartOver from error
            if may_have_arrived(answer, error) and not isinstance(error, SessionUnknown):
                write.unsure()
        if is_worth_it(error) or self._is_early(error):
            seconds = pause_s(error, self.attempts, _chance)
            if 2 * seconds < left_s and self._budget.take():  # an attempt wants time, too
                logger.debug("%s: attempt %d: %s; again in %.3f s", self._path, self.attempts, error, seconds)
                return seconds
        raise self.final(error)

    def _is_early(self, error: DkvError) -> bool:
        """A reader of changes has seen more than this node, as its last one was ahead: nodes catch up."""
        return isinstance(error, StaleRead) and self._path == STREAM_CHANGES_PATH

    def final(self, error: DkvError) -> DkvError:
        """The error of the whole call, when its last attempt, or the lack of one, ended with this."""
        return of_write(error) if self._write is not None and self._write.is_retry else error
