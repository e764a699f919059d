"""What time a majority of clocks has reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkv.vbucket.clock_quorum import quorum_time

A, B, C, D, E = range(1, 6)


@pytest.mark.parametrize(
    ("clocks", "halves", "reached"),
    [
        ({A: 100, B: 90, C: 95}, [[A, B, C], []], 95),
        ({A: 900, B: 90, C: 95}, [[A, B, C], []], 95),
        ({A: 900, B: 800, C: 95}, [[A, B, C], []], 800),
        ({A: 100, B: 5, C: 95}, [[A, B, C], []], 95),
        ({A: 100, C: 95}, [[A, B, C], []], 95),
        ({A: 100}, [[A, B, C], []], None),
        ({A: 900, B: 90}, [[A, B], []], 90),
        ({A: 100}, [[A], []], None),
        ({A: 100, B: 99}, [[A], []], None),
        ({A: 9, B: 8, C: 7, D: 6}, [[A, B, C, D], []], 7),
        ({A: 900, B: 901, C: 95, D: 94, E: 93}, [[A, B, C, D, E], []], 95),
        ({A: 900, B: 95, C: 95, D: 90, E: 91}, [[A, B, C], [C, D, E]], 91),
        ({A: 900, B: 95, C: 95}, [[A, B, C], [C, D, E]], None),
        ({A: 900, D: 90}, [[A, B, C], []], None),
        ({}, [[], []], None),
    ],
)
def test_time_is_what_a_majority_of_each_half_has_reached(
    clocks: dict[int, int], halves: list[list[int]], reached: int | None
) -> None:
    """Clocks of who has no vote do not count; a voter who is silent has reached nothing."""
    assert quorum_time(clocks, halves) == reached


@given(st.integers(2, 7), st.data())
def test_minority_of_wrong_clocks_never_moves_it_beyond_the_right_ones(count: int, data: st.DataObject) -> None:
    """Nor before the first of them, if all are heard of."""
    wrong = data.draw(st.sets(st.integers(1, count), max_size=(count - 1) // 2))
    right = {node: data.draw(st.integers(1_000, 1_010)) for node in range(1, count + 1) if node not in wrong}
    clocks = right | {node: data.draw(st.integers(0, 10**15)) for node in wrong}
    reached = quorum_time(clocks, [list(range(1, count + 1))])
    assert reached is not None
    assert min(right.values()) <= reached <= max(right.values())
