"""The real node on a simulated machine, for as many seeds as the time allows; equal seeds are equal runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.testing.sim import Failure, Summary, run_seed, run_seeds

SECONDS = float(os.environ.get("SIMULATION_SECONDS", "20"))
FIRST = int(os.environ.get("SIMULATION_FIRST", "1"))
SOURCES = Path(__file__).parents[2] / "src"


@pytest.mark.timeout(SECONDS + 120)
def test_simulation_seeds_keep_every_promise() -> None:
    """No schedule of faults makes the node break a promise, and the runs were not empty."""
    passed, failure = run_seeds(FIRST, 1_000_000, SECONDS)
    assert failure is None, str(failure)
    assert sum(summary.acknowledged for summary in passed) > 20 * len(passed)
    assert sum(summary.unknown for summary in passed) > 0
    assert sum(summary.lives for summary in passed) > 2 * len(passed)
    assert sum(summary.backups for summary in passed) > len(passed)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_simulation_same_seed_is_the_same_run(seed: int) -> None:
    """Two runs of a seed give the same trace."""
    first = run_seed(seed)
    assert not isinstance(first, Failure), str(first)
    assert run_seed(seed) == first


def test_simulation_seed_does_not_depend_on_the_process() -> None:
    """Another process, with another hash seed, runs the same trace: or printed seeds could not be replayed."""
    code = "from dkv.testing.sim import run_seed; print(run_seed(5).digest)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    here = run_seed(5)
    assert isinstance(here, Summary)
    assert done.stdout.strip() == here.digest
