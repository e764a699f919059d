"""Applying at the engine's pace."""

from types import SimpleNamespace

from dkv.node.throttle import BACKLOG_BYTES_MAX, Throttle
from dkv.ports.clock import Now
from dkv.ports.store import Pressure


def at(milliseconds: int) -> Now:
    return Now(0, milliseconds)


def throttled(pressure: Pressure) -> tuple[Throttle, SimpleNamespace]:
    store = SimpleNamespace(pressure_now=pressure)
    store.pressure = lambda: store.pressure_now
    return Throttle(store), store  # type: ignore[arg-type]  # nothing else of a store is asked


def test_throttle_without_pressure_lets_everything_through() -> None:
    """However much was applied the moment before."""
    throttle, _ = throttled(Pressure(False, 0))
    throttle.note_applied(1 << 30)
    assert throttle.may_apply(at(1))
    assert not throttle.is_full(BACKLOG_BYTES_MAX)


def test_throttle_of_a_stopped_engine_lets_nothing_through() -> None:
    """Nor may anything be proposed."""
    throttle, store = throttled(Pressure(True, 0))
    assert not throttle.may_apply(at(1))
    assert throttle.is_full(0)
    store.pressure_now = Pressure(False, 0)
    assert throttle.may_apply(at(2))


def test_throttle_of_a_slow_engine_keeps_to_its_rate() -> None:
    """What was applied has to be paid for by time; more than a little that waits is refused."""
    throttle, store = throttled(Pressure(False, 1_000_000))
    assert throttle.may_apply(at(1_000))
    throttle.note_applied(500_000)
    assert not throttle.may_apply(at(1_499))
    assert throttle.may_apply(at(1_500))
    throttle.note_applied(1 << 30)
    assert not throttle.may_apply(at(2_000))
    assert throttle.is_full(BACKLOG_BYTES_MAX + 1)
    assert not throttle.is_full(BACKLOG_BYTES_MAX)
    store.pressure_now = Pressure(False, 0)
    assert throttle.may_apply(at(2_001))
