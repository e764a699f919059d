"""Log time: the one clock that decides expiry, and why a bad wall clock cannot misuse it.

INVARIANTS 7. Log time never goes back. Within a run - from the moment a replica starts to lead until it stops - it
advances no faster than the monotonic clock plus one second of slew in all: a wall clock stepped forward by a day does
not expire a day's keys. At the start of a run the wall clock may have moved by any amount while nobody watched. Up to a
bound (one hour) it is believed; beyond it log time stands still, so that nothing expires, until someone who knows
confirms the wall clock: a quorum of clocks (`clock_quorum`), or the operator. Both call `confirm`.

A wall clock *behind* log time never blocks anything: log time waits for it, never falling back.
"""

from dkv.ports.clock import Now

SLEW_MS_MAX = 1_000
"""Wall clocks are slewed, or stepped over a leap second; a second covers both."""
ANY_JUMP_MS = 1 << 62
JUMP_MS_MAX = 3_600_000
"""The default bound at the start of a run. Time zones set wrongly are off by whole hours."""


class LogClock:
    """Turns readings of a node's clocks into log times of one vBucket. Owned by its replica."""

    __slots__ = ("_anchor_log", "_anchor_monotonic", "frozen", "jump_ms_max", "last")

    def __init__(self, last: int, jump_ms_max: int = JUMP_MS_MAX) -> None:
        self.last: int = last
        """The newest log time known: proposed here, or applied."""
        self.jump_ms_max: int = jump_ms_max
        self.frozen: bool = False
        """Expiry stands still until `confirm`: the wall clock was too far ahead when the run began."""
        self._anchor_log = last
        self._anchor_monotonic: int | None = None

    def begin(self, now: Now) -> None:
        """A run starts: this replica leads from now on."""
        self._anchor_monotonic = now.monotonic_ms
        self.frozen = now.wall_ms - self.last > self.jump_ms_max
        self._anchor_log = self.last if self.frozen else max(self.last, now.wall_ms)

    def end(self) -> None:
        """The run is over; the next reading starts another."""
        self._anchor_monotonic, self.frozen = None, False

    def confirm(self, now: Now) -> None:
        """It is `now.wall_ms`, whatever the jump: believed from here on. If the wall clock shows more than that, the
        monotonic clock sets the pace."""
        self._anchor_monotonic, self.frozen = now.monotonic_ms, False
        self._anchor_log = max(self.last, now.wall_ms)

    def believe(self, now: Now) -> None:
        """The same for as long as this process lives, whether it leads now or comes to later."""
        self.jump_ms_max = ANY_JUMP_MS
        if self.frozen:
            self.confirm(now)

    def observe(self, log_time: int) -> None:
        """An entry with this log time was applied."""
        if log_time > self.last:
            self.last = log_time
            if self.frozen:
                self.end()  # judged by an older time: of a log that was not applied yet, or while somebody else leads

    def peek(self, now: Now) -> int:
        """What `next` would answer."""
        if self._anchor_monotonic is None:
            self.begin(now)
        assert self._anchor_monotonic is not None
        if self.frozen:
            return self.last
        fastest = self._anchor_log + now.monotonic_ms - self._anchor_monotonic + SLEW_MS_MAX
        return max(self.last, min(now.wall_ms, fastest))

    def next(self, now: Now) -> int:
        """The log time of an entry proposed now."""
        self.last = self.peek(now)
        return self.last

    def behind_ms(self, now: Now) -> int:
        """How far the wall clock is ahead of what is believed: 0 when all is well. For status and alarms."""
        return max(0, now.wall_ms - self.peek(now))
