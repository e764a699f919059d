"""Callers that ask again as soon as they were answered, on a connection that a test answers on."""

from collections import deque
from collections.abc import Callable

from dkv.bench.channel import Call, Ended
from dkv.bench.load import AWAY_S_MAX, TEXTS_MAX, Load, Tally
from dkv.bench.workloads import Shape, workload
from dkv.client.answers import Answer, Fate
from dkv.model.errors import Code
from dkv.wire import messages as pb

FOUND = pb.GetResponse(value=b"v", found=True).SerializeToString()
AWAY = Answer(Code.UNAVAILABLE, "connection refused", b"", b"", Fate.NOT_SENT)


class FakeChannel:
    """Answers `batch` calls at a time, an eighth of a second after it was asked, the oldest first."""

    def __init__(self, answer: Callable[[int], bytes | Answer], batch: int = 1) -> None:
        self.now_s = 0.0
        self.most_under_way = 0
        self.asked: list[int] = []
        self._answer, self._batch = answer, batch
        self._open: deque[int] = deque()

    def send(self, path: str, calls: list[Call], /) -> None:
        self.asked += [number for number, _ in calls]
        self._open.extend(number for number, _ in calls)
        self.most_under_way = max(self.most_under_way, len(self._open))

    def take(self, wait_s: float, /) -> Ended:
        self.now_s += 0.125
        numbers = [self._open.popleft() for _ in range(min(self._batch, len(self._open)))]
        answers = [(number, self._answer(number)) for number in numbers]
        good = [(number, each) for number, each in answers if isinstance(each, bytes)]
        bad = [(number, each) for number, each in answers if isinstance(each, Answer)]
        return Ended([number for number, _ in good], [reply for _, reply in good], bad)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def run(channel: FakeChannel, calls: int, callers: int, goes_on: Callable[[int], bool] = lambda _: True) -> Tally:
    tally = Tally()
    asked = workload("Get", Shape(), bytes)
    Load(channel, asked, tally, lambda: channel.now_s, channel.sleep).run(calls, callers, goes_on)
    return tally


def test_load_keeps_every_caller_busy_and_makes_each_call_once() -> None:
    """Three callers, seven calls, two answers at a time: the fourth batch is the last."""
    channel = FakeChannel(lambda _: FOUND, batch=2)
    tally = run(channel, 7, 3)
    assert channel.asked == list(range(7))
    assert channel.most_under_way == 3
    assert (tally.ended, tally.codes[0], tally.found) == (7, 7, 7)
    assert tally.lasted_s == 0.5
    assert sorted(tally.latencies_s) == [0.125] * 4 + [0.25] * 3


def test_load_with_more_callers_than_calls_makes_the_calls() -> None:
    """And no more."""
    channel = FakeChannel(lambda _: FOUND, batch=9)
    assert run(channel, 2, 5).ended == 2
    assert channel.asked == [0, 1]


def test_refusals_of_the_server_are_counted_apart() -> None:
    """They have no latency, and as few texts are kept as people read."""

    def answer(number: int) -> bytes | Answer:
        refused = Answer(Code.RESOURCE_EXHAUSTED, f"no room for {number}", b"", b"", Fate.ANSWERED)
        return refused if number % 2 else FOUND

    tally = run(FakeChannel(answer), 100, 4)
    assert tally.codes == {Code.OK: 50, Code.RESOURCE_EXHAUSTED: 50}
    assert len(tally.latencies_s) == 50
    assert len(tally.texts) == TEXTS_MAX + 1
    assert tally.texts["others"] == 50 - TEXTS_MAX
    assert not tally.away


def test_load_gives_up_where_nobody_answers() -> None:
    """With what it has seen, and the reason."""
    channel = FakeChannel(lambda number: FOUND if number < 5 else AWAY)
    tally = run(channel, 1_000_000, 2)
    assert tally.away == "connection refused"
    assert tally.codes[0] == 5
    assert channel.now_s < 2 * AWAY_S_MAX


def test_server_that_comes_back_in_time_is_not_away() -> None:
    """What failed meanwhile is counted."""
    tally = run(FakeChannel(lambda number: AWAY if 5 <= number < 20 else FOUND), 40, 2)
    assert not tally.away
    assert tally.codes == {Code.OK: 25, Code.UNAVAILABLE: 15}


def test_load_that_is_to_stop_has_what_it_saw() -> None:
    """It says how far it is, and asks for nothing more once it was told."""
    told: list[int] = []

    def goes_on(ended: int) -> bool:
        told.append(ended)
        return ended < 3

    channel = FakeChannel(lambda _: FOUND)
    tally = run(channel, 1_000, 2, goes_on)
    assert told == [0, 1, 2, 3]
    assert tally.ended == 4
    assert len(channel.asked) == 5


def test_garbage_among_replies_is_noted() -> None:
    """It is a reply all the same."""
    tally = run(FakeChannel(lambda _: b"\xff"), 1, 1)
    assert tally.codes[0] == 1
    assert [text for text in tally.texts if text.startswith("a reply is not one")]
