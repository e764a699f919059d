"""What an operator sees and does, on real servers: logs, signals, metrics, StatsD, health watches."""

import json
import math
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 20


def eventually(condition: Callable[[], object]) -> None:
    """Returns once `condition` holds; fails when it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        pause.wait(0.01)


def http_address(server: Any) -> str:
    found = re.search(r"HTTP on (\S+);", server.output())
    assert found is not None
    return found[1]


def page(server: Any, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{http_address(server)}{path}", timeout=PATIENCE_S) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_access_log_has_every_call_and_survives_its_rotation(
    make_server: Callable[..., Any], make_client: Callable[..., Any], tmp_path: Path
) -> None:
    """Rename, SIGHUP: old lines in the old file, new ones in the new one, none lost; no key and no value in either."""
    path = tmp_path / "access.log"
    server = make_server("--access-log", str(path))
    client = make_client(server)
    client("Put", key=b"secret-key", value=b"secret-value")
    client.refused("Put", key=b"")
    eventually(lambda: path.read_text().count("\n") == 2)
    path.rename(tmp_path / "access.log.1")
    server.process.send_signal(signal.SIGHUP)
    eventually(path.exists)
    client("Get", key=b"secret-key")
    assert server.stop() == 0
    first, second = (tmp_path / "access.log.1").read_text().splitlines()
    (third,) = path.read_text().splitlines()
    assert "method=/dkv.serverpb.DKV/Put code=0 " in first
    assert "method=/dkv.serverpb.DKV/Put code=3 " in second
    assert "method=/dkv.serverpb.DKV/Get code=0 " in third
    assert "secret" not in first + second + third


def test_access_log_whose_reader_does_not_read_stops_nothing(
    make_server: Callable[..., Any], make_client: Callable[..., Any], tmp_path: Path
) -> None:
    """A pipe that is full for good: calls are answered, and the server ends in time."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        server = make_server("--access-log", str(path))
        client = make_client(server)
        for _ in range(1_500):
            client("Get", key=b"k")
        assert server.stop() == 0
    finally:
        os.close(reader)


