"""Counting by bucket."""

import pytest

from dkv.services.histogram import Histogram


@pytest.mark.parametrize(
    ("quantile", "counts", "want"),
    [(0.5, [0, 0, 0], 0), (0.5, [2, 0, 0], 0.5), (0.99, [0, 0, 4], 2), (1.0, [1, 1, 0], 2)],
)
def test_quantile_is_interpolated_and_never_nan(quantile: float, counts: list[int], want: float) -> None:
    """Beyond the last bound the answer is the last bound."""
    assert Histogram([1.0, 2.0], counts).quantile(quantile) == want


def test_observation_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    """A bound belongs to its bucket, as Prometheus has it."""
    seen = Histogram([1.0, 2.0])
    for value in (0.5, 1.0, 1.5, 9.0):
        seen.observe(value)
    assert (seen.counts, seen.total, seen.count) == ([2, 1, 1], 12.0, 4)
    assert list(seen.cumulative()) == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]


def test_difference_of_two_states_is_what_was_observed_in_between() -> None:
    """A copy does not follow its original."""
    seen = Histogram([1.0], [3, 1], 5.0)
    earlier = seen.copy()
    seen.observe(7.0)
    later = seen.since(earlier)
    assert (later.counts, later.total) == ([0, 1], 7.0)
