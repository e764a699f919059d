"""stats, health and top: what they print about a node, and the rates between two statuses."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from dkv.cli import dkvctl
from dkv.cli.ctl import screen, top
from dkv.cli.ctl.invocation import Options, Session
from dkv.cli.ctl.rates import method_name, rates
from dkv.cli.ctl.stats_text import stats_lines
from dkv.cli.ctl.top_frame import frame
from dkv.wire import messages as pb
from dkv.wire import methods

DOWN = (14, "no server")


def node_status(factor: int = 1) -> pb.GetNodeStatusResponse:
    """A node that did so many times the same."""
    status = pb.GetNodeStatusResponse(
        version="1.2.3", role="none", isServing=True, uptimeMs=60_000 * factor, address="h:1", httpAddress="h:2",
        folder="/data",
    )  # fmt: skip
    status.vBuckets.append(
        pb.VBucketStatus(
            database="db", vBucket="v", historyId=b"\xff" * 16, raftRole=2, term=3, appliedIndex=40 * factor,
            commitIndex=40 * factor, changeNumber=100 * factor, oldestChangeNumber=1, logTime=1_700_000_000_000,
        )
    )  # fmt: skip
    status.storage.CopyFrom(pb.StorageStatus(engine="rocksdb", rowsEstimate=5_000, freeBytes=103 << 30))
    status.log.CopyFrom(pb.LogStatus(syncs=20 * factor, syncSecondsTotal=0.01 * factor, syncSecondsMax=0.5))
    status.turns.CopyFrom(pb.TurnStatus(turns=50 * factor, calls=100 * factor, secondsTotal=0.5 * factor))
    status.edge.CopyFrom(pb.EdgeStatus(connections=3, overloaded=2 * factor, latencyBoundsSeconds=[0.001, 0.01]))
    for path, calls in ((methods.GET_PATH, 90), (methods.PUT_PATH, 10)):
        counts = [0, calls * factor, 0]
        status.edge.methods.add(
            path=path, calls=calls * factor, errors=factor, latencySecondsTotal=0.1 * factor, latencyCounts=counts
        )
    return status


class FakeScreen:
    """Keys by picture: what is pressed after each; what was drawn stays."""

    def __init__(self, keys: list[str], meanwhile: Callable[[], None] = lambda: None) -> None:
        self.keys, self.meanwhile = keys, meanwhile
        self.drawn: list[list[str]] = []

    def draw(self, lines: list[str]) -> None:
        self.drawn.append(lines)

    def size(self) -> tuple[int, int]:
        return 80, 24

    def wait(self, seconds: float) -> str:
        self.meanwhile()
        return self.keys.pop(0)


def watch(server: Any, seen: FakeScreen, limit: int = 0) -> list[list[str]]:
    session = Session(server.client(), io.BytesIO(), lambda: 0.0, Options("h:1", limit=limit))
    top.watch(session, seen)  # type: ignore[arg-type]
    return seen.drawn


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is two seconds after the one before; nobody sleeps."""
    readings = iter(range(0, 10_000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(readings)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_rates_are_differences_by_time() -> None:
    """Over two seconds, and latency only of the calls in between."""
    seen = rates(node_status(1), node_status(3), 2)
    assert (seen.calls, seen.errors, seen.refused, seen.changes, seen.entries) == (100, 2, 2, 100, 40)
    assert (seen.turns, seen.calls_per_turn, seen.turn_seconds_mean, seen.busy_share) == (50, 2, 0.01, 0.5)
    assert (seen.syncs, seen.sync_seconds_mean) == (20, pytest.approx(0.0005))
    assert [(each.name, each.calls_per_s, each.latency.counts) for each in seen.methods] == [
        ("DKV/Get", 90, [0, 180, 0]),
        ("DKV/Put", 10, [0, 20, 0]),
    ]


def test_rates_of_an_idle_node_are_zero() -> None:
    """Nothing is divided by nothing, and no method is listed."""
    seen = rates(node_status(), node_status(), 1)
    assert (seen.calls, seen.calls_per_turn, seen.turn_seconds_mean, seen.sync_seconds_mean) == (0, 0, 0, 0)
    assert seen.methods == []


def test_rates_after_a_restart_count_from_zero() -> None:
    """No rate is negative; of changes nothing is known."""
    seen = rates(node_status(3), node_status(1), 1)
    assert (seen.calls, seen.syncs, seen.changes, seen.entries) == (100, 20, 0, 0)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (methods.GET_PATH, "DKV/Get"),
        (methods.LIMITS_PATH, "v1.KV/Limits"),
        (methods.HEALTH_CHECK_PATH, "grpc.health.v1.Health/Check"),
    ],
)
def test_method_name_is_short_and_still_one_method(path: str, name: str) -> None:
    """What all names share says nothing."""
    assert method_name(path) == name


