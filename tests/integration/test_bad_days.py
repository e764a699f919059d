"""Load beyond what fits, readers who do not read, and signals: calls are answered or refused, never lost or stuck."""

import itertools
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

SLOW_READER_COUNT = 20
PATIENCE_SECONDS = 30
PUT, GET, MULTI_PUT, ITERATE = (f"/dkv.serverpb.DKV/{name}" for name in ("Put", "Get", "MultiPut", "Iterate"))


def put_request(client: Any, key: bytes, value: bytes) -> bytes:
    return bytes(client.wire.message("dkv.serverpb.PutRequest")(key=key, value=value).SerializeToString())


def well(server: Any) -> None:
    assert server.process.poll() is None, server.output()
    assert "Traceback" not in server.output(), server.output()
    assert "panicked" not in server.output(), server.output()


def restarted(server: Any, make_client: Callable[..., Any], *clients: Any) -> Any:
    """A client of the server's next life. The old ones are closed: channels to one address share their back-off."""
    for client in clients:
        client.close()
    return make_client(server.start())


def test_iterate_whose_reader_sleeps_holds_little_memory_and_no_one_up(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Twenty readers take one message of 64 MiB: memory stays bounded, others are served, a slow one ends well."""
    server = make_server("--block-cache-size", str(8 << 20), "--write-buffer-size", str(8 << 20))
    client = make_client(server)
    value = random.Random(1).randbytes(32 << 10)
    for start in range(0, 2048, 64):
        puts = [{"key": b"%05d" % number, "value": value} for number in range(start, start + 64)]
        client("MultiPut", putRequest=puts)
    before = server.resident_bytes()
    sleepers = []
    for _ in range(SLOW_READER_COUNT):
        sleepers.append(client.stream("Iterate", timeout=60))
        assert next(sleepers[-1])
    peak = 0
    for number in range(200):
        assert client("Put", key=b"x%d" % number, value=b"v", timeout=5).status.code == 0
        assert client("Get", key=b"x%d" % number, timeout=5).value == b"v"
        peak = max(peak, server.resident_bytes())
    assert peak - before < SLOW_READER_COUNT * (2 << 20) + (32 << 20)
    assert sum(1 for _ in sleepers[0]) == 2047
    for sleeper in sleepers:
        sleeper.cancel()
    well(server)
    assert server.stop() == 0


def test_multi_get_of_more_than_fits_a_reply_is_refused_without_reading_it_all(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """400 times 4 MiB in one call: the limit is met while reading, so memory stays far below 1.6 GiB."""
    server = make_server("--block-cache-size", "0")
    client = make_client(server)
    assert client("Put", key=b"big", value=bytes(4 << 20)).status.code == 0
    before = server.resident_bytes("VmHWM")
    code, text = client.refused("MultiGet", keys=[b"big"] * 400)
    assert (code, text.startswith("reply bytes")) == (grpc.StatusCode.INVALID_ARGUMENT, True), text
    assert server.resident_bytes("VmHWM") - before < 400 << 20
    client("MultiPut", putRequest=[{"key": b"%05d" % number, "value": b"%d" % number} for number in range(10_000)])
    found = client("MultiGet", keys=[b"%05d" % number for number in range(10_000)]).keyValues
    assert [(pair.key, pair.value) for pair in found] == [
        (b"%05d" % number, b"%d" % number) for number in range(10_000)
    ]
    well(server)


def test_flood_beyond_the_inbox_is_refused_in_part_and_then_over(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """The surplus gets RESOURCE_EXHAUSTED, what is acknowledged is there, and the next calls are served."""
    server = make_server("--inbox-bytes-max", str(1 << 20))
    clients = [make_client(server) for _ in range(4)]
    value = bytes(600_000)
    acknowledged: list[bytes] = []
    refused = 0
    deadline = time.monotonic() + PATIENCE_SECONDS
    for wave in itertools.count():
        calls = {
            key: client.channel.unary_unary(PUT).future(put_request(client, key, value), timeout=30)
            for number in range(8)
            for at, client in enumerate(clients)
            for key in [b"flood/%d/%d/%d" % (wave, at, number)]
        }
        for key, call in calls.items():
            assert call.code() in (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED), call.details()
            if call.code() == grpc.StatusCode.OK:
                acknowledged.append(key)
            else:
                refused += 1
        if refused and acknowledged:
            break
        assert time.monotonic() < deadline, f"{refused} refused, {len(acknowledged)} acknowledged"
    for number in range(20):
        assert clients[number % 4]("Put", key=b"after/%d" % number, value=b"v").status.code == 0
    for key in acknowledged:
        assert clients[0]("Get", key=key).value == value
    well(server)


def test_flood_of_small_calls_on_many_connections_is_answered_whole(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Ten thousand puts at once: every one is answered, each acknowledged one is there."""
    server = make_server()
    clients = [make_client(server) for _ in range(5)]
    calls = {}
    for number in range(10_000):
        client = clients[number % 5]
        message = put_request(client, b"small/%d" % number, b"%d" % number)
        calls[number] = client.channel.unary_unary(PUT).future(message, timeout=60)
    codes = {number: call.code() for number, call in calls.items()}
    assert set(codes.values()) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    written = [number for number, code in codes.items() if code == grpc.StatusCode.OK]
    assert len(written) > 5_000
    found = {pair.key: pair.value for pair in clients[0].all("Iterate")}
    assert all(found[b"small/%d" % number] == b"%d" % number for number in written)
    well(server)


def test_sigterm_answers_the_puts_in_flight_and_exits_0(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Puts that wait for a slow sync are answered, and found after the restart."""
    server = make_server("--log-sync-delay", "500")
    client = make_client(server)
    put = client.channel.unary_unary(PUT)
    calls = [put.future(put_request(client, b"%d" % number, b"v"), timeout=30) for number in range(64)]
    assert not client("Get", key=b"nothing").found  # On the same connection: the puts have arrived before.
    server.process.send_signal(signal.SIGTERM)
    codes = [call.code() for call in calls]
    assert server.process.wait(PATIENCE_SECONDS) == 0, server.output()
    assert codes == [grpc.StatusCode.OK] * 64
    assert "Traceback" not in server.output()
    again = restarted(server, make_client, client)
    assert len(again("MultiGet", keys=[b"%d" % number for number in range(64)]).keyValues) == 64


def test_sigterm_under_load_answers_every_call_and_loses_nothing(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Each put is acknowledged and kept, or refused; streams end; the exit status is 0."""
    server = make_server()
    clients = [make_client(server) for _ in range(4)]
    written: list[bytes] = []
    others: list[grpc.StatusCode] = []
    enough = threading.Event()

    def write(at: int) -> None:
        put = clients[at].channel.unary_unary(PUT)
        for number in itertools.count():
            key = b"%d/%d" % (at, number)
            call = put.future(put_request(clients[at], key, key), timeout=PATIENCE_SECONDS)
            if call.code() != grpc.StatusCode.OK:
                others.append(call.code())
                return
            written.append(key)
            if len(written) > 200:
                enough.set()

    threads = [threading.Thread(target=write, args=(at,)) for at in range(4)]
    watch = clients[0].stream("Watch", on="grpc.health.v1.Health", timeout=60)
    next(watch)
    for thread in threads:
        thread.start()
    assert enough.wait(PATIENCE_SECONDS)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert server.process.wait(PATIENCE_SECONDS) == 0, server.output()
    assert set(others) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert "Traceback" not in server.output()
    found = {pair.key: pair.value for pair in restarted(server, make_client, *clients).all("Iterate")}
    assert [key for key in written if found.get(key) != key] == []


@pytest.mark.parametrize("drain_timeout", ["1s", "1h"])
def test_sigterm_with_a_reader_asleep_ends_within_the_drain_timeout_and_after_a_grace(
    make_server: Callable[..., Any], make_client: Callable[..., Any], drain_timeout: str
) -> None:
    """One stuck iterate does not keep a server from ending, and it is told."""
    server = make_server("--drain-timeout", drain_timeout)
    client = make_client(server)
    for start in range(0, 512, 64):
        puts = [{"key": b"%05d" % number, "value": bytes(32 << 10)} for number in range(start, start + 64)]
        client("MultiPut", putRequest=puts)
    sleeper = client.stream("Iterate", timeout=60)
    assert next(sleeper)
    started = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SECONDS) == 0, server.output()
    assert time.monotonic() - started < 15
    with pytest.raises(grpc.RpcError):
        list(sleeper)
    assert len(restarted(server, make_client, client).all("Iterate")) == 512


def test_second_sigterm_ends_at_once_and_loses_nothing(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """Who asks twice does not want to wait; what was acknowledged is in the log already."""
    server = make_server("--log-sync-delay", "300", "--drain-timeout", "60s")
    client = make_client(server)
    assert client("Put", key=b"kept", value=b"v").status.code == 0
    call = client.channel.unary_unary(PUT).future(put_request(client, b"late", b"v"), timeout=30)
    watch = client.stream("Watch", on="grpc.health.v1.Health", timeout=60)
    next(watch)
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "Caught signal" not in server.output() and server.process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE_SECONDS) in (0, 1)
    acknowledged = call.code() == grpc.StatusCode.OK
    again = restarted(server, make_client, client)
    assert again("Get", key=b"kept").value == b"v"
    assert again("Get", key=b"late").found or not acknowledged


def test_kill_in_the_middle_of_batches_keeps_them_whole(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """After kill -9 a MultiPut is there whole or not at all, and there if it was acknowledged."""
    server = make_server()
    size = 40
    for attempt in range(3):
        client = make_client(server)
        calls = []
        request = client.wire.message("dkv.serverpb.MultiPutRequest")
        multi_put = client.channel.unary_unary(MULTI_PUT)
        for number in range(100):
            value = b"%d" % number * 1000
            puts = [{"key": b"%d/%03d" % (attempt, at), "value": value} for at in range(size)]
            puts.append({"key": b"done/%d/%03d" % (attempt, number), "value": b"v"})
            calls.append(multi_put.future(request(putRequest=puts).SerializeToString(), timeout=30))
        calls[attempt * 30].code()
        server.kill()
        acknowledged = {
            b"done/%d/%03d" % (attempt, number)
            for number, call in enumerate(calls)
            if call.code() == grpc.StatusCode.OK
        }
        again = restarted(server, make_client, client)
        assert acknowledged
        assert acknowledged <= {pair.key for pair in again.all("Iterate", keyPrefix=b"done/%d/" % attempt)}
        pairs = again.all("Iterate", keyPrefix=b"%d/" % attempt)
        assert len(pairs) == size
        assert len({pair.value for pair in pairs}) == 1
        again.close()


def test_stop_and_continue_delays_calls_and_loses_nothing(
    make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """A frozen process answers nobody; thawed, it answers what waits and serves on."""
    server = make_server()
    client = make_client(server)
    assert client("Put", key=b"before", value=b"v").status.code == 0
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        assert client.refused("Get", key=b"before", timeout=0.5)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        late = client.channel.unary_unary(PUT).future(put_request(client, b"late", b"v"), timeout=30)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert late.code() == grpc.StatusCode.OK
    assert [client("Get", key=key).value for key in (b"before", b"late")] == [b"v", b"v"]
    well(server)
    assert server.stop() == 0


def run_through(monkeypatch: pytest.MonkeyPatch, folder: Path, line: str) -> None:
    """From now on servers are started by a shell: `line`, with $PYTHON and their arguments."""
    script = folder / "python"
    script.write_text(f"#!/bin/bash\nPYTHON={sys.executable}\n{line}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_connections_beyond_the_descriptors_are_closed_and_the_engine_keeps_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """300 strangers on a server with 200 descriptors: it writes new files meanwhile, and serves anew when they go."""
    run_through(monkeypatch, tmp_path, 'ulimit -n 200; exec $PYTHON "$@"')
    server = make_server("--write-buffer-size", str(64 << 10))
    client = make_client(server)
    assert client("Put", key=b"before", value=b"v").status.code == 0
    host, port = server.address.split(":")
    strangers = [socket.create_connection((host, int(port)), timeout=20) for _ in range(300)]
    for number in range(100):
        assert client("Put", key=b"%d" % number, value=bytes(10_000)).status.code == 0
    for stranger in strangers:
        stranger.close()
    other = make_client(server)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            assert other("Get", key=b"before").value == b"v"
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline
    well(server)
    assert server.stop() == 0, server.output()


def test_log_that_nobody_reads_any_more_does_not_stop_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_server: Callable[..., Any], make_client: Callable[..., Any]
) -> None:
    """The reader of stderr left after the first line: SIGTERM still drains, exit 0, and nothing is lost."""
    run_through(monkeypatch, tmp_path, 'exec $PYTHON "$@" 2> >(head -n 1 >&2)')
    server = make_server("--log-sync-delay", "300")
    client = make_client(server)
    call = client.channel.unary_unary(PUT).future(put_request(client, b"k", b"v"), timeout=30)
    assert not client("Get", key=b"nothing").found
    server.process.send_signal(signal.SIGTERM)
    assert call.code() == grpc.StatusCode.OK
    assert server.process.wait(PATIENCE_SECONDS) == 0
    monkeypatch.undo()
    assert restarted(server, make_client, client)("Get", key=b"k").value == b"v"
