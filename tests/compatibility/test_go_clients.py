"""Tools written in Go, by people who never saw this server, against a real one: what users of gRPC reach for first.

`make compat` installs them where Go is; without them these tests are skipped, and nothing here uses a network.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".build" / "go-bin"
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
TOOL_SECONDS_MAX = 60
DKV = "dkv.serverpb.DKV"

Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server process; it must end well on SIGTERM."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as first, socket.socket() as second:
        for listener in (first, second):
            listener.bind(("127.0.0.1", 0))
        grpc, http = (f"127.0.0.1:{listener.getsockname()[1]}" for listener in (first, second))
    command = [sys.executable, "-m", "dkv.cli.dkvsrv", "--db-folder", str(folder / "db")]
    command += ["--listen-addr", grpc, "--http-listen-addr", http]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    log = folder / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "serves gRPC on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        yield grpc
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS_MAX) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def tool(name: str) -> Tool:
    """Runs a tool; skips when it is not installed."""
    path = TOOLS / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: it takes Go, and make compat")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(path), *arguments], capture_output=True, text=True, timeout=TOOL_SECONDS_MAX, check=False
        )

    return run


@pytest.fixture
def grpcurl(address: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    run = tool("grpcurl")

    def ask(*words: str, **fields: Any) -> subprocess.CompletedProcess[str]:
        data = ("-d", json.dumps(fields)) if fields else ()
        return run("-plaintext", "-max-time", "30", *data, address, *words)

    return ask


def text(value: bytes) -> str:
    """Bytes as protobuf's JSON spells them."""
    return base64.b64encode(value).decode()


def messages(output: str) -> list[dict[str, Any]]:
    """The JSON objects that follow each other in a tool's output."""
    found, decoder, rest = [], json.JSONDecoder(), output.strip()
    while rest:
        message, end = decoder.raw_decode(rest)
        found.append(message)
        rest = rest[end:].lstrip()
    return found


def test_grpcurl_lists_services_and_methods(grpcurl: Tool) -> None:
    """Reflection names what is served, over a stream that stays open."""
    services = grpcurl("list")
    assert services.returncode == 0, services.stderr
    assert {DKV, "dkv.v1.KV", "grpc.health.v1.Health"} <= set(services.stdout.split())
    methods = set(grpcurl("list", DKV).stdout.split())
    assert {f"{DKV}.{name}" for name in ("Put", "Get", "MultiGet", "Delete", "Iterate", "CompareAndSet")} <= methods


def test_grpcurl_describes_services_messages_and_members(grpcurl: Tool) -> None:
    """Each question of a description is answered from what the server knows."""
    for symbol, expected in (
        (DKV, "rpc Put ( .dkv.serverpb.PutRequest ) returns ( .dkv.serverpb.PutResponse );"),
        (f"{DKV}.Put", "rpc Put ( .dkv.serverpb.PutRequest )"),
        ("dkv.serverpb.PutRequest", "bytes key = 1;"),
        ("dkv.serverpb.PutRequest.key", "bytes key = 1;"),
    ):
        described = grpcurl("describe", symbol)
        assert described.returncode == 0, described.stderr
        assert expected in described.stdout
    assert "not found" in grpcurl("describe", "no.Such").stderr


def test_grpcurl_puts_gets_iterates_and_deletes_with_json(grpcurl: Tool) -> None:
    """Calls need no .proto file at hand: the tool asks for the types, then calls."""
    for key in (b"go/a", b"go/b"):
        put = grpcurl(f"{DKV}/Put", key=text(key), value=text(key * 2))
        assert put.returncode == 0, put.stderr
    (got,) = messages(grpcurl(f"{DKV}/Get", key=text(b"go/a"), readConsistency="LINEARIZABLE").stdout)
    assert got["value"] == text(b"go/ago/a")
    pairs = messages(grpcurl(f"{DKV}/Iterate", keyPrefix=text(b"go/")).stdout)
    assert [pair["key"] for pair in pairs] == [text(b"go/a"), text(b"go/b")]
    assert grpcurl(f"{DKV}/Delete", key=text(b"go/a")).returncode == 0
    (gone,) = messages(grpcurl(f"{DKV}/Get", key=text(b"go/a")).stdout)
    assert "value" not in gone


@pytest.mark.parametrize("authority", ["node set 1", "/tmp/dkv.sock", "%2Ftmp%2Fdkv.sock"])
def test_grpcurl_with_any_authority_is_answered(address: str, authority: str) -> None:
    """Go's gRPC sends what it is told; the original's sharded client tells it the name of a node set."""
    request = json.dumps({"key": text(b"go/absent")})
    got = tool("grpcurl")("-plaintext", "-authority", authority, "-d", request, address, f"{DKV}/Get")
    assert got.returncode == 0, got.stderr


def test_grpcurl_shows_the_code_of_a_refusal(grpcurl: Tool) -> None:
    """A refused call is an exit code and a code by name."""
    refused = grpcurl(f"{DKV}/Put", value=text(b"v"))
    assert refused.returncode != 0
    assert "Code: InvalidArgument" in refused.stderr


def test_ghz_calls_many_times_and_none_fails(address: str) -> None:
    """A load generator finds the method by reflection and gets an OK for every call."""
    report = tool("ghz")(
        *("--insecure", "--call", f"{DKV}/Put", "--data", json.dumps({"key": text(b"ghz"), "value": text(b"v")})),
        *("--total", "2000", "--concurrency", "20", "--connections", "4", "--timeout", "30s", "--format", "json"),
        address,
    )
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["statusCodeDistribution"] == {"OK": 2000}


def test_health_probe_says_serving(address: str) -> None:
    """What an orchestrator runs agrees that the server serves."""
    probe = tool("grpc-health-probe")("-addr", address)
    assert (probe.returncode, "SERVING" in probe.stderr + probe.stdout) == (0, True)
