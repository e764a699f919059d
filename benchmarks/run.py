"""Compares DKV with etcd and redis on this machine, in one run, and writes a table to benchmarks/results/.

Every row is measured in several rounds, the servers taking turns in rotating order, so that a slow minute of the
machine or its disk hits all of them. Figures are medians; the range over the rounds stands beside them. The load
generators (h2load, redis-benchmark) run on the same machine and are part of what is measured.
"""

import argparse
import datetime
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import bodies
from load import LoadFailed, Measured, h2load_in_background
from peers import ROOT, Dkv, Etcd, Load, Peer, Redis, raise_open_files_limit

PEERS: tuple[type[Peer], ...] = (Dkv, Etcd, Redis)
SLOW_SYNC_MS = 10
P = TypeVar("P", bound=Peer)


class Row(NamedTuple):
    title: str
    workload: str
    load: Load
    unit: str = "/s"


# Reads first: etcd 3.4 copies a buffer that writes have grown at every read, until it is restarted.
ROWS = (
    Row("empty call, 128 in flight", "empty", Load(8, 16)),
    Row("Get, 1 in flight", "get", Load(1, 1)),
    Row("Get, 128 in flight on 8 connections", "get", Load(8, 16)),
    Row("Get, 1,024 in flight on 16 connections", "get", Load(16, 64)),
    Row("MultiGet of 100, 16 in flight, calls", "multi-get", Load(4, 4)),
    Row("Iterate of 10,000, one reader, pairs", "iterate", Load(1, 1)),
    Row("Put, 1 in flight", "put", Load(1, 1)),
    Row("Put, 128 in flight on 8 connections", "put", Load(8, 16)),
    Row("Put, 1,024 in flight on 16 connections", "put", Load(16, 64)),
    Row("MultiPut of 100, 16 in flight, calls", "multi-put", Load(4, 4)),
)

Figures = dict[str, list[float]]


