"""dkvsrv before it serves: help, version, the check of a configuration, and errors."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dkv import __version__
from dkv.cli import dkvsrv


@pytest.fixture(autouse=True)
def _no_real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {})


def test_help_asked_for_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults and old spellings are shown, and no line is wider than 120 columns."""
    assert dkvsrv.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "[127.0.0.1:8080] (also -dkvSvcPort, -dbListenAddr)" in text
    assert max(map(len, text.splitlines())) <= 120


def test_version_asked_for_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout."""
    assert dkvsrv.main(["--version"]) == 0
    assert capsys.readouterr().out == f"dkvsrv {__version__}\n"


def test_check_config_usable_prints_values_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    """Every value with where it comes from."""
    assert dkvsrv.main(["--check-config", "-dbFolder", "/x", "-nexus-node-state=y"]) == 0
    output = capsys.readouterr()
    lines = [line.split() for line in output.out.splitlines()]
    assert ["db-folder", "=", "/x", "#", "--dbFolder"] in lines
    assert ["drain-timeout", "=", "10000ms", "#", "default"] in lines
    assert output.err == "[WARN] --nexus-node-state has no effect: a node finds out itself\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--check-config", "--role", "x"], "dkvsrv: Invalid 'dbRole'."),
        (["--nonsense"], "dkvsrv: unknown flag: --nonsense\nUsage: dkvsrv"),
    ],
)
def test_settings_unusable_end_with_code_2(capsys: pytest.CaptureFixture[str], words: list[str], error: str) -> None:
    """The reason is on stderr; a malformed command line also gets the usage line."""
    assert dkvsrv.main(words) == 2
    output = capsys.readouterr()
    assert output.err.startswith(error)
    assert output.out == ""


def test_settings_usable_are_handed_to_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server gets settings and warnings, and its result is the exit code."""
    calls: list[Any] = []
    server = ModuleType("dkv.server.main")
    server.run = lambda settings, warnings: calls.append((settings.node_name, warnings)) or 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dkv.server", ModuleType("dkv.server"))
    monkeypatch.setitem(sys.modules, "dkv.server.main", server)
    assert dkvsrv.main(["--node-name", "n"]) == 7
    assert calls == [("n", [])]


@pytest.mark.parametrize("name", ["yaml", "rocksdict", "prometheus_client"])
def test_client_installation_without_a_server_says_what_to_install(tmp_path: Path, name: str) -> None:
    """pip install dkv is the client; no traceback, whichever package is missed first."""
    (tmp_path / "settings.yaml").write_text("node-name: n")
    code = f"import sys; sys.modules[{name!r}] = None; from dkv.cli.dkvsrv import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", "settings.yaml", "--root-folder", tmp_path],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"dkvsrv: the server needs {name}, which pip install 'dkv[server]' brings\n"


def test_module_of_ours_that_is_missing_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks like one."""
    monkeypatch.setitem(sys.modules, "dkv.server.main", None)
    with pytest.raises(ModuleNotFoundError, match=r"dkv\.server\.main"):
        dkvsrv.main([])
