"""Three nodes of DKV beside three of etcd, on one machine, in one run: a table of ratios in benchmarks/results/.

In every round both are asked, in turns, and the order rotates. The load generator, h2load, shares the machine. What
leads is looked up before each measurement. A ratio is that of the two figures of one round.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import results_file
from load import LoadFailed
from peers import ROOT, Dkv, GrpcPeer, Load, raise_open_files_limit
from spread import leaders, puts_per_second
from trio_faults import catching_up, elections, gaps
from trios import CACHE_BYTES, DkvNode, DkvTrio, EtcdNode, EtcdTrio

MANY_VBUCKETS = 1_000
SPREAD_KEYS, SPREAD_IN_FLIGHT = 20_000, 1_024
SETTLE_SECONDS, IDLE_SECONDS = 10, 10
ETCD_KILLS_MAX = 5
TABLE_HEAD = ["| work | DKV | beside it | DKV : it, median (least) | wanted | |", "|---|---:|---:|---:|---:|---|"]


class Row(NamedTuple):
    title: str
    workload: str
    load: Load
    on_leader: bool
    ratio_min: float


PUTS = (
    Row("Put on the leader, 128 in flight", "put", Load(8, 16), True, 1.3),
    Row("Put on the leader, 1,024 in flight", "put", Load(16, 64), True, 1.2),
    Row("Put on the leader, 1 in flight", "put", Load(1, 1), True, 1.1),
)
GETS = (
    Row("LINEARIZABLE Get on the leader, 128 in flight", "linearizable", Load(8, 16), True, 2.2),
    Row("LINEARIZABLE Get on a follower, 128 in flight", "linearizable", Load(8, 16), False, 1.8),
)


class Bench:
    """The servers of a run, started when they are first needed, and the lines of its table."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lines: list[str] = [*TABLE_HEAD]
        self._trios: dict[str, DkvTrio | EtcdTrio] = {}
        print("\n".join(self.lines), flush=True)

    @property
    def dkv(self) -> DkvTrio:
        trio = self._running("dkv", lambda: DkvTrio(self.options.folder / "dkv"))
        assert isinstance(trio, DkvTrio)
        return trio

    @property
    def etcd(self) -> EtcdTrio:
        trio = self._running("etcd", lambda: EtcdTrio(self.options.folder / "etcd"))
        assert isinstance(trio, EtcdTrio)
        return trio

    @property
    def leased(self) -> DkvTrio:
        """Whose leaders answer reads by leases."""
        flags = ("--nexus-lease-based-reads",)
        trio = self._running("leased", lambda: DkvTrio(self.options.folder / "leased", flags=flags))
        assert isinstance(trio, DkvTrio)
        return trio

    @property
    def many(self) -> DkvTrio:
        """With many vBuckets."""
        trio = self._running("many", lambda: DkvTrio(self.options.folder / "many", MANY_VBUCKETS))
        assert isinstance(trio, DkvTrio)
        return trio

    def _running(self, name: str, make: Callable[[], DkvTrio | EtcdTrio]) -> DkvTrio | EtcdTrio:
        if name not in self._trios:
            self._trios[name] = make()
            self._trios[name].start()
        return self._trios[name]

    def stop(self, *names: str) -> None:
        for name in names or list(self._trios):
            if (trio := self._trios.pop(name, None)) is not None:
                trio.stop()
                shutil.rmtree(self.options.folder / name, ignore_errors=True)

    def say(self, title: str, ours: str, others: str, figure: str, wanted: str, is_reached: bool) -> None:
        verdict = "reached" if is_reached else "missed"
        self.lines.append(f"| {title} | {ours} | {others} | {figure} | {wanted} | {verdict} |")
        print(self.lines[-1], flush=True)

    def say_ratio(self, title: str, ours: list[float], others: list[float], ratio_min: float) -> None:
        ratios = [mine / other for mine, other in zip(ours, others, strict=True)]
        figure = f"{median(ratios):.2f} ({min(ratios):.2f})"
        mine, other = f"{median(ours):,.0f}/s", f"{median(others):,.0f}/s"
        self.say(title, mine, other, figure, f">= {ratio_min}", median(ratios) >= ratio_min)


def rows_beside_etcd(bench: Bench, rows: tuple[Row, ...]) -> None:
    options = bench.options
    trios: list[DkvTrio | EtcdTrio] = [bench.dkv, bench.etcd]
    for row in rows:
        figures: dict[str, list[float]] = {"dkv": [], "etcd": []}
        for turn in range(options.rounds):
            for trio in trios[turn % 2 :] + trios[: turn % 2]:
                node: DkvNode | EtcdNode = trio.leader() if row.on_leader else trio.follower()
                measured = node.measure(row.workload, row.load, options.seconds)
                assert measured is not None
                figures[trio.name].append(measured.per_second)
        bench.say_ratio(f"{row.title}; etcd", figures["dkv"], figures["etcd"], row.ratio_min)


def puts(bench: Bench) -> None:
    rows_beside_etcd(bench, PUTS)


def linearizable_gets(bench: Bench) -> None:
    rows_beside_etcd(bench, GETS)


def leased_gets(bench: Bench) -> None:
    """Leases beside read indexes: the same leader's work without its quorum, and with it."""
    trios = {"leased": bench.leased, "dkv": bench.dkv}
    for title, on_leader, load in (
        ("on the leader, 128 in flight", True, Load(8, 16)),
        ("on the leader, 1 in flight", True, Load(1, 1)),
        ("on a follower, 1 in flight", False, Load(1, 1)),
    ):
        figures: dict[str, list[float]] = {name: [] for name in trios}
        for turn in range(bench.options.rounds):
            names = list(trios)[turn % 2 :] + list(trios)[: turn % 2]
            for name in names:
                node = trios[name].leader() if on_leader else trios[name].follower()
                measured = node.measure("linearizable", load, bench.options.seconds)
                assert measured is not None
                figures[name].append(measured.per_second)
        bench.say_ratio(f"LINEARIZABLE Get {title}, with leases; without", figures["leased"], figures["dkv"], 1.0)
    bench.stop("leased")


