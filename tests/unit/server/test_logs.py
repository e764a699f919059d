"""Lines of the server's log, as text and as JSON."""

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from dkv.server.logs import Logs, iso_time


@pytest.fixture
def make_logs(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[str, str], tuple[Logs, Callable[[], str]]]]:
    """Logs at a level in a format, and a function that ends them and returns what they wrote."""
    before = logging.getLogger("dkv").handlers[:]
    made: list[Logs] = []

    def make(level: str, log_format: str) -> tuple[Logs, Callable[[], str]]:
        logs = Logs(level, log_format)
        made.append(logs)

        def written() -> str:
            logs.close()
            return capfd.readouterr().err

        return logs, written

    yield make
    for logs in made:
        logs.close()
    logging.getLogger("dkv").handlers[:] = before


def test_text_has_time_level_message_and_facts(make_logs: Callable[..., tuple[Logs, Callable[[], str]]]) -> None:
    """ISO-8601, lower-case level."""
    logs, written = make_logs("warn", "text")
    logs.logger.info("not told")
    logs.logger.warning("slow %s", "call", extra={"facts": {"seconds": 0.5, "method": "/a/B"}})
    time, level, rest = written().split(" ", 2)
    assert time.endswith("Z")
    assert len(time) == len("2026-01-01T00:00:00.000Z")
    assert (level, rest) == ("warn", "slow call seconds=0.5 method=/a/B\n")


def test_json_is_one_object_a_line_whatever_is_said(
    make_logs: Callable[..., tuple[Logs, Callable[[], str]]],
) -> None:
    """Also a message with quotes and line breaks, an exception, and what is said at the start."""
    logs, written = make_logs("debug", "json")
    logs.say('dkvsrv serves "here"')
    logs.logger.debug("a\nb", extra={"facts": {"seconds": 0.5}})
    try:
        raise ValueError("bad")
    except ValueError:
        logs.logger.exception("failed")
    said, debug, failed = map(json.loads, written().splitlines())
    assert (said["level"], said["message"]) == ("info", 'dkvsrv serves "here"')
    assert (debug["level"], debug["message"], debug["seconds"]) == ("debug", "a\nb", 0.5)
    assert failed["exception"].endswith("ValueError: bad")


@pytest.mark.parametrize(("steps", "level"), [(1, "info"), (2, "debug"), (9, "debug"), (-1, "error"), (-9, "error")])
def test_level_changes_by_steps_and_stops_at_the_ends(
    make_logs: Callable[..., tuple[Logs, Callable[[], str]]], steps: int, level: str
) -> None:
    """The new level is said, whatever it is."""
    logs, written = make_logs("warn", "text")
    logs.change_level(steps)
    assert logs.level == level
    assert written().endswith(f"Z warn [WARN] log level: {level}\n")


def test_text_said_at_any_level_is_stamped_and_a_refused_start_is_not(
    make_logs: Callable[..., tuple[Logs, Callable[[], str]]],
) -> None:
    """The first is a line of the log; the second is read by who has typed the command."""
    logs, written = make_logs("error", "text")
    logs.say("dkvsrv serves")
    logs.refuse("dkvsrv: the port is in use")
    said, refused = written().splitlines()
    assert said.split(" ", 1)[0].endswith("Z")
    assert said.split(" ", 1)[1] == "info dkvsrv serves"
    assert refused == "dkvsrv: the port is in use"


def test_json_refused_start_is_an_object(make_logs: Callable[..., tuple[Logs, Callable[[], str]]]) -> None:
    """Whoever parses the log parses all of it."""
    logs, written = make_logs("warn", "json")
    logs.refuse("dkvsrv: the port is in use")
    said = json.loads(written())
    assert (said["level"], said["message"]) == ("error", "dkvsrv: the port is in use")


def test_time_is_utc_with_milliseconds() -> None:
    """The same everywhere."""
    assert iso_time(1.5) == "1970-01-01T00:00:01.500Z"
