"""Simulated time and chance are functions of what the schedule does and of the seed."""

import pytest

from dkv.testing.clock import SimClock
from dkv.testing.random import SeededRandom, stream
from dkv.testing.trace import Trace


def test_clock_advance_moves_both_and_jump_only_the_wall() -> None:
    """The wall clock jumps either way; the monotonic one never goes back."""
    clock = SimClock(1000)
    clock.advance(5)
    clock.jump_wall(-500)
    assert clock.now() == (505, 5)
    assert clock.wall_ms_max == 1005
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_clock_reboot_restarts_the_monotonic_zero() -> None:
    """After a power loss the monotonic clock starts again; the wall clock goes on."""
    clock = SimClock(1000)
    clock.advance(5)
    clock.reboot()
    assert clock.now() == (1005, 0)


def test_random_same_seed_same_bytes_and_streams_are_apart() -> None:
    """Equal seeds agree; names make streams of their own."""
    assert SeededRandom(1).bytes(8) == SeededRandom(1).bytes(8)
    assert SeededRandom(1).bytes(8) != SeededRandom(2).bytes(8)
    assert stream(1, "a").random() != stream(1, "b").random()


def test_trace_hash_covers_lines_that_are_no_longer_kept() -> None:
    """The hash is of everything, the lines only of the end."""
    long, short = Trace(lines_max=1), Trace(lines_max=1)
    for line in ("a", "b"):
        long.add(line)
    short.add("b")
    assert len(long.lines) == 1
    assert long.digest() != short.digest()