def sequential_gets(bench: Bench) -> None:
    """One node of three, the other two at rest, beside a server that stands alone."""
    options = bench.options
    alone = Dkv(options.folder / "alone", ("--block-cache-size", str(CACHE_BYTES)))
    figures: dict[str, list[float]] = {"one": [], "alone": []}
    try:
        alone.start()
        alone.ask(alone.calls["put"])
        named: list[tuple[str, GrpcPeer]] = [("one", bench.dkv.leader()), ("alone", alone)]
        for turn in range(options.rounds):
            for name, node in named[turn % 2 :] + named[: turn % 2]:
                measured = node.measure("get", Load(8, 16), options.seconds)
                assert measured is not None
                figures[name].append(measured.per_second)
    finally:
        alone.stop()
    title = "SEQUENTIAL Get on one node, two at rest, 128 in flight; a server alone"
    bench.say_ratio(title, figures["one"], figures["alone"], 0.9)


def failover(bench: Bench) -> None:
    kills = bench.options.kills
    ours, others = gaps(bench.dkv, kills), gaps(bench.etcd, min(kills, ETCD_KILLS_MAX))
    title = f"leader killed {kills} times: longest gap of a client that retries; etcd, {len(others)} times"
    mine = f"{median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f})"
    other = f"{median(others):.2f} s ({min(others):.2f} to {max(others):.2f})"
    bench.say(title, mine, other, "", "<= 1.0 s", median(ours) <= 1.0)


def false_elections(bench: Bench) -> None:
    minutes = bench.options.minutes
    terms = elections(bench.dkv, minutes)
    title = f"terms that went by in {minutes:g} minutes of Puts on the leader, 1,024 in flight"
    bench.say(title, str(terms), "", "", "0", terms == 0)


def behind(bench: Bench) -> None:
    megabytes = bench.options.behind_mb
    rate_level, rate_beside, seconds = catching_up(bench.dkv, megabytes << 20)
    title = f"Put, 128 in flight, while a follower catches up with {megabytes:,} MB, {seconds:.1f} s; all level"
    bench.say_ratio(title, [rate_beside], [rate_level], 0.7)


def spread(bench: Bench) -> None:
    options = bench.options
    trios = [bench.many, bench.dkv]
    figures: dict[int, list[float]] = {MANY_VBUCKETS: [], 1: []}
    for turn in range(options.rounds):
        for trio in trios[turn % 2 :] + trios[: turn % 2]:
            figures[trio.vbuckets].append(puts_per_second(trio, SPREAD_KEYS, SPREAD_IN_FLIGHT, options.seconds))
    title = f"Put over {MANY_VBUCKETS:,} vBuckets, {SPREAD_IN_FLIGHT:,} in flight; over one"
    bench.say_ratio(title, figures[MANY_VBUCKETS], figures[1], 0.7)


def idle(bench: Bench) -> None:
    """Both begin anew: memory that load has left behind is not that of replicas at rest."""
    bench.stop("dkv", "many")
    trios = [bench.many, bench.dkv]
    leaders(bench.many)
    time.sleep(SETTLE_SECONDS)
    before = [node.cpu_seconds() for node in bench.many.nodes]
    time.sleep(IDLE_SECONDS)
    used = [node.cpu_seconds() - begun for node, begun in zip(bench.many.nodes, before, strict=True)]
    share = max(used) / IDLE_SECONDS
    many, one = (median(node.memory_mb() for node in trio.nodes) for trio in trios)
    kilobytes = (many - one) * 1024 / (MANY_VBUCKETS - 1)
    title = f"memory for an idle replica: nodes of {MANY_VBUCKETS:,} vBuckets; of one"
    bench.say(title, f"{many:.0f} MB", f"{one:.0f} MB", f"{kilobytes:.1f} KB", "<= 20 KB", kilobytes <= 20)
    title = f"processor time of a node of {MANY_VBUCKETS:,} idle vBuckets, the busiest of three"
    bench.say(title, f"{share:.1%} of a core", "", "", "< 3 %", share < 0.03)


PARTS: dict[str, Callable[[Bench], None]] = {
    "idle": idle,
    "get": linearizable_gets,
    "leases": leased_gets,
    "sequential": sequential_gets,
    "put": puts,
    "spread": spread,
    "failover": failover,
    "elections": false_elections,
    "behind": behind,
}
"""In this order: reads first, as etcd 3.4 reads slowly after many writes; what leaves much behind comes last."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="of one measurement")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, by comma: {', '.join(PARTS)}")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1, help="of full load, to see false elections")
    parser.add_argument("--behind-mb", type=int, default=256, help="that a follower lacks when it comes back")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-cluster", help="emptied")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if missing := EtcdNode.missing():
        parser.error(f"not installed: {', '.join(missing)}")
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    bench = Bench(options)
    try:
        for name, part in PARTS.items():
            if name in chosen:
                try:
                    part(bench)
                except (LoadFailed, RuntimeError) as failure:
                    bench.say(name, "", "", f"not measured: {failure}", "", False)
    finally:
        bench.stop()
    head = [
        f"* etcd: {EtcdNode.version()}; both sync before every reply",
        f"* 100-byte values; {options.rounds} rounds of {options.seconds} s; what stands behind the ; is beside it",
        "",
    ]
    results_file.write("cluster", "Three nodes on one machine", options.folder, [*head, *bench.lines])
    shutil.rmtree(options.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
