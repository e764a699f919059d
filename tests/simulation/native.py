"""The native module built from a copy of the crate, for bugs that are inside of it.

The copy stands in one place below `.build` whatever it is a copy of, and only files that differ are written: so cargo
compiles what it depends on once, in the folder and with the profile of `make test-crate`, and of the crate itself what
a bug has changed. Its library has a name of its own there, and none of the real one is ever overwritten.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT = ROOT / ".build" / "bugs"
NAME = "bug_native"
BUILD_SECONDS_MAX = 600
"""Of everything that the crate depends on, beside other tests on two cores; a bug takes a few seconds."""


def build(crate: Path, module: Path) -> None:
    """`module` is what these sources make. Raises AssertionError with what the compiler said."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with _alone():
        _copy(crate, BUILT / "crate")
        environment = {
            **os.environ,
            "CARGO_TARGET_DIR": str(ROOT / "crate" / "target"),
            "PYO3_PYTHON": sys.executable,
            "PYO3_BUILD_EXTENSION_MODULE": "1",  # as maturin has it: nothing of Python is linked in
        }
        command = ["cargo", "build", "--quiet", "--locked", "--lib"]
        done = subprocess.run(
            command, cwd=BUILT / "crate", env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS_MAX
        )
        assert done.returncode == 0, done.stderr
        suffix = "dylib" if sys.platform == "darwin" else "so"
        shutil.copyfile(ROOT / "crate" / "target" / "debug" / f"lib{NAME}.{suffix}", module)


@contextmanager
def _alone() -> Iterator[None]:
    """No other process builds one meanwhile."""
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy(crate: Path, to: Path) -> None:
    wanted = {path.relative_to(crate): path.read_bytes() for path in crate.rglob("*") if path.is_file()}
    manifest = wanted[Path("Cargo.toml")]
    assert b'name = "_native"' in manifest
    wanted[Path("Cargo.toml")] = manifest.replace(b'name = "_native"', f'name = "{NAME}"'.encode())
    for path in to.rglob("*"):
        if path.is_file() and path.relative_to(to) not in wanted:
            path.unlink()
    for name, content in wanted.items():
        path = to / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
