"""Samples the stack of the main thread while it works: a timer of CPU time, and a signal handler that counts stacks.

No second thread, and nothing at all while no profile is taken. Native work counts for the function that
asked for it.
"""

import signal
from collections import Counter
from types import FrameType

INTERVAL_S = 0.01
DEPTH_MAX = 64
STACKS_MAX = 10_000
"""Different ones; further ones count as `other`."""


class SignalSampler:
    """Owns SIGPROF and its timer while it runs."""

    def __init__(self) -> None:
        self._stacks: Counter[str] = Counter()

    def start(self) -> None:
        self._stacks.clear()
        signal.signal(signal.SIGPROF, self._sample)
        signal.siginterrupt(signal.SIGPROF, False)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)

    def stop(self) -> str:
        """Folded stacks since `start`, the most frequent first."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_IGN)
        return "".join(f"{stack} {count}\n" for stack, count in self._stacks.most_common())

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        names: list[str] = []
        while frame is not None and len(names) < DEPTH_MAX:
            names.append(f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_qualname}")
            frame = frame.f_back
        stack = ";".join(reversed(names))
        self._stacks[stack if stack in self._stacks or len(self._stacks) < STACKS_MAX else "other"] += 1
