"""What signals leave behind for the server's loop."""

import signal
from collections.abc import Iterator

import pytest

from dkv.server import signals as module
from dkv.server.signals import Signals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in ALL}
    yield Signals()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_wishes_are_taken_once(signals: Signals) -> None:
    """Levels add up, a reopen is one however often it was asked for."""
    assert not signals.has_wishes
    for number in (signal.SIGUSR1, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGHUP):
        signal.raise_signal(number)
    assert signals.has_wishes
    assert (signals.take_level_steps(), signals.take_reopen()) == (1, True)
    assert not signals.has_wishes
    assert (signals.take_level_steps(), signals.take_reopen(), signals.caught) == (0, False, None)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "terminated"), (signal.SIGQUIT, "quit")]
)
def test_first_stop_is_remembered_and_the_second_ends_the_process(
    signals: Signals, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, name: str
) -> None:
    """Whoever asks twice does not want to wait."""
    ended: list[int] = []
    monkeypatch.setattr(module.os, "_exit", ended.append)
    signal.raise_signal(number)
    assert (signals.caught, ended) == (name, [])
    signal.raise_signal(signal.SIGTERM)
    assert ended == [1]
