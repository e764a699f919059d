"""The Python client against what a user would take instead, in one run: grpcio with message classes, and h2load.

One server, the workloads in turns, every other round backwards; figures are medians, the range stands beside them.
Server and client share the cores. Everybody has one connection and sends the same keys and values; puts are synced to
disk before they are answered, whoever sends them. Ours ask for more: puts carry a session, so that a retry applies
once, and gets are refused rather than answered from a state that may be old. What h2load reaches is the ceiling: it
sends one request, made beforehand, over and over, and does not look at the answers.
"""

import argparse
import asyncio
import datetime
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import bodies
import grpc
import grpc.aio
from load import LoadFailed
from peers import ROOT, Dkv, Load
from run import commit, machine, shown

sys.path.insert(0, str(ROOT / "src"))

import dkv
import dkv.aio
from dkv.wire import messages as pb
from dkv.wire import methods

TASKS = 100
KEYS = 10_000
MANY = 1_000
TIMEOUT_S = 10
GOALS = {
    ("get, one at a time", "grpcio"): 2.0,
    ("get, one at a time", "h2load"): 0.6,
    ("get, 100 tasks", "grpcio"): 5.0,
    ("put, 100 tasks", "grpcio"): 5.0,
}
"""How many times the other's figure ours is to be."""
GOALS_PER_SECOND = {
    "get, 100 tasks": 35_000,
    "put, 100 tasks": 25_000,
    "get_many of 1,000, keys": 250_000,
    "scan, pairs": 300_000,
}
Measure = Callable[[float], float]
"""Seconds to measure -> work done per second."""


class Row(NamedTuple):
    title: str
    client: str
    measure: Measure


def blocking(work: Callable[[], object], units: int = 1) -> Measure:
    """Calls, one after the other."""

    def measure(seconds: float) -> float:
        begun = time.perf_counter()
        count = 0
        while (lasted := time.perf_counter() - begun) < seconds:
            work()
            count += units
        return count / lasted

    return measure


def in_tasks(connect: Callable[[], Any], make: Callable[[Any], Callable[[int], Awaitable[object]]]) -> Measure:
    """Calls of 100 tasks on one loop and one client, each task one after the other."""

    async def run(seconds: float) -> float:
        async with connect() as client:
            work, count, stop = make(client), 0, time.perf_counter() + seconds

            async def task(number: int) -> None:
                nonlocal count
                while time.perf_counter() < stop:
                    await work(number)
                    count += 1

            await asyncio.gather(*[task(number) for number in range(TASKS)])
            return count / seconds

    return lambda seconds: asyncio.run(run(seconds))


def grpcio_call(channel: Any, path: str, request: Any, reply: Any) -> Any:
    return channel.unary_unary(
        path, request_serializer=request.SerializeToString, response_deserializer=reply.FromString
    )


def grpcio_get(channel: Any) -> Callable[[int], Any]:
    call = grpcio_call(channel, methods.GET_PATH, pb.GetRequest, pb.GetResponse)
    return lambda number: call(pb.GetRequest(key=bodies.key(number), readConsistency=1), timeout=TIMEOUT_S)


def grpcio_put(channel: Any) -> Callable[[int], Any]:
    call = grpcio_call(channel, methods.PUT_PATH, pb.PutRequest, pb.PutResponse)
    return lambda number: call(pb.PutRequest(key=bodies.key(number), value=bodies.VALUE), timeout=TIMEOUT_S)


