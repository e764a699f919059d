"""When a restore may be proposed: everybody in touch has it, and a quorum at least."""

import pytest

from dkv.cluster.spreading import Standing, Verdict, judge

HAS, COMING, AWAY = Standing


@pytest.mark.parametrize(
    ("standings", "verdict"),
    [
        ([HAS, HAS, HAS], Verdict.GO),
        ([HAS, HAS, AWAY], Verdict.GO),
        ([HAS, HAS, COMING], Verdict.WAIT),
        ([HAS, COMING, AWAY], Verdict.WAIT),
        ([HAS, AWAY, AWAY], Verdict.NO_QUORUM),
        ([HAS, HAS, AWAY, AWAY], Verdict.NO_QUORUM),
        ([HAS, HAS, HAS, AWAY, AWAY], Verdict.GO),
        ([HAS], Verdict.GO),
    ],
)
def test_judge_waits_for_all_in_touch_and_wants_a_quorum(standings: list[Standing], verdict: Verdict) -> None:
    """Half is no quorum."""
    assert judge(range(len(standings)), dict(enumerate(standings))) is verdict


def test_judge_takes_who_is_not_told_of_for_away() -> None:
    """And does not count who has no vote."""
    assert judge([1, 2, 3], {1: HAS}) is Verdict.NO_QUORUM
    assert judge([1, 2, 3], {1: HAS, 4: HAS, 5: COMING}) is Verdict.NO_QUORUM
