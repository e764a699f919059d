"""So many callers, each of whom asks again as soon as it was answered, until all calls are made.

A call lasts from when it is handed to the connection until its answer is taken from it. The next calls leave before the
answers are looked at: the server works while the tool counts.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from itertools import repeat

from dkv.bench.channel import Channel, Ended, is_unanswered
from dkv.bench.workloads import Workload
from dkv.wire.replies import MalformedReply

AWAY_S_MAX = 5.0
"""A server that answers nothing for so long while calls fail is away: what is left would only count failures."""
TEXTS_MAX = 10
"""Different reasons of failures that are kept."""
_LOOK_S = 0.1
"""Between two looks at whether to stop."""
_PAUSE_S = 0.02
"""Before the next calls, where nobody answers."""


class Tally:
    """Owns what was seen, after every batch whole: a load that is stopped has it all the same."""

    def __init__(self) -> None:
        self.latencies_s: array[float] = array("f")
        """Of the calls that went well."""
        self.codes: Counter[int] = Counter()
        self.texts: Counter[str] = Counter()
        self.found: int = 0
        """Keys that replies had."""
        self.lasted_s: float = 0.0
        self.away: str = ""
        """Why the load gave up, if it did."""

    @property
    def ended(self) -> int:
        """Calls."""
        return self.codes.total()


class Load:
    """Owns the calls under way. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        channel: Channel,
        workload: Workload,
        tally: Tally,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._channel, self._workload, self._tally = channel, workload, tally
        self._clock, self._sleep = clock, sleep
        self._begun: dict[int, float] = {}
        self._next = 0
        self._heard_s = 0.0

    def run(self, calls: int, callers: int, goes_on: Callable[[int], bool]) -> None:
        """Makes so many calls. `goes_on` is told ten times a second how many have ended; False: no more are made, and
        those under way do not count."""
        begun_s = looked_s = self._heard_s = self._clock()
        self._send(min(calls, callers))
        while self._begun:
            ended = self._channel.take(_LOOK_S)
            now_s = self._clock()
            self._look_for_server(ended, now_s)
            is_over = bool(self._tally.away)
            if now_s - looked_s >= _LOOK_S:
                looked_s = now_s
                is_over = is_over or not goes_on(self._tally.ended)
            if not is_over:
                self._send(min(len(ended.ids) + len(ended.failures), calls - self._next))
            self._count(ended, now_s)
            self._tally.lasted_s = now_s - begun_s
            if is_over:
                return

    def _send(self, count: int) -> None:
        if count:
            numbers = range(self._next, self._next + count)
            self._next += count
            request = self._workload.request
            calls = [(number, request(number)) for number in numbers]
            self._begun.update(zip(numbers, repeat(self._clock())))
            self._channel.send(self._workload.path, calls)

    def _look_for_server(self, ended: Ended, now_s: float) -> None:
        unanswered = [answer for _, answer in ended.failures if is_unanswered(answer)]
        if ended.ids or len(unanswered) < len(ended.failures):
            self._heard_s = now_s
        elif unanswered:
            if now_s - self._heard_s >= AWAY_S_MAX:
                self._tally.away = unanswered[-1].text
            self._sleep(_PAUSE_S)

    def _count(self, ended: Ended, now_s: float) -> None:
        tally, begun = self._tally, self._begun
        tally.latencies_s.extend([now_s - begun.pop(number) for number in ended.ids])
        tally.codes[0] += len(ended.ids)
        if (found := self._workload.found) is not None:
            try:
                tally.found += sum(map(found, ended.replies))
            except MalformedReply as garbage:
                self._note(f"a reply is not one: {garbage}")
        for number, answer in ended.failures:
            del begun[number]
            tally.codes[answer.code] += 1
            self._note(answer.text)

    def _note(self, text: str) -> None:
        texts = self._tally.texts
        texts[text if text in texts or len(texts) < TEXTS_MAX else "others"] += 1
