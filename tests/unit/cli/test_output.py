"""Standard output that goes away, is full, or never was: for every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = ("dkv.cli.dkvsrv", "dkv.cli.dkvctl")
ENVIRONMENT = {"PYTHONPATH": ":".join(filter(None, sys.path))}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("word", ["--help", "--version"])
def test_reader_that_leaves_ends_quietly(program: str, word: str) -> None:
    """`dkvsrv --help | head -1` prints no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", program, word], stdout=writer, stderr=subprocess.PIPE, env=ENVIRONMENT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("program", PROGRAMS)
def test_full_disk_is_a_line_and_a_failure(program: str) -> None:
    """What was asked for did not arrive."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", program, "--help"], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
    assert done.returncode == 1
    assert done.stderr.endswith(b": [Errno 28] No space left on device\n")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_stdout_that_never_was_ends_quietly(program: str) -> None:
    """`dkvctl --help >&-`."""
    command = f'exec "{sys.executable}" -m {program} --help >&-'
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, b"")
