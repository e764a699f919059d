"""How the server grows: Get and Put by number of keys and by size of values, and a plot.

A hundred tasks of the async client get random keys of those that are there, then put new values to random ones. Rates
are what one client process and the server reach together on one machine; the server's processor time for a call is its
own. With more keys a call may take as much longer as the logarithm of their number has grown, not more.
"""

import argparse
import asyncio
import datetime
import os
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from math import log
from pathlib import Path
from statistics import median
from typing import NamedTuple

from peers import ROOT, Dkv, raise_open_files_limit
from plot import Line, chart
from run import commit, machine

import dkv.aio

TASKS = 100
BATCH_BYTES = 1 << 20
BATCH_KEYS = 1_000
KEYS_BY_COUNT = (10_000, 1_000_000, 10_000_000)
VALUE_BYTES = (10, 1_000, 100_000, 1_000_000)
SMALL = 100
"""Bytes of a value where the number of keys is what grows."""
DATA_BYTES = 1 << 30
"""Where values grow, there are as many keys as make this, and no more than a million."""
SECONDS_PER_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Figures(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float
    server_us: float
    """Processor time of the server for a call, all threads."""


class Cell(NamedTuple):
    keys: int
    value_bytes: int
    get: Figures
    put: Figures


def key(number: int) -> bytes:
    return b"key-%012d" % number


class Values:
    """Values that do not compress, and differ from call to call."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pool = random.Random(size).randbytes(size + 4_096)

    def any(self) -> bytes:
        start = random.randrange(4_096)
        return self._pool[start : start + self.size]


class Measured(Dkv):
    """A server process whose processor time can be read."""

    def cpu_seconds(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * SECONDS_PER_TICK


async def fill(client: dkv.aio.AsyncClient, keys: int, values: Values) -> None:
    count = max(1, min(BATCH_KEYS, BATCH_BYTES // max(1, values.size)))
    starts = iter(range(0, keys, count))

    async def worker() -> None:
        for start in starts:
            await client.put_many([(key(number), values.any()) for number in range(start, min(start + count, keys))])

    await asyncio.gather(*(worker() for _ in range(4)))


async def load(server: Measured, seconds: float, call: Callable[[], Awaitable[object]]) -> Figures:
    """`TASKS` tasks call until the time is over."""
    took: list[float] = []
    began, cpu = time.perf_counter(), server.cpu_seconds()
    end = began + seconds

    async def worker() -> None:
        while (start := time.perf_counter()) < end:
            await call()
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(worker() for _ in range(TASKS)))
    lasted, cpu = time.perf_counter() - began, server.cpu_seconds() - cpu
    took.sort()
    p99 = took[len(took) * 99 // 100]
    return Figures(len(took) / lasted, median(took) * 1_000, p99 * 1_000, cpu / len(took) * 1e6)


async def measure(server: Measured, keys: int, value_bytes: int, seconds: float) -> Cell:
    values = Values(value_bytes)
    async with dkv.aio.connect(f"dkv://{server.address}?timeout=60s") as client:
        await fill(client, keys, values)
        missing = 0

        async def get() -> None:
            nonlocal missing
            missing += await client.get(key(random.randrange(keys))) is None

        async def put() -> None:
            await client.put(key(random.randrange(keys)), values.any())

        await load(server, 1, get)
        gets = await load(server, seconds, get)
        if missing:
            raise RuntimeError(f"{missing} keys were not found")
        await load(server, 1, put)
        return Cell(keys, value_bytes, gets, await load(server, seconds, put))


def cells(folder: Path, seconds: float, scale: int) -> list[Cell]:
    wanted = [(max(1, keys // scale), SMALL) for keys in KEYS_BY_COUNT]
    wanted += [(max(100, min(1_000_000, DATA_BYTES // size) // scale), size) for size in VALUE_BYTES]
    found = []
    for keys, value_bytes in wanted:
        shutil.rmtree(folder, ignore_errors=True)
        server = Measured(folder / "dkv")
        try:
            server.start()
            found.append(asyncio.run(measure(server, keys, value_bytes, seconds)))
            print(row(found[-1]), flush=True)
        finally:
            server.stop()
    shutil.rmtree(folder, ignore_errors=True)
    return found


HEAD = (
    "| keys | bytes of a value | Get | p50 | p99 | server time of a Get | Put | p50 | p99 | server time of a Put |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(cell: Cell) -> str:
    def columns(figures: Figures) -> str:
        rate, p50, p99, server_us = figures
        return f"{rate:,.0f}/s | {p50:.2f} ms | {p99:.2f} ms | {server_us:.1f} us"

    return f"| {cell.keys:,} | {cell.value_bytes:,} | {columns(cell.get)} | {columns(cell.put)} |"


def growth(found: list[Cell]) -> str:
    """How much longer a call takes the server with the most keys, against the logarithm of their numbers."""
    least, most = found[0], found[len(KEYS_BY_COUNT) - 1]
    allowed = log(most.keys) / log(least.keys)
    get, put = most.get.server_us / least.get.server_us, most.put.server_us / least.put.server_us
    return (
        f"From {least.keys:,} to {most.keys:,} keys a Get takes the server {get:.2f} times as long, a Put {put:.2f} "
        f"times; the logarithm grows {allowed:.2f} times."
    )


def plots(found: list[Cell]) -> dict[str, str]:
    by_count, by_size = found[: len(KEYS_BY_COUNT)], found[len(KEYS_BY_COUNT) :]
    least = by_count[0]
    bound = [(cell.keys, least.get.per_second * log(least.keys) / log(cell.keys)) for cell in by_count]
    return {
        "keys": chart(
            f"{SMALL}-byte values: calls a second by number of keys",
            "keys",
            "calls/s",
            [
                Line("Get", [(cell.keys, cell.get.per_second) for cell in by_count]),
                Line("Put, synced", [(cell.keys, cell.put.per_second) for cell in by_count]),
                Line("Get, were it as log n", bound, dashed=True),
            ],
        ),
        "values": chart(
            "Calls a second by bytes of a value",
            "bytes of a value",
            "calls/s",
            [
                Line("Get", [(cell.value_bytes, cell.get.per_second) for cell in by_size]),
                Line("Put, synced", [(cell.value_bytes, cell.put.per_second) for cell in by_size]),
            ],
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--scale", type=int, default=1, help="divides all numbers of keys; above 1 nothing is written")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-growth", help="emptied")
    options = parser.parse_args()
    raise_open_files_limit()
    options.folder.mkdir(parents=True, exist_ok=True)
    about = machine(options.folder)
    print(HEAD)
    found = cells(options.folder, options.seconds, options.scale)
    print(growth(found))
    if options.scale > 1:
        return 0
    now = datetime.datetime.now(datetime.UTC)
    target = ROOT / "benchmarks" / "results" / f"{now:%Y-%m-%d-%H%M}-growth.md"
    pictures = {name: target.with_name(f"{target.stem}-{name}.svg") for name in ("keys", "values")}
    for name, picture in plots(found).items():
        pictures[name].write_text(picture)
    lines = [
        f"# Growth, {now:%Y-%m-%d}, commit {commit()}",
        "",
        f"`make bench-growth`, {now:%Y-%m-%d %H:%M} UTC",
        "",
        *about,
        f"* {TASKS} tasks of the async client, one process, random keys; every Put synced before its reply",
        "",
        HEAD,
        *map(row, found),
        "",
        growth(found),
        "",
        *(f"![calls a second by {name}]({picture.name})" for name, picture in pictures.items()),
    ]
    target.write_text("\n".join(lines) + "\n")
    print(f"written to {target.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
