"""`dkvctl vbuckets`: every vBucket of a cluster, or of a server that stands alone; of one, each replica.

Of a vBucket its leader is believed, or else whoever is in the latest term; what is wrong is said of each node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from dkv.cli.ctl.fleet import Fleet, vbuckets_of
from dkv.cli.ctl.invocation import Failed, Session
from dkv.cli.ctl.members import parse_vbucket
from dkv.cli.ctl.node_status import vbucket_fields
from dkv.cli.ctl.stats_text import time_text
from dkv.cli.ctl.units import bytes_text, count_text
from dkv.cli.ctl.vbucket_text import OF_LEADERS, condition_name, condition_text, kept, least_text, states
from dkv.cluster.group import UNHEARD
from dkv.model.errors import Code, DkvError
from dkv.wire import messages as pb

SHOWN = 20
"""Of those in which nothing is wrong, unless --limit says otherwise."""
_ADDRESS_WIDTH_MIN = 16


class Replica(NamedTuple):
    """Of one vBucket on one node."""

    node: int
    address: str
    status: pb.VBucketStatus


def vbuckets(session: Session, words: list[bytes]) -> None:
    """[number]"""
    number = parse_vbucket(words[0]) if words else 0
    found, problems = _look(session)
    if number and number not in found:
        raise Failed(f"there is no vBucket {number}" if found else "; ".join(problems))
    wanted = {number: found[number]} if number else found
    if session.options.json:
        session.result({"problems": problems, "vBuckets": [_fields(*each) for each in sorted(wanted.items())]})
        return
    lines = replica_lines(found[number]) if number else table_lines(found, session.options.limit or SHOWN)
    for line in [*(f"! {each}" for each in problems), *lines]:
        session.print(line)


def _look(session: Session) -> tuple[dict[int, list[Replica]], list[str]]:
    """The replicas of each vBucket, and which nodes do not answer."""
    fleet = Fleet(session)
    try:
        fleet.find()
        return by_number(fleet.vbuckets())
    except DkvError as error:
        if error.code != Code.UNIMPLEMENTED:
            raise
    finally:
        fleet.close()
    alone = vbuckets_of(session.client)
    return {each.number: [Replica(0, session.options.address, each)] for each in alone}, []


def by_number(
    answers: Sequence[tuple[int, str, list[pb.VBucketStatus] | str]],
) -> tuple[dict[int, list[Replica]], list[str]]:
    """`answers`: (node, address, its vBuckets or why there are none)."""
    found: dict[int, list[Replica]] = {}
    problems = []
    for node, address, statuses in answers:
        if isinstance(statuses, str):
            problems.append(f"{address} does not answer: {statuses}")
            continue
        for status in statuses:
            found.setdefault(status.number, []).append(Replica(node, address, status))
    return found, problems


def best(replicas: Sequence[Replica]) -> Replica:
    """Whom to believe."""
    leader = pb.VBucketStatus.RaftRole.Value("LEADER")
    return max(replicas, key=lambda each: (each.status.term, each.status.raftRole == leader, each.status.appliedIndex))


def table_lines(found: Mapping[int, Sequence[Replica]], shown: int) -> Iterator[str]:
    """A line a vBucket, those in some condition first; of the others so many."""
    addresses = {each.node: each.address for replicas in found.values() for each in replicas}
    width = max([_ADDRESS_WIDTH_MIN, *map(len, addresses.values())])
    yield f"{'VBUCKET':>7}  {'LEADER':<{width}}{'TERM':>6}{'CHANGES':>12}{'KEPT':>10}{'HISTORY':>10}{'LAG':>9}  STATE"
    quiet = 0
    for number in sorted(found, key=lambda number: (not _states(found[number]), number)):
        what = _states(found[number])
        quiet += not what
        if what or quiet <= shown:
            yield _line(number, found[number], addresses, width, what)
    if quiet > shown:
        yield f"  and {count_text(quiet - shown)} vBuckets in which all is well (--limit N shows more, --json has all)"
    purged = [best(each).status for each in found.values() if best(each).status.oldestChangeNumber > 1]
    if purged:
        yield f"history: {least_text(min(purged, key=lambda status: (kept(status), status.number)))}"


def _line(number: int, replicas: Sequence[Replica], addresses: Mapping[int, str], width: int, what: str) -> str:
    status = best(replicas).status
    leader = addresses.get(status.leader, f"{status.leader:x}") if status.leader else "unknown"
    if not best(replicas).node:
        leader = best(replicas).address
    counts = count_text(status.changeNumber), count_text(kept(status)), bytes_text(status.historyBytes).replace(" ", "")
    return (
        f"{number:>7}  {leader:<{width}}{status.term:>6}{counts[0]:>12}{counts[1]:>10}{counts[2]:>10}"
        f"{_lag(status):>9}  {what or 'ok'}"
    )


def _lag(status: pb.VBucketStatus) -> str:
    if not status.HasField("lagEntries"):
        return "-"
    return count_text(status.lagEntries) if status.lagEntries < UNHEARD else "unheard"


def _states(replicas: Sequence[Replica]) -> str:
    """What is wrong, and on which nodes unless it is so on all, or is told of the leader alone."""
    nodes: dict[int, list[str]] = {}
    for each in replicas:
        for condition in each.status.conditions:
            nodes.setdefault(condition, []).append(each.address)
    return ", ".join(
        condition_text(condition)
        if condition_name(condition) in OF_LEADERS or len(where) == len(replicas)
        else f"{condition_text(condition)} ({', '.join(where)})"
        for condition, where in sorted(nodes.items())
    )


def replica_lines(replicas: Sequence[Replica]) -> Iterator[str]:
    """A line a node."""
    width = max([_ADDRESS_WIDTH_MIN, *(len(each.address) for each in replicas)])
    yield (
        f"{'NODE':<{width}}{'ROLE':>14}{'TERM':>6}{'APPLIED':>12}{'COMMITTED':>12}{'CHANGES':>12}{'KEPT':>10}"
        f"  {'LOG TIME':<20}  STATE"
    )
    for _, address, status in sorted(replicas, key=lambda each: each.address):
        role = status.RaftRole.Name(status.raftRole).lower()
        counts = status.appliedIndex, status.commitIndex, status.changeNumber
        yield (
            f"{address:<{width}}{role:>14}{status.term:>6}"
            + "".join(f"{count_text(each):>12}" for each in counts)
            + f"{count_text(kept(status)):>10}  {time_text(status.logTime):<20}  {states(status.conditions) or 'ok'}"
        )


def _fields(number: int, replicas: Sequence[Replica]) -> dict[str, object]:
    rows = [{"node": node, "address": address, **vbucket_fields(status)} for node, address, status in replicas]
    return {"number": number, "replicas": rows}