def test_stats_tell_everything_in_words() -> None:
    """A label a line, then the methods."""
    text = "\n".join(stats_lines(node_status()))
    for expected in (
        "node        dkvsrv 1.2.3, role none, serving, up 1 min 0 s",
        "data        rocksdb in /data: about 5,000 rows",
        "disk        103 GiB free",
        "pressure    none",
        "vBucket     db/v, leader in term 3",
        "  changes   100, kept from 1 on, history ffffffffffffffffffffffffffffffff",
        "  log time  2023-11-14T22:13:20Z",
        "log         20 syncs, mean 0.50 ms, longest 500 ms",
        "turns       50 with 100 calls, mean 10 ms",
        "network     connections 3",
    ):
        assert expected in text
    assert text.splitlines()[-2].split() == [
        "DKV/Get",
        "90",
        "1",
        "1.11",
        "ms",
        "5.50",
        "ms",
        "9.10",
        "ms",
        "9.91",
        "ms",
    ]


def test_stats_of_a_node_in_trouble_say_so() -> None:
    """Not serving, writes stopped or slowed, an expiry due, and no change kept."""
    status = node_status()
    status.isServing, status.nodeName, status.vBuckets[0].oldestChangeNumber = False, "n1", 101
    status.vBuckets[0].earliestExpiry = 1_700_000_000_000
    status.storage.isWriteStopped = True
    text = "\n".join(stats_lines(status))
    for expected in ("dkvsrv 1.2.3 n1, role none, NOT SERVING", "writes stopped", "none kept", "not before 2023-11-14"):
        assert expected in text
    status.storage.isWriteStopped, status.storage.delayedBytesPerSecond = False, 2048
    assert "writes slowed to 2.0 KiB/s" in "\n".join(stats_lines(status))


def test_stats_of_a_node_without_parts_are_short() -> None:
    """Only what is known; nothing is made up."""
    assert len(stats_lines(pb.GetNodeStatusResponse(version="1"))) == 2


def test_frame_fits_its_terminal() -> None:
    """80 by 24 without a cut; a smaller one loses idle methods and the ends of lines."""
    after = node_status(3)
    after.nodeName = "n" * 100
    lines = frame(after, rates(node_status(), after, 1), 80, 24)
    assert max(map(len, lines)) <= 80
    assert lines[0] == "dkvsrv 1.2.3 h:1, role none, SERVING, up 3 min 0 s"
    assert lines[2].split() == ["calls", "200/s", "errors", "4/s", "refused", "4/s", "waiting", "0"]
    assert lines[-2].split() == ["DKV/Get", "180", "2", "1.11ms", "5.50ms", "9.10ms", "9.91ms"]
    small = frame(after, rates(node_status(), after, 1), 40, 5)
    assert (len(small), max(map(len, small))) == (5, 40)


