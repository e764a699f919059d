"""`dkvctl top`: the node, once a second, until q or Ctrl-C. Without a terminal one plain picture, or --limit of them.

A server that goes away is waited for: its absence is what there is to see.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from dkv.cli.ctl.invocation import Session
from dkv.cli.ctl.node import node_status, status_fields
from dkv.cli.ctl.rates import rates
from dkv.cli.ctl.screen import Screen
from dkv.cli.ctl.top_frame import frame
from dkv.model.errors import DkvError
from dkv.wire import messages as pb

INTERVAL_SECONDS = 1.0
_PLAIN_SIZE = (120, 1_000)
_QUIT = ("q", "Q", "\x04")


class Sample(NamedTuple):
    status: pb.GetNodeStatusResponse
    taken_s: float


def top(session: Session, words: list[bytes]) -> None:
    if session.options.json or not Screen.is_there():
        plain(session, session.options.limit or 1, time.sleep)
        return
    try:
        with Screen() as screen:
            watch(session, screen)
    except KeyboardInterrupt:
        pass


def watch(session: Session, screen: Screen) -> None:
    """Draws until somebody has seen enough, or --limit pictures are drawn."""
    before, shown = _sample(session), 0
    screen.draw(["One moment ..."])
    while screen.wait(INTERVAL_SECONDS) not in _QUIT:
        try:
            after = _sample(session)
        except DkvError as error:
            columns, _ = screen.size()
            screen.draw([f"No answer from {session.options.address}: {error}"[:columns], "", "q: leave"])
            continue
        screen.draw(_frame(before, after, screen.size()))
        before, shown = after, shown + 1
        if shown == session.options.limit:
            return


def plain(session: Session, count: int, sleep: Callable[[float], None]) -> None:
    """So many pictures, a second apart, without a terminal. Raises DkvError."""
    before = _sample(session)
    for shown in range(count):
        sleep(INTERVAL_SECONDS)
        after = _sample(session)
        if session.options.json:
            session.result({**status_fields(after.status), "rates": _rates_fields(before, after)})
        else:
            for line in ([""] if shown else []) + _frame(before, after, _PLAIN_SIZE):
                session.print(line)
        session.out.flush()
        before = after


def _sample(session: Session) -> Sample:
    return Sample(node_status(session), time.monotonic())


def _frame(before: Sample, after: Sample, size: tuple[int, int]) -> list[str]:
    seen = rates(before.status, after.status, after.taken_s - before.taken_s)
    return frame(after.status, seen, *size)


def _rates_fields(before: Sample, after: Sample) -> dict[str, object]:
    seen = rates(before.status, after.status, after.taken_s - before.taken_s)
    methods = [
        {
            "path": each.name,
            "calls": each.calls_per_s,
            "errors": each.errors_per_s,
            "p99Seconds": each.latency.quantile(0.99),
        }
        for each in seen.methods
    ]
    return {
        "calls": seen.calls,
        "errors": seen.errors,
        "refused": seen.refused,
        "changes": seen.changes,
        "turns": seen.turns,
        "busyShare": seen.busy_share,
        "syncs": seen.syncs,
        "syncSecondsMean": seen.sync_seconds_mean,
        "methods": methods,
    }