class Table:
    """Rows as they come, printed at once and written at the end."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.lines = [
            f"| | {' | '.join(names)} | {' | '.join(f'dkv : {name}' for name in names[1:])} |",
            f"|---|{'---:|' * (2 * len(names) - 1)}",
        ]
        self.notes: list[str] = []
        print("\n".join(self.lines), flush=True)

    def add(self, title: str, unit: str, figures: Figures) -> None:
        cells = [title, *(shown(figures.get(name, []), unit) for name in self.names)]
        own = figures.get("dkv")
        for name in self.names[1:]:
            other = figures.get(name)
            cells.append(f"{median(own) / median(other):.2f}" if own and other and median(other) else "")
        self.lines.append(f"| {' | '.join(cells)} |")
        print(self.lines[-1], flush=True)

    def note(self, text: str) -> None:
        self.notes.append(text)
        print(f"note: {text}", flush=True)


def shown(figures: list[float], unit: str) -> str:
    if not figures:
        return "-"
    digits = 2 if max(figures) < 10 else 1 if max(figures) < 100 else 0
    spread = f" ({min(figures):,.{digits}f} to {max(figures):,.{digits}f})" if len(figures) > 1 else ""
    return f"{median(figures):,.{digits}f}{unit}{spread}"


def in_turns(peers: list[P], rounds: int) -> Iterable[P]:
    for turn in range(rounds):
        shift = turn % max(1, len(peers))
        yield from peers[shift:] + peers[:shift]


def throughput(table: Table, peers: list[Peer], rounds: int, seconds: float) -> None:
    for row in ROWS:
        figures: Figures = {}
        for peer in in_turns(peers, rounds):
            try:
                measured = peer.measure(row.workload, row.load, seconds)
            except (LoadFailed, subprocess.SubprocessError) as error:
                table.note(f"{row.title}: {peer.name}: {error}")
                continue
            if measured is not None:
                figures.setdefault(peer.name, []).append(measured.per_second)
        table.add(row.title, row.unit, figures)


def starts(table: Table, peers: list[Peer], rounds: int, keys: int) -> None:
    """Restarts each server over its filled folder, until it serves the last key; then looks at its memory."""
    started: Figures = {}
    memory: Figures = {}
    for peer in in_turns(peers, rounds):
        peer.stop()
        started.setdefault(peer.name, []).append(peer.start(keys - 1))
        memory.setdefault(peer.name, []).append(peer.memory_mb())
    table.add(f"start on {keys:,} keys, until the last one is served", " s", started)
    table.add(f"memory after that start, {keys:,} keys, idle", " MB", memory)


def reads_beside_slow_syncs(table: Table, folder: Path, rounds: int, seconds: float) -> None:
    """Get p99 at half of the highest Get rate, alone and while puts run, every sync slowed: only DKV can be slowed."""
    dkv = Dkv(folder / "dkv-slow", ("--log-sync-delay", str(SLOW_SYNC_MS)))
    try:
        dkv.start()
        dkv.fill(0, 1_000)

        def get(rate: int) -> Measured:
            return dkv.h2load(dkv.calls["get"], Load(8, 16), seconds, rate=rate, want_p99=True)

        half = int(get(0).per_second / 2)
        alone: list[float] = []
        beside: list[float] = []
        put = dkv.calls["put"]
        for _ in range(rounds):
            alone.append(get(half).p99_ms)
            puts = threading.Thread(
                target=h2load_in_background,
                args=(dkv.address, put.path, bodies.framed(put.message)),
                kwargs={"connections": 1, "streams": 64, "seconds": seconds + 1},
            )
            puts.start()
            beside.append(get(half).p99_ms)
            puts.join()
        table.add(f"Get p99 at {half:,}/s, syncs take {SLOW_SYNC_MS} ms more, no puts", " ms", {"dkv": alone})
        table.add(
            f"the same while 64 puts are in flight, {median(beside) / median(alone):.2f} times", " ms", {"dkv": beside}
        )
    finally:
        dkv.stop()


def machine(folder: Path) -> list[str]:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    mount = subprocess.run(
        ["df", "--output=fstype", folder], capture_output=True, text=True, check=False
    ).stdout.split()
    kernel = f"{platform.system()} {platform.release()}"
    return [f"* machine: {os.cpu_count()} cores, {cpu}, {kernel}, {mount[-1] if mount else 'unknown disk'}"]


def commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


def guarded(table: Table, title: str, work: Callable[[], None]) -> None:
    """A row that cannot be measured is a note, not the end of the run."""
    try:
        work()
    except (LoadFailed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        table.note(f"{title}: skipped: {error}")


def main() -> int:
    options = parse(sys.argv[1:])
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    chosen = [kind for kind in PEERS if kind.name in options.only.split(",")]
    present = [kind for kind in chosen if not kind.missing()]
    table = Table([kind.name for kind in chosen])
    for kind in chosen:
        if kind.missing():
            table.note(f"{kind.name} is left out: not installed: {', '.join(kind.missing())}")
    measure(table, present, options)
    lines = report(table, present, options)
    if not options.quick:
        write(lines)
    shutil.rmtree(options.folder, ignore_errors=True)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")
    parser.add_argument("--keys", type=int, default=1_000_000, help="in the folders that servers start on")
    parser.add_argument("--only", default="dkv,etcd,redis", help="servers, by comma")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".build" / "bench", help="on the disk to measure; emptied"
    )
    parser.add_argument("--quick", action="store_true", help="one short round over few keys, nothing written")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.keys = 1, 1.0, 20_000
    return options


def measure(table: Table, kinds: list[type[Peer]], options: argparse.Namespace) -> None:
    """All rows of the table. The servers of `kinds` run side by side, and are gone at the end, however it comes."""
    peers: list[Peer] = []
    try:
        for kind in kinds:
            peers.append(kind(options.folder / kind.name))
            fill(peers[-1], options.keys)
        throughput(table, peers, options.rounds, options.seconds)
        guarded(table, "start", lambda: starts(table, peers, options.rounds, options.keys))
        for peer in peers:
            peer.stop()
        if Dkv in kinds:
            guarded(
                table,
                "reads beside slow syncs",
                lambda: reads_beside_slow_syncs(table, options.folder, options.rounds, options.seconds),
            )
    finally:
        for peer in peers:
            peer.stop()


def fill(peer: Peer, keys: int) -> None:
    """Leaves it running over so many keys, started anew."""
    peer.start()
    peer.fill(0, keys)
    peer.stop()
    peer.start(keys - 1)


def report(table: Table, kinds: list[type[Peer]], options: argparse.Namespace) -> list[str]:
    """The table, under what somebody needs to repeat it."""
    now = datetime.datetime.now(datetime.UTC)
    command = f'make bench BENCH_ARGS="{" ".join(sys.argv[1:])}"'
    return [
        f"# {now:%Y-%m-%d}, commit {commit()}",
        "",
        f"`{command}`, {now:%Y-%m-%d %H:%M} UTC",
        "",
        *machine(options.folder),
        *(f"* {kind.name}: {kind.version()}; {kind.durability}" for kind in kinds),
        f"* {len(bodies.VALUE)}-byte values; medians of {options.rounds} rounds of {options.seconds:g} s (range)",
        "",
        *table.lines,
        *(["", *(f"* {note}" for note in table.notes)] if table.notes else []),
    ]


def write(lines: list[str]) -> None:
    target = ROOT / "benchmarks" / "results" / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d-%H%M}.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text("\n".join(lines) + "\n")
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