def test_access_log_on_a_full_disk_stops_nothing(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Lines are lost, calls are not."""
    server = make_server("--access-log", "/dev/full")
    client = make_client(server)
    client("Put", key=b"k", value=b"v")
    assert client("Get", key=b"k").value == b"v"
    assert server.stop() == 0


def test_access_log_on_stdout_in_json(make_server: Callable[..., Any], make_client: Callable[..., Any]) -> None:
    """With `--log-format json` every line of the server is one object."""
    slow = ("--slow-request", "5ms", "--log-sync-delay", "20")
    server = make_server("--access-log", "stdout", "--log-format", "json", *slow)
    make_client(server)("Put", key=b"k", value=b"v")
    eventually(lambda: "slow call" in server.output())
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.output().splitlines()]
    (call,) = [line for line in lines if "peer" in line and "message" not in line]
    assert (call["method"], call["code"], call["request_bytes"]) == ("/dkv.serverpb.DKV/Put", 0, 6)
    assert [line["level"] for line in lines if line.get("message") == "slow call"] == ["warn"]


def test_level_of_the_log_is_changed_by_signals(make_server: Callable[..., Any]) -> None:
    """SIGUSR1 one level more, SIGUSR2 one less; the server goes on."""
    server = make_server()
    server.process.send_signal(signal.SIGUSR1)
    eventually(lambda: "[WARN] log level: info" in server.output())
    server.process.send_signal(signal.SIGUSR2)
    eventually(lambda: "[WARN] log level: warn" in server.output())
    assert server.stop() == 0


def test_access_log_that_cannot_be_opened_stops_the_start(make_server: Callable[..., Any]) -> None:
    """One line with the reason."""
    with pytest.raises(AssertionError, match="the server ended at its start") as failure:
        make_server("--access-log", "/no/such/folder/x")
    assert "dkvsrv: No such file or directory: /no/such/folder/x" in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_engine_options_that_are_not_known_are_listed_in_one_warning(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    """The others are honoured: a file written for the original starts the server."""
    ini = tmp_path / "rocksdb.ini"
    ini.write_text("max_open_files = 99\nWAL_ttl_seconds = 0\nnonsense = 1\n")
    server = make_server("--db-engine-ini", str(ini))
    assert f"warn {ini}: options that are not honoured: WAL_ttl_seconds, nonsense\n" in server.output()
    options = max((server.folder / "data").glob("OPTIONS-*"))
    assert "max_open_files=99\n" in options.read_text()
    assert server.stop() == 0


def test_engine_option_with_an_impossible_value_stops_the_start(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    """In the original's words."""
    ini = tmp_path / "rocksdb.ini"
    ini.write_text("max_open_files = many\n")
    with pytest.raises(AssertionError, match="the server ended at its start") as failure:
        make_server("--db-engine-ini", str(ini))
    start = f"dkvsrv: unable to load RocksDB configuration from given file: {ini}, error: engine option max_open_files"
    assert start in str(failure.value)


def test_statsd_server_gets_what_happened_once_a_second(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Datagrams below the bound, over a real socket, with the tags of the node."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(PATIENCE_S)
        port = listener.getsockname()[1]
        server = make_server("--statsd-addr", f"127.0.0.1:{port}", "--node-name", "n1", "--db-folder", "db")
        make_client(server)("Put", key=b"k", value=b"v")
        wanted = {"dkv.put.count:1|c", "dkv.rocksdb.put.single.count:1|c"}
        seen: set[str] = set()
        while not wanted <= seen:
            datagram = listener.recv(65536)
            assert len(datagram) <= 1432
            for line in datagram.decode().split("\n"):
                text, tags = line.split("|#")
                assert tags == "database:default,vbucket:default,node:n1"
                seen.add(text)
        assert server.stop() == 0


def test_metrics_before_the_first_call_have_all_families_and_no_nan(make_server: Callable[..., Any]) -> None:
    """A dashboard of an idle server shows zeros."""
    server = make_server()
    status, text = page(server, "/metrics")
    samples = [each for family in text_string_to_metric_families(text.decode()) for each in family.samples]
    assert status == 200
    assert not any(math.isnan(sample.value) for sample in samples)
    names = {sample.name for sample in samples}
    assert {"dkv_standalone_latency", "dkv_latency", "dkv_storage_latency_rocksdb", "dkv_turns_total"} <= names
    assert {"dkv_rocksdb_memory_usage_memtable_unflushed", "process_resident_memory_bytes"} <= names
    assert json.loads(page(server, "/metrics/json")[1])["count"] == 1
    assert page(server, "/debug/pprof/profile") == (404, b"profiling is off: start the server with --pprof\n")
    assert server.stop() == 0


def test_stream_of_metrics_is_read_while_the_server_serves_and_ended_by_its_stop(
    make_server: Callable[..., Any],
) -> None:
    """One JSON object an event."""
    server = make_server()
    with urllib.request.urlopen(f"http://{http_address(server)}/metrics/stream", timeout=PATIENCE_S) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        for _ in range(2):
            line = stream.readline()
            assert line.startswith(b"data: ")
            assert json.loads(line[6:])["count"] == 1
            assert stream.readline() == b"\n"
        assert server.stop() == 0
        assert (rest := stream.read()) == b"" or rest.endswith(b"}\n\n")


def test_profile_shows_the_turn(make_server: Callable[..., Any], make_client: Callable[..., Any]) -> None:
    """With `--pprof`: folded stacks of the node's thread while it works."""
    server = make_server("--pprof")
    client = make_client(server)
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(page(server, "/debug/pprof/profile?seconds=2")))
    asking.start()
    keys = [b"%d" % number for number in range(2_000)]
    while asking.is_alive():
        client("MultiGet", keys=keys)
    ((status, stacks),) = answers
    assert status == 200
    assert b"dkv.node.node.Node.turn" in stacks
    assert server.stop() == 0


def test_health_watch_is_told_at_once_and_when_the_server_closes(make_server: Callable[..., Any]) -> None:
    """Every watcher: SERVING without delay, NOT_SERVING at the stop, then the end of the stream."""
    server = make_server()
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S) for _ in range(3)]
        assert [next(watch).status for watch in watches] == [health_pb2.HealthCheckResponse.SERVING] * 3
        server.process.send_signal(signal.SIGTERM)
        told = [[each.status for each in watch] for watch in watches]
        assert told == [[health_pb2.HealthCheckResponse.NOT_SERVING]] * 3
        assert server.process.wait(PATIENCE_S) == 0
