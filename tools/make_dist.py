"""Builds what is handed out, below dist/: the wheel of the client, and for this platform a tarball of the server.

    dist/dkv-VERSION-cp311-abi3-PLATFORM.whl       pip install of the client; with [server] of the server, too
    dist/OS-ARCH/dkv-VERSION-OS-ARCH.tar.gz        bin/ and lib/: needs nothing but the Python that it was built for
    dist/OS-ARCH/SHA256SUMS

What is in lib/ is what the locks say: it is taken from the venv, where pip has checked its hashes. GOOS and GOARCH name
the platform as in the original's Makefile; native code is built on the platform that it is for, so there is only one.
"""

import compileall
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from py_compile import PycInvalidationMode

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = {"Linux": "linux", "Darwin": "darwin"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
COMMANDS = ("dkvsrv", "dkvctl", "dkvbench")
FILES = ("LICENSE", "README.md", "CHANGELOG.md", "docs", "deploy/systemd")
"""Beside bin/ and lib/."""


def platform_wanted(environ: Mapping[str, str], system: str, machine: str) -> str:
    """OS-ARCH to build for. SystemExit when that is not where we are."""
    here = f"{SYSTEMS.get(system, system.lower())}-{MACHINES.get(machine.lower(), machine.lower())}"
    here_os, _, here_arch = here.partition("-")
    wanted = f"{environ.get('GOOS') or here_os}-{environ.get('GOARCH') or here_arch}"
    if wanted != here:
        raise SystemExit(
            f"make dist: {wanted} cannot be built on {here}: RocksDB and the native module are native code. "
            f"Run make dist on {wanted}."
        )
    if system not in SYSTEMS:
        raise SystemExit(f"make dist: the server does not run on {system}. The client does: pip install the wheel.")
    return here


def main() -> int:
    wanted = platform_wanted(os.environ, platform.system(), platform.machine())
    out = Path(os.environ.get("DIST") or ROOT / "dist").resolve()
    wheel = build_wheel(out)
    version = wheel.name.split("-")[1]
    name = f"dkv-{version}-{wanted}"
    folder = out / wanted
    folder.mkdir(parents=True, exist_ok=True)
    tarball = folder / f"{name}.tar.gz"
    with tempfile.TemporaryDirectory() as aside:
        lay_out(Path(aside, name), wheel)
        pack(Path(aside, name), tarball)
    sum_up(folder, tarball)
    for made in (wheel, tarball):
        print(f"{made}  {made.stat().st_size / (1 << 20):.1f} MiB")
    return 0


def build_wheel(out: Path) -> Path:
    """The wheel, alone of its kind in `out`."""
    for old in out.glob("dkv-*.whl"):
        old.unlink()
    maturin = Path(sys.executable).with_name("maturin")
    subprocess.run([maturin, "build", "--release", "--locked", "--quiet", "--out", out], cwd=ROOT, check=True)
    (wheel,) = out.glob("dkv-*.whl")
    return wheel


def lay_out(folder: Path, wheel: Path) -> None:
    """The tree of the tarball: commands, the libraries that they run with, and what people read."""
    library = folder / "lib"
    with zipfile.ZipFile(wheel) as package:
        package.extractall(library)
    for name in locked(ROOT / "requirements" / "run.txt"):
        copy_distribution(name, library)
    # Whoever runs the server may not be allowed to write here, and must not compile at every start.
    compileall.compile_dir(
        library, quiet=1, stripdir=str(library), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )
    text = (ROOT / "deploy" / "tarball" / "run").read_text()
    text = text.replace("@PYTHON@", PYTHON).replace("@VERSION@", f"{sys.version_info[0]}, {sys.version_info[1]}")
    for name in COMMANDS:
        script = folder / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(text)
        script.chmod(0o755)
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / Path(name).name)


def locked(requirements: Path) -> list[str]:
    """Names of the packages in a lock."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", requirements.read_text(), re.MULTILINE)


def copy_distribution(name: str, library: Path) -> None:
    """What pip has installed of a package, but its commands and its compiled files."""
    package = distribution(name)
    for file in package.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = library / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def pack(folder: Path, tarball: Path) -> None:
    """A tarball that depends on nothing but what is in it: names in order, nobody's ids, one time."""
    with (
        open(tarball, "wb") as file,
        gzip.GzipFile("", "wb", mtime=0, fileobj=file) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for path in entries(folder):
            archive.add(path, path.relative_to(folder.parent), recursive=False, filter=anonymous)


def entries(folder: Path) -> Iterator[Path]:
    yield folder
    yield from sorted(folder.rglob("*"))


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    member.mode = 0o755 if member.mode & 0o100 else 0o644
    return member


def sum_up(folder: Path, tarball: Path) -> None:
    """As `sha256sum --check` reads it."""
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {tarball.name}\n")


if __name__ == "__main__":
    sys.exit(main())
