"""A simulation that finds nothing proves nothing: known bugs, applied to a copy of the sources, have to be found.

The bugs are patches; nothing in `src/` can switch one on. A patch that no longer applies fails here: write it anew.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.simulation.native import BUILD_SECONDS_MAX, build

pytest.importorskip("dkv._native", reason="the native module is not built")

ROOT = Path(__file__).parents[2]
ALONE = Path(__file__).parent / "bugs"
FOLDERS = {ALONE: 1, ALONE / "cluster": 3, ALONE / "crate": 3}
"""With how many nodes the clusters begin in which those of a folder are looked for."""
BUGS = [(nodes, bug) for folder, nodes in FOLDERS.items() for bug in sorted(folder.glob("*.patch"))]
FOUND_BY_RAFT = {"wiped-node-under-its-old-id", "damage-cut-as-a-torn-tail", "two-changes-at-once"}
"""A log that forgot what it had acknowledged meets a check of Raft's own, whose panic ends the process; and Raft may
refuse to apply the second of two changes."""
PROCESSES = 2
"""They share the seeds: the cores of a small machine in CI."""
SEEDS_MAX = 200
"""Of each. The table of what is found when is in docs/design/0006-simulation.md."""


@pytest.mark.timeout(420 + BUILD_SECONDS_MAX)
@pytest.mark.parametrize(("nodes", "bug"), BUGS, ids=lambda value: getattr(value, "stem", str(value)))
def test_simulation_finds_the_bug(nodes: int, bug: Path, tmp_path: Path) -> None:
    """With this bug some seed fails, with a complaint about a promise, and says how to replay it."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    is_native = bug.parent.name == "crate"
    if is_native:
        shutil.copytree(ROOT / "crate", tmp_path / "crate", ignore=shutil.ignore_patterns("target"))
    subprocess.run(["git", "apply", "-p1", "-C0", str(bug)], cwd=tmp_path, check=True, timeout=30)
    if is_native:
        build(tmp_path / "crate", next((tmp_path / "src" / "dkv").glob("_native*.so")))
    code, said = first_to_fail(nodes, tmp_path)
    assert code == 1, said
    assert re.search(r"^seed \d+: ", said, re.MULTILINE), said
    is_crash = "Traceback" in said or "ended by signal" in said
    assert bug.stem in FOUND_BY_RAFT or not is_crash, "a patch that only crashes proves nothing about the checkers"
    assert re.search(r"^replay: make sim NODES=\d FIRST=\d+ SEEDS=1 STEPS=\d+$", said, re.MULTILINE)


def first_to_fail(nodes: int, folder: Path) -> tuple[int, str]:
    """Runs the seeds over the sources in `folder`. The exit code and all that was said by the first process that found
    something, or by one that found nothing when all have ended. The others are ended."""
    seeds = ["--stride", str(PROCESSES), "--seeds", str(SEEDS_MAX), "--nodes", str(nodes)]
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    running = []
    for first in range(1, PROCESSES + 1):
        command = [sys.executable, "-m", "dkv.testing.sim", "--first", str(first), *seeds]
        with (folder / f"said-{first}").open("w") as said:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said, process_group=0)
        running.append((process, folder / f"said-{first}"))
    try:
        codes = [None]
        while None in codes and 1 not in codes:
            time.sleep(0.05)
            codes = [process.poll() for process, _ in running]
    finally:
        for process, _ in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # a process of its own runs the seeds
            process.wait()
    found = codes.index(1) if 1 in codes else 0
    return codes[found] or 0, running[found][1].read_text()


def test_simulation_has_bugs_to_find() -> None:
    """The folders of bugs are not empty."""
    assert {bug.parent for _, bug in BUGS} == FOLDERS.keys()
