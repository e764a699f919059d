"""Health: checks, watches, shutdown."""

from dkv.services.health import BEAT_INTERVAL_MS, WATCHERS_MAX
from dkv.services.registry import Services
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

SERVING, NOT_SERVING = wire.HealthCheckResponse.SERVING, wire.HealthCheckResponse.NOT_SERVING
REQUEST = wire.HealthCheckRequest(service="anything").SerializeToString()


def told(turn: Turn) -> dict[int, int]:
    """What each watcher was told in this turn."""
    return {call_id: wire.HealthCheckResponse.FromString(each[0]).status for call_id, each in turn.items}


def beat(services: Services, monotonic_ms: int, is_serving: bool = True) -> Turn:
    turn = Turn(0)
    services.beat(turn, monotonic_ms, is_serving)
    return turn


def test_check_answers_whether_the_node_serves(services: Services, turn: Turn) -> None:
    """The service named is ignored."""
    services.accept(methods.HEALTH_CHECK, [1, 2], [REQUEST, b"\xff"], turn)
    beat(services, 0, False)
    services.accept(methods.HEALTH_CHECK, [3], [b""], turn)
    assert turn.reply_ids == [1, 3]
    assert [wire.HealthCheckResponse.FromString(each).status for each in turn.replies] == [SERVING, NOT_SERVING]
    assert turn.finished[0][:3] == (2, 3, "malformed request")


def test_watch_is_told_at_once_on_change_and_every_ten_seconds(services: Services, turn: Turn) -> None:
    """A watcher never waits for its first message, and silence never lasts longer than the interval."""
    beat(services, 0)
    services.accept(methods.HEALTH_WATCH, [7], [REQUEST], turn)
    assert told(turn) == {7: SERVING}
    assert told(beat(services, 1)) == {}
    assert told(beat(services, 2, False)) == {7: NOT_SERVING}
    assert told(beat(services, 3)) == {7: SERVING}
    assert told(beat(services, 2 + BEAT_INTERVAL_MS)) == {}
    assert told(beat(services, 3 + BEAT_INTERVAL_MS)) == {7: SERVING}


def test_watch_of_a_caller_who_left_is_forgotten(services: Services, turn: Turn) -> None:
    """A closed stream costs nothing any more."""
    services.accept(methods.HEALTH_WATCH, [7, 8], [REQUEST, REQUEST], turn)
    services.forget([7, 99])
    assert told(beat(services, 0, False)) == {8: NOT_SERVING}


def test_shutdown_tells_every_watcher_and_ends_the_streams(services: Services, turn: Turn) -> None:
    """The node does not serve again, whatever it believes of itself."""
    services.accept(methods.HEALTH_WATCH, [7, 8], [REQUEST, REQUEST], turn)
    services.shutting_down()
    last = beat(services, 0, True)
    assert told(last) == {7: NOT_SERVING, 8: NOT_SERVING}
    assert [each[:2] for each in last.finished] == [(7, 0), (8, 0)]
    assert services.health.watchers == 0


def test_watches_over_the_limit_are_refused(services: Services, turn: Turn) -> None:
    """Everything has a limit."""
    services.accept(methods.HEALTH_WATCH, list(range(WATCHERS_MAX + 1)), [REQUEST] * (WATCHERS_MAX + 1), turn)
    assert services.health.watchers == WATCHERS_MAX
    assert [each[:2] for each in turn.finished] == [(WATCHERS_MAX, 8)]
