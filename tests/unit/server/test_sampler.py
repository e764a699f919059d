"""Profiles of the main thread."""

import signal
import time

from dkv.server.sampler import SignalSampler


def work_for(seconds: float) -> None:
    """CPU time, not time on the wall."""
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass


def test_sampler_sees_the_function_that_works() -> None:
    """Stacks are folded from the outside in, and nothing is sampled after the stop."""
    sampler = SignalSampler()
    before = signal.getsignal(signal.SIGPROF)
    try:
        sampler.start()
        work_for(0.2)
        lines = sampler.stop().splitlines()
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGPROF, before)
    stacks = [line.rsplit(" ", 1) for line in lines]
    assert any(stack.endswith(".work_for") and ".test_sampler_sees" in stack for stack, _ in stacks)
    assert sum(int(count) for _, count in stacks) >= 1
