"""The stream of metrics, as server-sent events."""

import json

from dkv.services.metrics_stream import STREAMS_MAX
from dkv.services.registry import Services
from dkv.services.turn import Turn

STREAM = "/metrics/stream"


def ask(services: Services, *call_ids: int, method: str = "GET") -> Turn:
    turn = Turn(1_000_000)
    services.accept_http([(call_id, method, STREAM, b"") for call_id in call_ids], turn)
    return turn


def beat(services: Services, monotonic_ms: int) -> dict[int, tuple[bytes, bool]]:
    """(part, more) by reader, of one turn."""
    turn = Turn(1_000_000)
    services.beat(turn, monotonic_ms, True)
    return {call_id: (body, more) for call_id, _, _, body, more in turn.http}


def test_reader_gets_an_event_at_once_and_every_second(services: Services) -> None:
    """One `data:` line with JSON an event, divided by an empty line."""
    ((call_id, status, content_type, body, more),) = ask(services, 7).http
    assert (call_id, status, content_type, more) == (7, 200, "text/event-stream", True)
    assert body.startswith(b"data: {")
    assert body.endswith(b"}\n\n")
    assert json.loads(body[6:])["ts"] == 1_000
    first = beat(services, 5_000)
    assert first[7][0].startswith(b"data: {")
    assert beat(services, 5_999) == {}
    assert list(beat(services, 6_000)) == [7]


def test_reader_who_left_gets_nothing(services: Services) -> None:
    """A closed stream costs nothing any more."""
    ask(services, 7, 8)
    services.forget([7, 99])
    assert list(beat(services, 0)) == [8]


def test_streams_over_the_limit_are_refused(services: Services) -> None:
    """Everything has a limit; HEAD opens nothing."""
    turn = ask(services, *range(1, STREAMS_MAX + 2))
    assert [each[:2] for each in turn.http if each[1] != 200] == [(STREAMS_MAX + 1, 503)]
    assert ask(services, 99, method="HEAD").http[0][1:4] == (503, "text/plain; charset=utf-8", b"")
    services.forget([1])
    assert ask(services, 99, method="HEAD").http == [(99, 200, "text/event-stream", b"", False)]


def test_shutdown_ends_every_stream(services: Services) -> None:
    """Also one that was opened in the same turn."""
    ask(services, 7)
    services.shutting_down()
    ask(services, 8)
    assert beat(services, 0) == {7: (b"", False), 8: (b"", False)}
    assert beat(services, 5_000) == {}
