"""The order of the whole suite: what takes longest begins, so that of several processes none is left alone with it."""

import pytest

LONGEST = (
    "tests/simulation/test_simulation_seeds.py",
    "tests/integration/cluster/test_random_faults.py",
    "tests/simulation/test_simulation_bites.py",
    "tests/integration/test_kill_minus_nine.py",
    "tests/integration/test_dist.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All others keep their order behind these."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return next((place for place, file in enumerate(LONGEST) if item.nodeid.startswith(file)), len(LONGEST))
