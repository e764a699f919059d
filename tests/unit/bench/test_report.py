"""The figures, against ones that a person can work out."""

from hypothesis import given
from hypothesis import strategies as st

from dkv.bench.report import PERCENTS, Bar, latencies


def test_hundred_latencies_have_the_figures_of_their_places() -> None:
    """1 to 100 seconds, in any order: the 90th of a hundred is 90 s."""
    found = latencies(reversed([float(second) for second in range(1, 101)]))
    assert found is not None
    assert (found.fastest_s, found.slowest_s, found.average_s) == (1.0, 100.0, 50.5)
    assert found.percentiles == [(percent, float(percent)) for percent in PERCENTS]
    assert found.bars[:2] == [Bar(1.0, 1), Bar(10.9, 9)]
    assert found.bars[-1] == Bar(100.0, 10)


def test_lone_latency_is_all_figures() -> None:
    """One bar."""
    found = latencies([0.5])
    assert found is not None
    assert found.bars == [Bar(0.5, 1)]
    assert {seconds for _, seconds in found.percentiles} == {found.fastest_s, found.slowest_s, found.average_s} == {0.5}


def test_no_latency_has_no_figures() -> None:
    """Nothing went well."""
    assert latencies([]) is None


@given(st.lists(st.floats(min_value=1e-6, max_value=1e4), min_size=1, max_size=200))
def test_every_latency_is_in_one_bar_and_percentiles_hold(seen_s: list[float]) -> None:
    """Bars rise and add up; so many of a hundred latencies are as small as a percentile says, and one is it."""
    found = latencies(seen_s)
    assert found is not None
    assert sum(bar.calls for bar in found.bars) == len(seen_s)
    ends = [bar.until_s for bar in found.bars]
    assert ends == sorted(ends)
    assert ends[-1] == max(seen_s)
    for percent, seconds in found.percentiles:
        assert seconds in seen_s
        assert sum(each <= seconds for each in seen_s) * 100 >= percent * len(seen_s)
        assert sum(each < seconds for each in seen_s) * 100 < percent * len(seen_s)
