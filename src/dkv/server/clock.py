"""The real clock and the real source of chance."""

import os
import time

from dkv.ports.clock import Now


class SystemClock:
    def now(self) -> Now:
        return Now(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's CLOCK_MONOTONIC stands still while the machine is suspended, and CLOCK_BOOTTIME does not. Elsewhere
CLOCK_MONOTONIC, asked for by name, goes on; what Python calls monotonic there does not."""


def suspended_too_ms() -> int:
    """Monotonic milliseconds; those in which the machine was suspended count."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


class SystemRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
