"""Who may take no writes has others lead, as far as that helps."""

from types import SimpleNamespace
from typing import Any, cast

from dkv.node.resigning import AGAIN_MS, REST_MS, TRY_MS, Resigning
from dkv.ports.clock import Now

TRIES = TRY_MS // AGAIN_MS


class Bench:
    """A node that leads two vBuckets, and what it has asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.is_full, self.led = False, {7: 20, 8: 30}
        disk: Any = SimpleNamespace(full=lambda now: "full" if self.is_full else None)
        membership = SimpleNamespace(to_hand_over=lambda: self.led)
        consensus = SimpleNamespace(transfer_leader=lambda *what: self.asked.append(what))
        self._resigning = Resigning(disk, cast(Any, membership), cast(Any, consensus))
        self._now_ms = 0

    def run(self, ms: int) -> int:
        """How often each transfer was asked for in that time."""
        self.asked.clear()
        for _ in range(0, ms, 100):
            self._resigning.after_turn(Now(0, self._now_ms))
            self._now_ms += 100
        assert self.asked == list(self.led.items()) * (len(self.asked) // 2)
        return len(self.asked) // 2


def test_leader_whose_disk_fills_up_hands_over_for_a_while() -> None:
    """Nobody may be in touch, so it tries again; then all others may be full as well, so it rests."""
    bench = Bench()
    assert bench.run(REST_MS) == 0
    bench.is_full = True
    assert bench.run(REST_MS) == TRIES
    assert bench.run(REST_MS) == TRIES
    bench.is_full = False
    assert bench.run(REST_MS // 2) == 0
    bench.is_full = True
    assert bench.run(REST_MS // 2) == TRIES


def test_node_that_comes_to_lead_with_a_full_disk_hands_over_at_once() -> None:
    """However long it has been full as a follower."""
    bench = Bench()
    bench.is_full, led, bench.led = True, bench.led, {}
    assert bench.run(2 * REST_MS) == 0
    bench.led = led
    assert bench.run(AGAIN_MS) == 1
