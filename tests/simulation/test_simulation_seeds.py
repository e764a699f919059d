"""Real nodes on simulated machines, for as many seeds as the time allows; equal seeds are equal runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.testing.sim import SIZES, Failure, Summary, run_seed, run_seeds

SECONDS = float(os.environ.get("SIMULATION_SECONDS", "20")) / len(SIZES)
"""For each size."""
FIRST = int(os.environ.get("SIMULATION_FIRST", "1"))
SOURCES = Path(__file__).parents[2] / "src"


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("nodes", SIZES)
def test_simulation_seeds_keep_every_promise(nodes: int) -> None:
    """No schedule of faults makes the nodes break a promise, and the runs were not empty."""
    passed, failure = run_seeds(FIRST, 1_000_000, SECONDS, nodes=nodes)
    assert failure is None, str(failure)
    assert sum(summary.acknowledged for summary in passed) > 10 * len(passed)
    assert sum(summary.unknown for summary in passed) > 0
    assert sum(summary.lives for summary in passed) > 2 * len(passed)
    if nodes == 1:
        assert sum(summary.backups for summary in passed) > len(passed)
    else:
        assert sum(summary.terms for summary in passed) > 2 * len(passed)


@pytest.mark.parametrize("nodes", SIZES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_simulation_same_seed_is_the_same_run(seed: int, nodes: int) -> None:
    """Two runs of a seed give the same trace."""
    first = run_seed(seed, nodes=nodes)
    assert not isinstance(first, Failure), str(first)
    assert run_seed(seed, nodes=nodes) == first


@pytest.mark.parametrize("nodes", SIZES)
def test_simulation_seed_does_not_depend_on_the_process(nodes: int) -> None:
    """Another process, with another hash seed, runs the same trace: or printed seeds could not be replayed."""
    code = f"from dkv.testing.sim import run_seed; print(run_seed(5, nodes={nodes}).digest)"
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    here = run_seed(5, nodes=nodes)
    assert isinstance(here, Summary)
    assert done.stdout.strip() == here.digest
