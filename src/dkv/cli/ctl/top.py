"""`dkvctl top`: all nodes of a cluster, or one, once a second, until q or Ctrl-C. Without a terminal one plain picture,
or --limit of them.

A server that goes away is waited for: its absence is what there is to see.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from dkv.cli.ctl import cluster_top
from dkv.cli.ctl.fleet import Fleet
from dkv.cli.ctl.invocation import Session, UsageError
from dkv.cli.ctl.node_status import node_status, status_fields
from dkv.cli.ctl.rates import Rates, rates
from dkv.cli.ctl.screen import Screen
from dkv.cli.ctl.top_frame import frame, rates_fields
from dkv.model.errors import Code, DkvError
from dkv.wire import messages as pb

INTERVAL_SECONDS = 1.0
_PLAIN_SIZE = (120, 1_000)
_QUIT = ("q", "Q", "\x04")
AsText = Callable[[Session, int, Callable[[float], None]], None]
OnScreen = Callable[[Session, Screen], None]


class Sample(NamedTuple):
    status: pb.GetNodeStatusResponse
    taken_s: float


def top(session: Session, words: list[bytes]) -> None:
    """[node]: only the one that is asked."""
    if words and words != [b"node"]:
        raise UsageError(f"top: expected node, not {words[0].decode(errors='replace')!r}")
    if words:
        _show(session, plain, watch)
        return
    fleet = Fleet(session)
    try:
        fleet.find()
    except DkvError as error:
        fleet.close()
        if error.code != Code.UNIMPLEMENTED:
            raise
        _show(session, plain, watch)
        return
    try:
        _show(session, partial(_plain_cluster, fleet), partial(_watch_cluster, fleet))
    finally:
        fleet.close()


def _show(session: Session, as_text: AsText, on_screen: OnScreen) -> None:
    if session.options.json or not Screen.is_there():
        as_text(session, session.options.limit or 1, time.sleep)
        return
    try:
        with Screen() as screen:
            on_screen(session, screen)
    except KeyboardInterrupt:
        pass


def _plain_cluster(fleet: Fleet, session: Session, count: int, sleep: Callable[[float], None]) -> None:
    cluster_top.plain(session, fleet, count, sleep)


def _watch_cluster(fleet: Fleet, session: Session, screen: Screen) -> None:
    cluster_top.watch(session, fleet, screen)


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
            session.result({**status_fields(after.status), "rates": rates_fields(_rates(before, after))})
        else:
            for line in ([""] if shown else []) + _frame(before, after, _PLAIN_SIZE):
                session.print(line)
        session.out.flush()
        before = after


def _sample(session: Session) -> Sample:
    return Sample(node_status(session), time.monotonic())


def _frame(before: Sample, after: Sample, size: tuple[int, int]) -> list[str]:
    return frame(after.status, _rates(before, after), *size)


def _rates(before: Sample, after: Sample) -> Rates:
    return rates(before.status, after.status, after.taken_s - before.taken_s)
