"""Stories of Raft groups as text files, each step with what it led to.

A file is a list of steps, divided by empty lines: comments, a command a line, `----`, and the output of the commands.
A changed output is looked at, and taken over with `SCENARIOS=rewrite make test TESTS=tests/scenarios`.
"""

import os
from pathlib import Path

import pytest
from raft_cluster import Cluster

FILES = sorted(Path(__file__).parent.glob("*.txt"))


def played(text: str) -> str:
    """The scenario with the output that it has now."""
    cluster = Cluster()
    steps = []
    for step in text.strip().split("\n\n"):
        lines = step.split("\n----", 1)[0].splitlines()
        output: list[str] = []
        for line in lines:
            if line and not line.startswith("#"):
                command, *words = line.split()
                output += cluster.commands[command](*words)
        has_commands = any(not line.startswith("#") for line in lines)
        steps.append("\n".join([*lines, *(["----", *(output or ["ok"])] if has_commands else [])]))
    return "\n\n".join(steps) + "\n"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_goes_as_written(path: Path) -> None:
    """The same commands lead to the same messages, writes and entries."""
    written = path.read_text()
    now = played(written)
    if os.environ.get("SCENARIOS") == "rewrite":
        path.write_text(now)
    else:
        assert now == written


def test_scenario_files_are_found() -> None:
    """A folder that moved must not make the suite pass in silence."""
    assert len(FILES) >= 8
