"""Profiles over HTTP."""

import pytest

from dkv.services.registry import Services
from dkv.services.turn import Turn

PROFILE = "/debug/pprof/profile"


class CountingSampler:
    """Says how often it was started and stopped."""

    def __init__(self) -> None:
        self.started = self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> str:
        self.stopped += 1
        return "a;b 3\n"


@pytest.fixture
def sampler(services: Services) -> CountingSampler:
    services.ops.profiles.sampler = made = CountingSampler()
    return made


def ask(services: Services, target: str, call_id: int = 9) -> list[tuple[int, int, bytes]]:
    turn = Turn(0)
    services.accept_http([(call_id, "GET", target, b"")], turn)
    return [(call_id, status, body) for call_id, status, _, body, _ in turn.http]


def beat(services: Services, monotonic_ms: int) -> list[tuple[int, int, bytes]]:
    turn = Turn(0)
    services.beat(turn, monotonic_ms, True)
    return [(call_id, status, body) for call_id, status, _, body, _ in turn.http]


def test_profile_is_answered_when_its_time_is_over(services: Services, sampler: CountingSampler) -> None:
    """The caller waits; the node does not."""
    assert ask(services, PROFILE + "?seconds=2") == []
    assert beat(services, 100) == []
    assert beat(services, 2_099) == []
    assert beat(services, 2_100) == [(9, 200, b"a;b 3\n")]
    assert beat(services, 9_000) == []
    assert (sampler.started, sampler.stopped) == (1, 1)


def test_second_profile_at_the_same_time_is_refused(services: Services, sampler: CountingSampler) -> None:
    """There is one sampler."""
    ask(services, PROFILE)
    assert ask(services, PROFILE, 10)[0][:2] == (10, 503)
    assert sampler.started == 1


def test_caller_who_leaves_stops_the_sampler(services: Services, sampler: CountingSampler) -> None:
    """Nobody pays for a profile that nobody gets."""
    ask(services, PROFILE)
    services.forget([9])
    assert sampler.stopped == 1
    assert beat(services, 99_000) == []


def test_shutdown_answers_with_what_there_is(services: Services, sampler: CountingSampler) -> None:
    """The server does not wait for a profile."""
    ask(services, PROFILE)
    services.shutting_down()
    assert beat(services, 0) == [(9, 200, b"a;b 3\n")]


@pytest.mark.parametrize("seconds", ["0", "61", "x", "-1", "1.5", "9" * 5000, "%C2%B2"])
def test_profile_of_an_impossible_length_is_refused(services: Services, sampler: CountingSampler, seconds: str) -> None:
    """The answer says what may be asked."""
    answer = b"seconds must be a whole number from 1 to 60\n"
    assert ask(services, f"{PROFILE}?seconds={seconds}") == [(9, 400, answer)]
    assert sampler.started == 0


@pytest.mark.parametrize("target", [PROFILE, "/debug/pprof", "/debug/pprof/heap"])
def test_without_the_flag_the_answer_says_how_to_get_a_profile(services: Services, target: str) -> None:
    """Off is not the same as not found."""
    assert ask(services, target) == [(9, 404, b"profiling is off: start the server with --pprof\n")]


@pytest.mark.parametrize(
    ("target", "status"), [("/debug/pprof/", 200), ("/debug/pprof", 200), ("/debug/pprof/heap", 404)]
)
def test_other_pages_say_what_there_is(services: Services, sampler: CountingSampler, target: str, status: int) -> None:
    """The original's other profiles are Go's own."""
    ((_, answered, body),) = ask(services, target)
    assert answered == status
    assert body.startswith(b"/debug/pprof/profile")
