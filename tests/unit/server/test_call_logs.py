"""The access log and the log of slow calls."""

import json
import logging
from pathlib import Path

import pytest

from dkv.node.meter import Meter
from dkv.ports.edge import EndedCall
from dkv.server.access_log import AccessLog
from dkv.server.slow_calls import LINES_PER_SECOND_MAX, SlowCalls
from dkv.wire import methods

CALL = EndedCall(1_700_000_000_123, methods.PUT_PATH, 8, 0.01, 0.02, 0.03, 12, 34, "[::1]:5")


@pytest.mark.parametrize(
    ("log_format", "line"),
    [
        (
            "text",
            "2023-11-14T22:13:20.123Z peer=[::1]:5 method=/dkv.serverpb.DKV/Put code=8 seconds=0.060000 "
            "request_bytes=12 reply_bytes=34\n",
        ),
        (
            "json",
            '{"time":"2023-11-14T22:13:20.123Z","peer":"[::1]:5","method":"/dkv.serverpb.DKV/Put","code":8,'
            '"seconds":0.060000,"request_bytes":12,"reply_bytes":34}\n',
        ),
    ],
)
def test_access_log_has_a_line_for_each_call(tmp_path: Path, log_format: str, line: str) -> None:
    """The edge hands over plain tuples; calls that it had no room for are counted."""
    log = AccessLog(str(tmp_path / "access"), log_format)
    log.write([tuple(CALL)] * 2, 0)  # type: ignore[list-item]
    log.write([], 0)
    log.write([], 7)
    log.close()
    assert (tmp_path / "access").read_text() == line * 2 + "(7 calls were lost)\n"
    assert log_format == "text" or json.loads(line)["seconds"] == 0.06


def test_access_log_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    """The start fails, rather than to serve without the log that was asked for."""
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(tmp_path / "no" / "access"), "text")


class Stopwatch:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def slow_calls(caplog: pytest.LogCaptureFixture, watch: Stopwatch) -> tuple[SlowCalls, Meter]:
    caplog.set_level(logging.WARNING)
    meter = Meter(watch)
    return SlowCalls(logging.getLogger("slow"), 50, meter), meter


def test_slow_call_is_told_with_its_phases_and_the_longest_turn(caplog: pytest.LogCaptureFixture) -> None:
    """Method and sizes; neither key nor value."""
    watch = Stopwatch()
    slow, meter = slow_calls(caplog, watch)
    meter.begin(1)
    for _ in range(5):
        meter.lap()
    watch.now_s += 0.04
    meter.end()
    slow.tell([CALL, CALL._replace(served_s=0.0), CALL._replace(method=methods.ITERATE_PATH)])
    (record,) = caplog.records
    facts = record.facts  # type: ignore[attr-defined]
    assert (facts["method"], facts["code"], facts["seconds"]) == (methods.PUT_PATH, 8, 0.06)
    assert (facts["received"], facts["served"], facts["sent"]) == (0.01, 0.02, 0.03)
    assert (facts["turn"], facts["turn_rest"], facts["turn_apply"]) == (0.04, 0.04, 0.0)


def test_slow_calls_beyond_the_rate_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """When everything is slow, the log stays short."""
    watch = Stopwatch()
    slow, _ = slow_calls(caplog, watch)
    slow.tell([CALL] * (LINES_PER_SECOND_MAX + 5))
    slow.tell([CALL] * 2)
    assert len(caplog.records) == LINES_PER_SECOND_MAX
    watch.now_s += 2
    slow.tell([])
    assert caplog.records[-1].getMessage() == "7 more calls were slow"
    slow.tell([CALL])
    assert len(caplog.records) == LINES_PER_SECOND_MAX + 2
