"""What make dist builds: unpacked elsewhere it serves, in an image it is healthy, under systemd its unit is sound.

Built once for all tests here. The environment of the commands is empty but for a PATH with the Python of the build.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
ELSEWHERE = {"PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin"}
SECONDS_MAX = 60
pytestmark = pytest.mark.timeout(600)  # where nothing is compiled yet, the wheel takes minutes


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/, freshly built from this tree."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, ROOT / "tools" / "make_dist.py"], env={**os.environ, "DIST": str(out)}, check=True)
    return out


@pytest.fixture(scope="module")
def tarball(dist: Path) -> Path:
    (found,) = dist.glob("*-*/dkv-*.tar.gz")
    return found


@pytest.fixture(scope="module")
def unpacked(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball's one folder, in a place with a space in its name."""
    place = tmp_path_factory.mktemp("else where")
    subprocess.run(["tar", "-xzf", tarball], cwd=place, check=True)
    (folder,) = place.iterdir()
    return folder


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**ELSEWHERE, **environment}, cwd="/", capture_output=True, text=True, timeout=SECONDS_MAX
    )


class Service:
    """A server that somebody else put there; `address` is where it serves."""

    def __init__(self, command: list[str | Path], environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(command, env={**ELSEWHERE, **environment}, cwd="/", stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        self.said = ""
        while (found := re.search(r"serves gRPC on (\S+), HTTP", self.said)) is None:
            line = self.process.stderr.readline().decode()
            assert line, f"the server ended at its start:\n{self.said}"
            self.said += line
        self.address = found[1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS_MAX)


@pytest.fixture
def serve() -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def start(*command: str | Path, **environment: str) -> Service:
        made.append(Service(list(command), environment))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.communicate()


def test_tarball_unpacked_elsewhere_serves(unpacked: Path, tmp_path: Path, serve: Callable[..., Service]) -> None:
    """Put, get, health, a backup, which is a process of its own, and a benchmark; nothing of this tree is in reach."""
    flags = ["--db-folder", tmp_path / "db", "--listen-addr", "127.0.0.1:0", "--http-listen-addr", "127.0.0.1:0"]
    server = serve(unpacked / "bin" / "dkvsrv", *flags)
    (tmp_path / "ctl").symlink_to(unpacked / "bin" / "dkvctl")
    for words, output in (
        (["set", "foo", "bar"], "OK\n"),
        (["get", "foo"], "bar\n"),
        (["health"], "SERVING\n"),
        (["backup", tmp_path / "backup"], "Successfully backed up\n"),
    ):
        done = run(tmp_path / "ctl", "-a", server.address, *words)
        assert (done.returncode, done.stdout) == (0, output), done.stderr
    host, _, port = server.address.partition(":")
    done = run(unpacked / "bin" / "dkvbench", "-name", "Insert", "-dkvSvcHost", host, "-dkvSvcPort", port)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[OK]   1000 responses" in done.stdout
    assert server.stop() == 0


def test_upgrade_and_the_way_back_are_as_documented(
    tarball: Path, tmp_path: Path, serve: Callable[..., Service]
) -> None:
    """docs/usage/upgrade.md: stop, copy, change the link, start. Back: the old one refuses what is newer than it knows,
    and serves the copy."""
    current, data, copy = tmp_path / "dkv", tmp_path / "data", tmp_path / "data-OLD"
    for name in ("OLD", "NEW"):
        (tmp_path / name).mkdir()
        subprocess.run(["tar", "-xzf", tarball, "-C", tmp_path / name, "--strip-components=1"], check=True)

    def release(name: str) -> list[str | Path]:
        current.unlink(missing_ok=True)
        current.symlink_to(tmp_path / name)
        here = ["--listen-addr", "127.0.0.1:0", "--http-listen-addr", "127.0.0.1:0"]
        return [current / "bin" / "dkvsrv", "--db-folder", data, *here]

    def ctl(server: Service, *words: str) -> str:
        return run(current / "bin" / "dkvctl", "-a", server.address, *words).stdout

    old = serve(*release("OLD"))
    assert ctl(old, "set", "a", "1") == "OK\n"
    assert old.stop() == 0
    shutil.copytree(data, copy)
    new = serve(*release("NEW"))
    assert (ctl(new, "get", "a"), ctl(new, "set", "b", "2")) == ("1\n", "OK\n")
    assert new.stop() == 0
    identity = json.loads((data / "DKV").read_text())
    (data / "DKV").write_text(json.dumps({**identity, "format": identity["format"] + 1}))
    refused = run(*release("OLD"))
    assert refused.returncode == 1
    assert "was written by a newer release" in refused.stderr
    shutil.rmtree(data)
    copy.rename(data)
    back = serve(*release("OLD"))
    assert (ctl(back, "get", "a"), ctl(back, "get", "b")) == ("1\n", "\n")
    assert back.stop() == 0


def test_tarball_says_its_version_and_python(unpacked: Path) -> None:
    """Whatever Python variables and folders somebody has; another Python is refused by name."""
    strange = {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "HOME": "/nowhere"}
    version = unpacked.name.split("-")[1]
    assert run(unpacked / "bin" / "dkvsrv", "--version", **strange).stdout == f"dkvsrv {version}\n"
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for wrong in ("/nowhere/python", shutil.which("false") or "false"):
        refused = run(unpacked / "bin" / "dkvctl", "--version", DKV_PYTHON=wrong)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith(f"dkvctl: needs {python}, and {wrong} is not")


def test_tarball_holds_what_its_sum_says(tarball: Path) -> None:
    """No file of a user's, nothing outside its folder, and no compiled file of ours is missing."""
    assert (tarball.parent / "SHA256SUMS").read_text() == (
        f"{hashlib.sha256(tarball.read_bytes()).hexdigest()}  {tarball.name}\n"
    )
    with tarfile.open(tarball) as archive:
        members = archive.getmembers()
    assert {member.name.partition("/")[0] for member in members} == {tarball.name.removesuffix(".tar.gz")}
    assert {(member.uid, member.mode) for member in members} <= {(0, 0o755), (0, 0o644)}
    names = {member.name.partition("/")[2] for member in members}
    assert {
        "bin/dkvsrv",
        "bin/dkvctl",
        "bin/dkvbench",
        "LICENSE",
        "systemd/dkv.service",
        "docs/usage/install.md",
    } <= names
    assert any(name.startswith("lib/dkv/cli/__pycache__/dkvctl.") for name in names)


def test_wheel_is_a_client_with_a_server_as_an_extra(dist: Path) -> None:
    """One for all Pythons from 3.11 on; without the extra it wants protobuf and a hash alone."""
    (wheel,) = dist.glob("*.whl")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as package:
        names = package.namelist()
        (metadata,) = [package.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")]
    needed = Parser().parsestr(metadata).get_all("Requires-Dist") or []
    assert [each for each in needed if "extra ==" not in each] == ["protobuf>=7.36,<8", "xxhash>=4.1,<5"]
    assert any(each.startswith("rocksdict") and "extra == 'server'" in each for each in needed)
    assert {"dkv/_native.abi3.so", "dkv/wire/descriptors.binpb"} <= set(names)
    assert not any("__pycache__" in name for name in names)


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, rest) of the Dockerfile, continued lines joined."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def words_of(instruction: str) -> list[str]:
    """The words of an instruction in its JSON form."""
    (found,) = [rest for name, rest in dockerfile() if name == instruction]
    return re.findall(r'"([^"]*)"', found)


def test_image_laid_out_serves_and_is_healthy(tarball: Path, tmp_path: Path, serve: Callable[..., Service]) -> None:
    """The RUN step of the Dockerfile, below a folder; ENTRYPOINT and HEALTHCHECK as they stand there."""
    (step,) = [rest for name, rest in dockerfile() if name == "RUN" and "image.sh" in rest]
    script, _, place = step.split()
    subprocess.run([ROOT / script, tarball, f"{tmp_path}{place}"], check=True)
    image = tmp_path / place.removeprefix("/")
    entry, *arguments = words_of("ENTRYPOINT")
    assert os.readlink(image / "usr/local/bin" / entry) == f"/opt/dkv/bin/{entry}"
    arguments = [f"{image}{word}" if word.startswith("/") else word for word in arguments]
    here = {"DKV_DB_FOLDER": f"{image}/var/lib/dkv/data", "DKV_LISTEN_ADDR": "0.0.0.0:0"}
    server = serve(image / "opt/dkv/bin" / entry, *arguments, **here, DKV_HTTP_LISTEN_ADDR="127.0.0.1:0")
    assert "listen-addr 0.0.0.0:0 can be reached from other machines, and there is no authentication" in server.said
    program, *words = words_of("HEALTHCHECK")
    assert program == "dkvctl"
    address = server.address.replace("0.0.0.0", "127.0.0.1")
    healthy = run(image / "opt/dkv/bin" / program, "-a", address, *words)
    assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n")
    assert server.stop() == 0
    assert run(image / "opt/dkv/bin" / program, "-a", address, *words).returncode == 1


def test_image_script_without_a_tarball_is_refused(tmp_path: Path) -> None:
    """Also when the pattern of the Dockerfile finds none, or two."""
    for words in ([], [tmp_path / "dkv-*.tar.gz", tmp_path / "image"], [ROOT / "LICENSE", ROOT / "LICENSE", tmp_path]):
        done = run(DEPLOY / "docker" / "image.sh", *words)
        assert done.returncode == 2
        assert done.stderr.startswith("Usage: image.sh TARBALL ROOT")
    assert list(tmp_path.iterdir()) == []


def test_dockerfile_is_of_one_piece() -> None:
    """Not as root, the folder of the settings is the volume, their ports are exposed, and what is left out can be."""
    steps = dockerfile()
    assert [name for name, _ in steps].count("FROM") == 2
    found = dict(steps)
    settings = (DEPLOY / "docker" / "dkvsrv.yaml").read_text()
    ports = re.findall(r"listen-addr: 0\.0\.0\.0:(\d+)", settings)
    assert found["EXPOSE"].split() == ports
    assert re.search(r"db-folder: (\S+)", settings)[1].startswith(found["VOLUME"] + "/")  # type: ignore[index]
    assert found["USER"] == re.search(r"^user=(\S+)", (DEPLOY / "docker" / "image.sh").read_text(), re.M)[1]  # type: ignore[index]
    assert not found["USER"].startswith(("0", "root"))


def test_unit_is_sound(tmp_path: Path, unpacked: Path) -> None:
    """By systemd's own judgement, with the commands where the tarball has them here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    text = (DEPLOY / "systemd" / "dkv.service").read_text()
    place = tmp_path / "dkv"  # systemd splits words at the space
    place.symlink_to(unpacked)
    unit = tmp_path / "dkv.service"
    unit.write_text(text.replace("/opt/dkv", str(place)).replace("User=dkv", "User=root"))
    done = run("systemd-analyze", "verify", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["docker", "systemd"])
def test_settings_shipped_can_be_used(unpacked: Path, name: str) -> None:
    """No unknown key, no value that is refused; the one warning is about the addresses of the image."""
    done = run(unpacked / "bin" / "dkvsrv", "--config", DEPLOY / name / "dkvsrv.yaml", "--check-config")
    assert done.returncode == 0
    assert all("can be reached from other machines" in line for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) == (2 if name == "docker" else 0)
    assert re.search(r"db-folder = /var/lib/dkv/data\s+# .*dkvsrv.yaml, key db-folder", done.stdout)
