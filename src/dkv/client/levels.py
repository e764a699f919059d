"""What reads promise about writes, as words of a caller and as fields of a request.

| level | a read sees |
|---|---|
| linearizable | every write acknowledged before it began, whoever made it |
| read_your_writes | every write of this client acknowledged before it began |
| sequential | what the node that answers has |

`max_staleness` bounds the last two: every write acknowledged so long ago, or longer, is seen.

A client's own writes are named by the number of the last one in its line of changes (INVARIANTS 11). A cluster of
several vBuckets has several lines, and a client of one address does not know what stands behind it: both ask for
linearizable instead, which promises more.
"""

import threading
from typing import Literal

from dkv.model.errors import InvalidRequest
from dkv.wire.replies import MalformedReply, change_of
from dkv.wire.requests import ITERATE_LINEARIZABLE, LINEARIZABLE_STRICT, at_least, iterate_at_least

Level = Literal["linearizable", "read_your_writes", "sequential"]
LEVELS: tuple[Level, ...] = ("linearizable", "read_your_writes", "sequential")
STALENESS_S_MAX = 86_400.0


class Levels:
    """Owns what a client's reads ask for, and the number of its last write."""

    def __init__(self, default: Level = "linearizable") -> None:
        self._default: Level = default
        self._history_id = b""
        self._number = 0
        self._is_one_line = False
        self.vbuckets: int = 1
        """That the cluster has, as far as is known."""
        self.in_this_process()
        self._renew()

    def in_this_process(self) -> None:
        """At birth and in a forked child, where the lock of the parent means nothing."""
        self._lock = threading.Lock()

    def _renew(self) -> None:
        self.plain: bytes = self.of_get(self._default, None)
        """Of a Get or MultiGet whose caller says nothing."""

    def of_get(self, level: Level | None, max_staleness: float | None) -> bytes:
        """Fields of a Get or MultiGet. Raises InvalidRequest."""
        number, staleness_ms = self._wanted(level, max_staleness)
        return LINEARIZABLE_STRICT if number is None else at_least(number, staleness_ms)

    def of_scan(self, level: Level | None, max_staleness: float | None) -> bytes:
        """The same of an Iterate."""
        number, staleness_ms = self._wanted(level, max_staleness)
        return ITERATE_LINEARIZABLE if number is None else iterate_at_least(number, staleness_ms)

    def _wanted(self, level: Level | None, max_staleness: float | None) -> tuple[int | None, int]:
        """(change number to see, staleness in ms to accept), 0 for no condition; None: all there is."""
        if max_staleness is not None and not 0.001 <= max_staleness <= STALENESS_S_MAX:
            raise InvalidRequest(f"a staleness is 1 ms to one day, not {max_staleness} s")
        bound_ms = 0 if max_staleness is None else int(max_staleness * 1_000)
        if level is None:
            level = "sequential" if bound_ms and self._default == "linearizable" else self._default
        match level:
            case "linearizable":
                if bound_ms:
                    raise InvalidRequest("a linearizable read is never stale: leave out max_staleness, or the level")
                return None, 0
            case "read_your_writes":
                return (self._number, bound_ms) if self._is_one_line else (None, 0)
            case "sequential":
                return 0, bound_ms
        raise InvalidRequest(f"a level is {', '.join(LEVELS)}, not {level!r}")

    def knows_vbuckets(self, count: int) -> None:
        """What the cluster has; with one, all keys are in one line of changes. 0: that was not to be seen."""
        self.vbuckets = count or self.vbuckets
        if (is_one := count == 1) != self._is_one_line:
            self._is_one_line = is_one
            self._renew()

    def wrote(self, reply: bytes) -> None:
        """The reply to a write. A new line of changes, after a restore, begins anew."""
        try:
            number, history_id = change_of(reply)
        except MalformedReply:
            return  # whoever waits for it says so
        if not number:
            return  # it was answered before it had one
        with self._lock:
            if history_id != self._history_id:
                self._history_id, self._number = history_id, 0
            if number > self._number:
                self._number = number
                if self._default == "read_your_writes":
                    self._renew()
