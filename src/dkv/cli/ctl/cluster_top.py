"""`dkvctl top` and `dkvctl status` of a cluster: every node, and what they do together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from dkv.cli.ctl.fleet import Fleet, Look
from dkv.cli.ctl.fleet_table import (
    COLUMNS,
    Row,
    head_line,
    is_broken,
    methods_together,
    node_fields,
    problems,
    rows_of,
    table,
)
from dkv.cli.ctl.invocation import Session
from dkv.cli.ctl.members import unsettled_lines
from dkv.cli.ctl.node_status import status_fields
from dkv.cli.ctl.rates import Rates, rates
from dkv.cli.ctl.screen import Screen
from dkv.cli.ctl.top_frame import METHODS_HEAD, method_line, rates_fields
from dkv.cli.ctl.units import count_text
from dkv.cli.output import EXIT_FAILED, EXIT_OK
from dkv.model.errors import DkvError
from dkv.wire.fields import to_fields

INTERVAL_SECONDS = 1.0
WAIT_SECONDS_MIN = 0.05
"""For a key, however long the nodes took to answer."""
QUIT = ("q", "Q", "\x04")
PLAIN_WIDTH, PLAIN_LINES = 120, 1_000
EVERY_VBUCKET = 0
STATUS_COLUMNS = tuple(each for each in COLUMNS if each.head not in ("CALLS/S", "P99", "BUSY", "ERR/S"))


def status(session: Session, fleet: Fleet) -> int:
    """Once, without rates; a vBucket that takes no writes ends with 1."""
    look = fleet.look(EVERY_VBUCKET)
    rows = rows_of(look, {})
    found = list(problems(look, rows))
    code = EXIT_FAILED if is_broken(look, rows) else EXIT_OK
    if session.options.json:
        nodes = [
            node_fields(each, rows.get(each.node))
            | ({"status": status_fields(each.status)} if each.status is not None else {})
            for each in look.nodes
        ]
        groups = [to_fields(group) for group in look.cluster.groups]
        session.result({"cluster": look.cluster.name, "problems": found, "nodes": nodes, "groups": groups})
        return code
    for line in [head_line(look), *(f"! {each}" for each in found), ""]:
        session.print(line)
    for line in table(look, rows, STATUS_COLUMNS, PLAIN_WIDTH):
        session.print(line)
    for line in unsettled_lines(look.cluster):
        session.print(line)
    return code


def watch(session: Session, fleet: Fleet, screen: Screen) -> None:
    """Draws until somebody has seen enough, or --limit pictures are drawn."""
    screen.draw(["One moment ..."])
    before, shown, pause_s = fleet.look(), 0, INTERVAL_SECONDS
    while screen.wait(pause_s) not in QUIT:
        began_s = time.monotonic()
        columns, lines = screen.size()
        try:
            after = fleet.look()
        except DkvError as error:
            screen.draw([f"{error}"[:columns], "", "q: leave"])
            continue
        screen.draw(frame(before, after, columns, lines))
        before, shown = after, shown + 1
        if shown == session.options.limit:
            return
        pause_s = max(WAIT_SECONDS_MIN, INTERVAL_SECONDS - (time.monotonic() - began_s))


def plain(session: Session, fleet: Fleet, count: int, sleep: Callable[[float], None]) -> None:
    """So many pictures, a second apart, without a terminal. Raises DkvError."""
    before = fleet.look()
    for shown in range(count):
        sleep(INTERVAL_SECONDS)
        after = fleet.look()
        if session.options.json:
            session.result(_fields(before, after))
        else:
            for line in ([""] if shown else []) + frame(before, after, PLAIN_WIDTH, PLAIN_LINES):
                session.print(line)
        session.out.flush()
        before = after


def frame(before: Look, after: Look, columns: int, lines: int) -> list[str]:
    """At most `lines` lines of at most `columns` characters; the idlest methods are what does not fit."""
    seen = rates_between(before, after)
    found = [*_picture(after, rows_of(after, seen), seen, columns)]
    return [line[:columns].rstrip() for line in found[:lines]]


def _picture(look: Look, rows: dict[int, Row], seen: dict[int, Rates], columns: int) -> Iterator[str]:
    yield head_line(look)
    leads = [seen[node].changes for node, row in rows.items() if node in seen and row.status.cluster.led]
    counts = [(each.calls, each.errors, each.refused) for each in seen.values()] or [(0.0, 0.0, 0.0)]
    calls, errors, refused = (sum(column) for column in zip(*counts, strict=True))
    yield (
        f"calls {count_text(calls)}/s, errors {count_text(errors)}/s, refused {count_text(refused)}/s, "
        f"changes {count_text(max(leads, default=0.0))}/s"
    )
    yield ""
    yield from table(look, rows, COLUMNS, columns)
    yield ""
    yield METHODS_HEAD
    yield from map(method_line, methods_together(list(seen.values())))


def rates_between(before: Look, after: Look) -> dict[int, Rates]:
    """By node, of those that answered both times."""
    earlier = {each.node: each for each in before.nodes}
    seen: dict[int, Rates] = {}
    for each in after.nodes:
        then = earlier.get(each.node)
        if each.status is not None and then is not None and then.status is not None:
            seen[each.node] = rates(then.status, each.status, each.taken_s - then.taken_s)
    return seen


def _fields(before: Look, after: Look) -> dict[str, object]:
    seen = rates_between(before, after)
    rows = rows_of(after, seen)
    nodes = []
    for each in after.nodes:
        fields = node_fields(each, rows.get(each.node))
        if each.status is not None:
            fields["status"] = status_fields(each.status)
        if each.node in seen:
            fields["rates"] = rates_fields(seen[each.node])
        nodes.append(fields)
    return {"cluster": after.cluster.name, "nodes": nodes}
