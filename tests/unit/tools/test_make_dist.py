"""What make dist decides before it builds, and how it packs."""

import os
from pathlib import Path

import make_dist
import pytest


@pytest.mark.parametrize("environ", [{}, {"GOOS": "linux"}, {"GOOS": "linux", "GOARCH": "amd64"}, {"GOOS": ""}])
def test_platform_that_this_is_can_be_built(environ: dict[str, str]) -> None:
    """Named or not; the names are Go's, as in the original's Makefile."""
    assert make_dist.platform_wanted(environ, "Linux", "x86_64") == "linux-amd64"
    assert make_dist.platform_wanted({"GOARCH": "arm64"}, "Darwin", "arm64") == "darwin-arm64"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [({"GOOS": "darwin"}, "darwin-amd64"), ({"GOARCH": "arm64"}, "linux-arm64"), ({"GOOS": "x"}, "x-amd64")],
)
def test_platform_that_this_is_not_is_refused(environ: dict[str, str], wanted: str) -> None:
    """With what to do."""
    with pytest.raises(SystemExit) as refusal:
        make_dist.platform_wanted(environ, "Linux", "x86_64")
    text = f"make dist: {wanted} cannot be built on linux-amd64: RocksDB and the native module are native code."
    assert str(refusal.value) == f"{text} Run make dist on {wanted}."


def test_platform_without_a_server_is_refused() -> None:
    """Windows has a client only."""
    with pytest.raises(SystemExit, match="the server does not run on Windows"):
        make_dist.platform_wanted({}, "Windows", "AMD64")


def test_tarball_depends_on_its_contents_alone(tmp_path: Path) -> None:
    """The same bytes, whoever made the files and when."""
    tarballs = []
    for place in ("one", "two"):
        folder = tmp_path / place / "dkv-1"
        for name in ("b", "a/c"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
            os.utime(folder / name, (len(tarballs), len(tarballs)))
        (folder / "b").chmod(0o700 if place == "one" else 0o755)
        tarballs.append(tmp_path / f"{place}.tar.gz")
        make_dist.pack(folder, tarballs[-1])
    assert tarballs[0].read_bytes() == tarballs[1].read_bytes()


def test_locks_are_read_by_name() -> None:
    """Every package of the server, and none of the tools."""
    names = make_dist.locked(make_dist.ROOT / "requirements" / "run.txt")
    assert {"protobuf", "rocksdict", "pyyaml", "prometheus-client"} <= set(names)
    assert "pytest" not in names
