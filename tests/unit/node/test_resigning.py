"""Who may take no writes has others lead, once."""

from types import SimpleNamespace
from typing import Any, cast

from dkv.node.resigning import AGAIN_MS, TRY_MS, Resigning
from dkv.ports.clock import Now


def test_node_hands_over_each_time_its_disk_fills_up_and_only_then() -> None:
    """It tries for a while, as nobody may be in touch, and keeps what it is given later: the others are full, too."""
    asked: list[tuple[int, int]] = []
    disk: Any = SimpleNamespace(full=lambda now: None)
    membership = SimpleNamespace(to_hand_over=lambda: {7: 20, 8: 30})
    consensus = SimpleNamespace(transfer_leader=lambda *what: asked.append(what))
    resigning = Resigning(disk, cast(Any, membership), cast(Any, consensus))

    def run(first_ms: int) -> int:
        """How many transfers the next half minute brings."""
        asked.clear()
        for at in range(first_ms, first_ms + 30_000, 100):
            resigning.after_turn(Now(0, at))
        return len(asked)

    assert run(0) == 0
    disk.full = lambda now: "full"
    assert run(30_000) == 2 * TRY_MS // AGAIN_MS
    assert run(60_000) == 0
    disk.full = lambda now: None
    assert run(90_000) == 0
    disk.full = lambda now: "full"
    resigning.after_turn(Now(0, 120_000))
    assert asked == [(7, 20), (8, 30)]
