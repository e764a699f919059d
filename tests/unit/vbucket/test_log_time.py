"""The clock of the log."""

from dkv.ports.clock import Now
from dkv.vbucket.log_time import JUMP_MS_MAX, SLEW_MS_MAX, LogClock

START = 10_000_000


def begun(last: int = START, wall_ms: int = START) -> LogClock:
    clock = LogClock(last)
    clock.begin(Now(wall_ms, 0))
    return clock


def test_log_time_follows_the_wall_clock() -> None:
    """When both clocks advance alike there is nothing to correct."""
    clock = begun()
    assert [clock.next(Now(START + ms, ms)) for ms in (0, 5, 70_000)] == [START, START + 5, START + 70_000]
    assert clock.behind_ms(Now(START + 70_001, 70_001)) == 0


def test_log_time_of_wall_clock_stepped_back_stands_still() -> None:
    """It never goes back."""
    clock = begun()
    clock.next(Now(START + 100, 100))
    assert clock.next(Now(START - 5_000, 200)) == START + 100


def test_log_time_of_wall_clock_stepped_forward_gains_one_second_in_all() -> None:
    """A step of a day does not expire a day's keys, however often it is asked."""
    clock, day = begun(), 86_400_000
    assert clock.next(Now(START + day, 10)) == START + 10 + SLEW_MS_MAX
    assert clock.next(Now(START + day, 10)) == START + 10 + SLEW_MS_MAX
    assert clock.next(Now(START + day + 90, 100)) == START + 100 + SLEW_MS_MAX
    assert clock.behind_ms(Now(START + day + 90, 100)) == day - 10 - SLEW_MS_MAX


def test_log_time_at_a_start_believes_a_jump_within_the_bound() -> None:
    """The machine was off for less than an hour."""
    clock = begun(wall_ms=START + JUMP_MS_MAX)
    assert not clock.frozen
    assert clock.next(Now(START + JUMP_MS_MAX, 0)) == START + JUMP_MS_MAX


def test_log_time_at_a_start_beyond_the_bound_stands_still_until_confirmed() -> None:
    """Nothing expires until someone who knows says that the wall clock is right."""
    wall = START + JUMP_MS_MAX + 1
    clock = begun(wall_ms=wall)
    assert clock.frozen
    assert clock.next(Now(wall + 50, 50)) == START
    assert clock.behind_ms(Now(wall + 50, 50)) == JUMP_MS_MAX + 51
    clock.confirm(Now(wall + 60, 60))
    assert not clock.frozen
    assert clock.next(Now(wall + 70, 70)) == wall + 70


def test_log_time_of_an_applied_entry_is_a_floor() -> None:
    """A new leader goes on from what the old one reached."""
    clock = LogClock(START)
    clock.observe(START + 500)
    assert clock.next(Now(START, 0)) == START + 500


def test_log_time_after_the_end_of_a_run_starts_another() -> None:
    """The jump is judged again at each change of leader."""
    clock = begun()
    clock.end()
    assert clock.next(Now(START + JUMP_MS_MAX + 1, 5)) == START
    assert clock.frozen


def test_log_time_that_is_believed_stays_so_when_the_node_comes_to_lead() -> None:
    """In a cluster nobody knows at the start who will."""
    clock, wall = LogClock(START), START + 24 * JUMP_MS_MAX
    clock.believe(Now(wall, 0))
    clock.begin(Now(wall, 10))
    assert not clock.frozen
    assert clock.next(Now(wall, 10)) == wall
    clock.end()
    frozen = begun(wall_ms=wall)
    frozen.believe(Now(wall, 10))
    assert frozen.next(Now(wall, 10)) == wall


def test_log_time_is_judged_again_by_what_comes_in_from_the_log() -> None:
    """Who follows, or has not applied all of his log yet, knows an old time only."""
    wall = START + 24 * JUMP_MS_MAX
    clock = begun(wall_ms=wall)
    assert clock.frozen
    clock.observe(wall - 50)
    assert clock.next(Now(wall, 10)) == wall
    assert not clock.frozen
