"""The real clock and the real source of chance."""

import os
import time

from dkv.ports.clock import Now


class SystemClock:
    def now(self) -> Now:
        return Now(time.time_ns() // 1_000_000, time.monotonic_ns() // 1_000_000)


class SystemRandom:
    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
