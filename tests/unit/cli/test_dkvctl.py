"""dkvctl around its commands: usage, help, connection, and what it loads."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from dkv import __version__
from dkv.cli import dkvctl
from dkv.cli.ctl.gotext import go_text
from dkv.wire import messages as pb
from dkv.wire.errors import from_status

HEAVY = ("grpc", "rocksdict", "yaml", "asyncio", "multiprocessing", "google.protobuf.descriptor_pool", "dkv.server",
         "dkv.storage", "dkv.settings", "dkv._native", "concurrent.futures")  # fmt: skip


def test_arguments_missing_shows_usage_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """No arguments: usage, exit code 2."""
    assert dkvctl.main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("Usage: dkvctl")


def test_usage_error_ends_with_2_before_connecting(capsys: pytest.CaptureFixture[str]) -> None:
    """The text is on stderr."""
    assert dkvctl.main(["--get", "a", "b"]) == 2
    assert capsys.readouterr().err == (
        "Error: Invalid Syntax. Usage of dkvctl:\n  --get key\n(dkvctl --help shows how)\n"
    )


@pytest.mark.parametrize("text", ["soon", "9999999999999999999"])
def test_ttl_not_a_number_is_a_usage_error(server: Any, capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Nothing was sent."""
    assert dkvctl.main(["--ttl", "a", text], connect=lambda _: server.client()) == 2
    assert capsys.readouterr().err.startswith(f"invalid number of seconds: {text}\n")
    assert server.requests == []


@pytest.mark.parametrize(
    ("word", "start"), [("--help", "Usage: dkvctl"), ("-h", "Usage"), ("-version", f"dkvctl {__version__}")]
)
def test_help_and_version_are_on_stdout(capsys: pytest.CaptureFixture[str], word: str, start: str) -> None:
    """Asked for, they are results."""
    assert dkvctl.main([word]) == 0
    output = capsys.readouterr().out
    assert output.startswith(start)
    assert max(map(len, output.splitlines())) <= 120


def test_version_is_that_of_pyproject() -> None:
    """Which is the one place where it stands."""
    project = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())
    assert __version__ == project["project"]["version"]


def test_oldest_set_without_a_pair_is_told_on_stdout_and_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """As the original, which says it where results stand."""
    assert dkvctl.main(["-set", "foo"]) == 2
    assert capsys.readouterr() == ("Expected in key:value format for set. Given: foo\n", "")


def test_connection_refused_says_so_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1, the reason on stdout."""

    def refuse(_options: object) -> Any:
        raise ConnectionError("nobody there")

    assert dkvctl.main(["--get", "a"], connect=refuse) == 1
    assert capsys.readouterr().out == "Unable to create DKV client. Error: nobody there\n"


@pytest.mark.parametrize(
    ("code", "name"), [(3, "InvalidArgument"), (8, "ResourceExhausted"), (12, "Unimplemented"), (1, "Canceled")]
)
def test_error_as_text_has_the_form_of_go(code: int, name: str) -> None:
    """Scripts search this text."""
    assert go_text(from_status(code, "x y")) == f"rpc error: code = {name} desc = x y"


def test_import_of_dkvctl_loads_nothing_heavy() -> None:
    """A command answers at once: no server code, no engine, no event loop, no native module before it connects."""
    code = f"import sys, dkv.cli.dkvctl; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    assert result.stdout.strip() == "[]"


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["--set", "k", "v"], "PutRequest"),
        (["--del", "k"], "DeleteRequest"),
        (["--mput", "k", "v"], "MultiPutRequest"),
        (["--cas", "k", "", "v"], "CompareAndSetRequest"),
        (["--ttl", "apple", "5"], "CompareAndSetRequest"),
        (["--ttl", "apple", "0"], "CompareAndSetRequest"),
        (["-set", "k:v"], "PutRequest"),
    ],
)
def test_every_command_that_writes_asks_for_the_acknowledgement(server: Any, words: list[str], method: str) -> None:
    """And what only set and del may ask for is a usage error of the others."""
    server.pairs[b"apple"] = b"red"
    assert dkvctl.main([*words, "--ack", "all"], connect=lambda _: server.client()) == 0
    path, request = server.requests[-1]
    assert getattr(pb, method).FromString(request).acknowledgement == pb.Acknowledgement.ALL, path
    sent = len(server.requests)
    code = dkvctl.main([*words, "--ack", "fast"], connect=lambda _: server.client())
    if method in ("PutRequest", "DeleteRequest"):
        assert code == 0
        assert getattr(pb, method).FromString(server.requests[-1][1]).acknowledgement == pb.Acknowledgement.FAST
    else:
        assert (code, len(server.requests)) == (2, sent)