def rows(server: Dkv, client: dkv.Client, channel: grpc.Channel) -> list[Row]:
    url = f"dkv://{server.address}"
    keys = [bodies.key(number) for number in range(MANY)]
    get, put = grpcio_get(channel), grpcio_put(channel)

    def ours() -> dkv.aio.AsyncClient:
        return dkv.aio.connect(url)

    def theirs() -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(server.address)

    def h2load(name: str, streams: int) -> Measure:
        return lambda seconds: server.h2load(server.calls[name], Load(1, streams), seconds).per_second

    return [
        Row("get, one at a time", "dkv", blocking(lambda: client.get(keys[0]))),
        Row("get, one at a time", "grpcio", blocking(lambda: get(0))),
        Row("get, one at a time", "h2load", h2load("get", 1)),
        Row("put, one at a time", "dkv", blocking(lambda: client.put(keys[0], bodies.VALUE))),
        Row("put, one at a time", "grpcio", blocking(lambda: put(0))),
        Row("put, one at a time", "h2load", h2load("put", 1)),
        Row("get, 100 tasks", "dkv", in_tasks(ours, lambda each: lambda number: each.get(keys[number]))),
        Row("get, 100 tasks", "grpcio", in_tasks(theirs, grpcio_get)),
        Row("get, 100 tasks", "h2load", h2load("get", TASKS)),
        Row("put, 100 tasks", "dkv", in_tasks(ours, lambda each: lambda number: each.put(keys[number], bodies.VALUE))),
        Row("put, 100 tasks", "grpcio", in_tasks(theirs, grpcio_put)),
        Row("put, 100 tasks", "h2load", h2load("put", TASKS)),
        Row("get_many of 1,000, keys", "dkv", blocking(lambda: client.get_many(keys), MANY)),
        Row("scan, pairs", "dkv", blocking(lambda: sum(1 for _ in client.scan("key-")), KEYS)),
    ]


def lines(figures: dict[tuple[str, str], list[float]]) -> list[str]:
    """The table: a workload a line, and whether its goals are reached."""
    found = ["| | dkv | grpcio | h2load | dkv : grpcio | dkv : h2load | goals |", "|---|---:|---:|---:|---:|---:|---|"]
    for title in dict.fromkeys(title for title, _ in figures):
        own = median(figures[title, "dkv"])
        cells = [shown(figures.get((title, name), []), "/s") for name in ("dkv", "grpcio", "h2load")]
        goals = []
        for name in ("grpcio", "h2load"):
            other = figures.get((title, name))
            cells.append(f"{own / median(other):.2f}" if other else "")
            if other and (title, name) in GOALS:
                goals.append(said(f"{GOALS[title, name]:g} x {name}", own >= GOALS[title, name] * median(other)))
        if title in GOALS_PER_SECOND:
            goals.insert(0, said(f"{GOALS_PER_SECOND[title]:,}/s", own >= GOALS_PER_SECOND[title]))
        found.append(f"| {title} | {' | '.join(cells)} | {', '.join(goals)} |")
    return found


def said(goal: str, is_reached: bool) -> str:
    return goal if is_reached else f"{goal} missed"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-client", help="emptied")
    parser.add_argument("--quick", action="store_true", help="one short round, nothing written")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 1.0
    shutil.rmtree(options.folder, ignore_errors=True)
    server = Dkv(options.folder / "dkv")
    figures: dict[tuple[str, str], list[float]] = {}
    notes: dict[str, None] = {}
    try:
        server.start()
        server.fill(0, KEYS)
        with dkv.connect(f"dkv://{server.address}") as client, grpc.insecure_channel(server.address) as channel:
            for number in range(options.rounds):
                for row in rows(server, client, channel)[:: -1 if number % 2 else 1]:
                    try:
                        figures.setdefault((row.title, row.client), []).append(row.measure(options.seconds))
                    except (LoadFailed, FileNotFoundError) as error:
                        notes[f"* {row.client} is left out: {error}"] = None
        table = [*lines({key: found for key, found in figures.items() if found}), "", *notes]
    finally:
        server.stop()
    print("\n".join(table))
    if not options.quick:
        now = datetime.datetime.now(datetime.UTC)
        head = [
            f"# Python client, {now:%Y-%m-%d}, commit {commit()}",
            "",
            f'`make bench-client BENCH_ARGS="{" ".join(sys.argv[1:])}"`, {now:%Y-%m-%d %H:%M} UTC',
            "",
            *machine(options.folder),
            f"* {len(bodies.VALUE)}-byte values; tasks share a connection; grpcio {grpc.__version__}, message classes",
            f"* medians of {options.rounds} rounds of {options.seconds:g} s (range)",
            "",
        ]
        target = ROOT / "benchmarks" / "results" / f"client-{now:%Y-%m-%d-%H%M}.md"
        target.write_text("\n".join([*head, *table]).rstrip() + "\n")
        print(f"written to {target.relative_to(ROOT)}")
    shutil.rmtree(options.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
