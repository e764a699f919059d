"""What a node counts of its own work."""

from dkv.node.meter import LONG_TURNS_KEPT, Meter


class Stopwatch:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def take_turn(meter: Meter, watch: Stopwatch, *seconds: float, calls: int = 1) -> None:
    """A turn whose phases take so long."""
    meter.begin(calls)
    for each in seconds[:-1]:
        watch.now_s += each
        meter.lap()
    watch.now_s += seconds[-1]
    meter.end()


def test_turn_is_counted_with_its_calls_and_its_time() -> None:
    """A turn that only waited counts as a turn, and took no calls."""
    watch = Stopwatch()
    meter = Meter(watch)
    take_turn(meter, watch, 0.0, 0.0, 0.002, 0.001, 0.0, 0.0, calls=7)
    take_turn(meter, watch, 0, 0, 0, 0, 0, 0, calls=0)
    assert (meter.turns, meter.turn_calls.count, meter.turn_calls.total) == (2, 1, 7)
    assert round(meter.turn_seconds.total, 6) == 0.003


def test_long_turn_is_kept_with_its_phases_and_a_short_one_is_not() -> None:
    """The longest one of the time asked about explains a slow call."""
    watch = Stopwatch()
    meter = Meter(watch)
    take_turn(meter, watch, 0, 0, 0.5, 0, 0, 0)
    began = watch.now_s + 0.001
    take_turn(meter, watch, 0.0001, 0, 0, 0, 0, 0)
    assert meter.longest_turn_since(began) is None
    take_turn(meter, watch, 0, 0, 0, 0.02, 0, 0)
    take_turn(meter, watch, 0, 0, 0, 0.01, 0, 0)
    longest = meter.longest_turn_since(began)
    assert longest is not None
    assert round(longest.phases.read, 6) == 0.02
    for _ in range(2 * LONG_TURNS_KEPT):
        take_turn(meter, watch, 0, 0, 0.002, 0, 0, 0)
    assert len(meter.long_turns) == LONG_TURNS_KEPT


def test_engine_work_is_told_apart_by_one_or_many() -> None:
    """The original's names: get and put for one, mget and mput for several."""
    meter = Meter()
    meter.looked_up(1, 0.0)
    meter.looked_up(2, 0.0)
    meter.wrote(1, 0.0)
    meter.wrote(9, 0.0)
    assert {name: seen.count for name, seen in meter.storage.items()} == {"get": 1, "mget": 1, "put": 1, "mput": 1}