def test_stats_command_prints_lines_or_one_document(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The history id in hexadecimal in both."""
    server.replies[methods.GET_NODE_STATUS_PATH] = node_status()
    assert dkvctl.main(["stats"], connect=lambda _: server.client()) == 0
    assert b"vBucket     db/v, leader in term 3\n" in capfdbinary.readouterr().out
    assert dkvctl.main(["stats", "--json"], connect=lambda _: server.client()) == 0
    found = json.loads(capfdbinary.readouterr().out)
    assert (found["version"], found["vBuckets"][0]["historyId"]) == ("1.2.3", "ff" * 16)


@pytest.mark.parametrize(
    ("status", "text", "code"), [(1, b"SERVING\n", 0), (2, b"NOT_SERVING\n", 1), (0, b"UNKNOWN\n", 1)]
)
def test_health_command_ends_as_the_server_feels(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], status: int, text: bytes, code: int
) -> None:
    """For scripts and containers: the exit code says it."""
    server.replies[methods.HEALTH_CHECK_PATH] = pb.HealthCheckResponse(status=status)
    assert dkvctl.main(["health"], connect=lambda _: server.client()) == code
    assert capfdbinary.readouterr().out == text


@pytest.mark.parametrize(
    ("line", "path", "text"),
    [
        ("health", methods.HEALTH_CHECK_PATH, b"Unable to check the health. Error: rpc error: code = Unavailable"),
        ("stats", methods.GET_NODE_STATUS_PATH, b"Unable to get the stats. Error: rpc error: code = Unavailable"),
        ("top", methods.GET_NODE_STATUS_PATH, b"Unable to get the stats. Error: rpc error: code = Unavailable"),
    ],
)
def test_command_on_a_server_that_fails_ends_with_1(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], line: str, path: str, text: bytes
) -> None:
    """With its sentence; top, too, when it never saw the server."""
    server.failures[path] = DOWN
    assert dkvctl.main([line], connect=lambda _: server.client()) == 1
    assert capfdbinary.readouterr().out.startswith(text)


@pytest.mark.parametrize(("limit", "count"), [("0", 1), ("3", 3)])
def test_top_without_a_terminal_prints_plain_pictures(
    server: Any, capfdbinary: pytest.CaptureFixture[bytes], limit: str, count: int
) -> None:
    """One, or as many as --limit says; nothing that only a terminal understands."""
    server.replies[methods.GET_NODE_STATUS_PATH] = node_status()
    assert dkvctl.main(["top", "--limit", limit], connect=lambda _: server.client()) == 0
    output = capfdbinary.readouterr().out
    assert output.count(b"dkvsrv 1.2.3 h:1") == count
    assert b"\x1b" not in output


def test_top_as_json_prints_rates_beside_the_status(server: Any, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A document a second."""
    server.replies[methods.GET_NODE_STATUS_PATH] = node_status()
    assert dkvctl.main(["top", "--json", "--limit", "2"], connect=lambda _: server.client()) == 0
    first, second = map(json.loads, capfdbinary.readouterr().out.splitlines())
    assert (first["version"], first["rates"]["calls"], second["rates"]["methods"]) == ("1.2.3", 0, [])


def test_top_draws_until_q(server: Any) -> None:
    """Each picture from the last two statuses."""
    statuses = iter([node_status(3), node_status(5)])

    def next_status() -> None:
        server.replies[methods.GET_NODE_STATUS_PATH] = next(statuses, node_status(5))

    server.replies[methods.GET_NODE_STATUS_PATH] = node_status(1)
    drawn = watch(server, FakeScreen(["", "", "q"], next_status))
    assert len(drawn) == 3
    assert [lines[2].split()[1] for lines in drawn[1:]] == ["100/s", "100/s"]
    assert len(watch(server, FakeScreen([""] * 9), limit=2)) == 3


def test_top_waits_for_a_server_that_went_away(server: Any) -> None:
    """It says so, and goes on when there is an answer again."""
    server.replies[methods.GET_NODE_STATUS_PATH] = node_status(1)
    failures = iter([DOWN, None])

    def fail_once() -> None:
        if (failure := next(failures, None)) is not None:
            server.failures[methods.GET_NODE_STATUS_PATH] = failure
        else:
            server.failures.clear()

    _, gone, back = watch(server, FakeScreen(["", "", "q"], fail_once))
    assert gone == ["No answer from h:1: no server", "", "q: leave"]
    assert back[0].startswith("dkvsrv 1.2.3")


def test_screen_is_not_there_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor on one that cannot move its cursor."""
    assert not screen.Screen.is_there()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert not screen.Screen.is_there()
    monkeypatch.setenv("TERM", "xterm")
    assert screen.Screen.is_there()
