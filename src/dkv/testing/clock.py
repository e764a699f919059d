"""Simulated time: it stands still unless the schedule moves it.

The two clocks are apart because they fail apart: the wall clock may be set either way at any moment, the monotonic one
only goes forward (INVARIANTS 7). Both survive a crash of the process; a power loss restarts the monotonic one at zero.
"""

from dkv.ports.clock import Now

DRIFT_PERMILLE_MAX = 50
"""A clock that is wrong by a twentieth is broken, and still must not hurt."""
START_WALL_MS = 1_700_000_000_000
"""Any date after this program was written would do; a round number reads well in traces."""


class SimClock:
    """A `Clock` that the schedule owns."""

    def __init__(self, wall_ms: int = START_WALL_MS, drift_permille: int = 0) -> None:
        """`drift_permille`: how much faster (or, negative, slower) than the true time both clocks go."""
        self._wall_ms, self._permille, self._owed = wall_ms, 1000 + drift_permille, 0
        self._monotonic_ms = 0
        self._wall_ms_max = wall_ms

    def now(self) -> Now:
        return Now(self._wall_ms, self._monotonic_ms)

    @property
    def wall_ms_max(self) -> int:
        """The latest wall time ever shown: nothing may expire for being due later than this."""
        return self._wall_ms_max

    def advance(self, ms: int) -> None:
        """Time passes, on both clocks."""
        if ms < 0:
            raise ValueError("time does not go back; use jump_wall")
        shown_ms, self._owed = divmod(self._owed + ms * self._permille, 1000)
        self._monotonic_ms += shown_ms
        self.jump_wall(shown_ms)

    def jump_wall(self, ms: int) -> None:
        """Somebody sets the wall clock, `ms` ahead or (negative) back."""
        self._wall_ms += ms
        self._wall_ms_max = max(self._wall_ms_max, self._wall_ms)

    def reboot(self) -> None:
        """The machine lost its power: the zero of the monotonic clock moves."""
        self._monotonic_ms = 0
