"""How the server grows: Get and Put by number of keys and by size of values, a table and plots.

Each row is a server of its own. It is filled in random order, left alone until its engine has nothing to do any more,
and read once from end to end, so that no cache is cold; then a hundred tasks of the async client get random keys, and
after that put new values to random ones. Rates are what one client process and the server reach together on one
machine; the server's processor time for a call is its own, and what is compared: with more keys a call may take as much
longer as the logarithm of their number has grown, not more.

A row that was measured is kept, so that a run may be stopped, or taken in pieces (`--rows`): the next run of the same
commit goes on behind it, and the one that measures the last row writes the results.
"""

import argparse
import asyncio
import json
import random
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from growth_report import CELLS, HEAD, Cell, Figures, is_no_worse, row, write
from peers import ROOT, Dkv, raise_open_files_limit
from run import commit

import dkv.aio

TASKS = 100
WORKERS = 4
BATCH_BYTES = 1 << 20
BATCH_KEYS = 1_000
STRIDE = 7_368_787
"""A prime that divides no number of keys: number times stride, modulo their count, is each key once, in no order."""
LOOK_S = 0.5
BUSY_SHARE = 0.05
"""Of a core: a server that took less from one look to the next has settled."""
SETTLE_S_MAX = 90


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


async def in_batches(keys: int, value_bytes: int, work: Callable[[range], Awaitable[object]]) -> None:
    """All keys, as many at once as make a call of a good size, by a few tasks."""
    count = max(1, min(BATCH_KEYS, BATCH_BYTES // value_bytes))
    starts = iter(range(0, keys, count))

    async def worker() -> None:
        for start in starts:
            await work(range(start, min(start + count, keys)))

    await asyncio.gather(*(worker() for _ in range(WORKERS)))


async def fill(server: Dkv, client: dkv.aio.AsyncClient, keys: int, values: Values) -> tuple[float, float]:
    """(keys a second, server time of a key in us, with all the engine makes of it afterwards)."""

    async def put(numbers: range) -> None:
        await client.put_many([(key(number * STRIDE % keys), values.any()) for number in numbers])

    began, cpu = time.perf_counter(), server.cpu_seconds()
    await in_batches(keys, values.size, put)
    rate = keys / (time.perf_counter() - began)
    await settle(server)
    return rate, (server.cpu_seconds() - cpu) / keys * 1e6


async def read_all(client: dkv.aio.AsyncClient, keys: int, value_bytes: int) -> None:
    """Brings into the engine's cache what there is room for; every key must be there."""
    found = 0

    async def get(numbers: range) -> None:
        nonlocal found
        pairs = await client.get_many([key(number) for number in numbers])
        found += len(pairs)

    await in_batches(keys, value_bytes, get)
    if found < keys:
        raise RuntimeError(f"{keys - found} keys were not found")


async def settle(server: Dkv) -> None:
    """Until the engine has written and sorted what it has taken."""
    deadline = time.monotonic() + SETTLE_S_MAX
    before, is_busy = server.cpu_seconds(), True
    while is_busy:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the server was still busy {SETTLE_S_MAX} s after it had been filled")
        await asyncio.sleep(LOOK_S)
        now = server.cpu_seconds()
        before, is_busy = now, now - before > BUSY_SHARE * LOOK_S


async def load(server: Dkv, seconds: float, call: Callable[[], Awaitable[object]]) -> Figures:
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


async def measure(server: Dkv, keys: int, value_bytes: int, seconds: float) -> Cell:
    values = Values(value_bytes)
    async with dkv.aio.connect(f"dkv://{server.address}?timeout=60s") as client:
        filled_per_second, fill_us = await fill(server, client, keys, values)
        await read_all(client, keys, value_bytes)

        async def get() -> None:
            await client.get(key(random.randrange(keys)))

        async def put() -> None:
            await client.put(key(random.randrange(keys)), values.any())

        await load(server, 1, get)
        gets = await load(server, seconds, get)
        await load(server, 1, put)
        return Cell(keys, value_bytes, filled_per_second, fill_us, gets, await load(server, seconds, put))


def measured(folder: Path, keys: int, value_bytes: int, seconds: float) -> Cell:
    """One row: a server from its empty folder to its end."""
    server = Dkv(folder / "dkv")
    try:
        server.start()
        return asyncio.run(measure(server, keys, value_bytes, seconds))
    finally:
        server.stop()
        shutil.rmtree(folder / "dkv", ignore_errors=True)


class Kept:
    """The rows of this commit that were measured before, in a file."""

    def __init__(self, path: Path) -> None:
        self._path, self._commit = path, commit()
        found = json.loads(path.read_text()) if path.exists() else {}
        self.cells = [Cell.of(each) for each in found.get(self._commit, [])]

    def add(self, cell: Cell) -> None:
        self.cells.append(cell)
        self._path.write_text(json.dumps({self._commit: self.cells}))

    def forget(self) -> None:
        self._path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--rows", type=int, default=len(CELLS), help="measure so many at most, and keep them")
    parser.add_argument("--scale", type=int, default=1, help="divides all numbers of keys; above 1 nothing is written")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-growth", help="for data and kept rows")
    options = parser.parse_args()
    raise_open_files_limit()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(HEAD)
    if options.scale > 1:
        for keys, value_bytes in CELLS:
            scaled = max(TASKS, keys // options.scale)
            print(row(measured(options.folder, scaled, value_bytes, options.seconds)), flush=True)
        return 0
    kept = Kept(options.folder / "rows.json")
    for each in kept.cells:
        print(row(each))
    for keys, value_bytes in CELLS[len(kept.cells) :][: options.rows]:
        kept.add(measured(options.folder, keys, value_bytes, options.seconds))
        print(row(kept.cells[-1]), flush=True)
    if len(kept.cells) < len(CELLS):
        print(f"{len(CELLS) - len(kept.cells)} rows are left for the next run")
        return 0
    about = [
        f"* {TASKS} tasks of the async client, one process, random keys; every Put synced before its reply",
        f"* {options.seconds:g} s a measurement; server time is that of all its threads, for a call or a key filled",
    ]
    write(kept.cells, options.folder, about)
    kept.forget()
    return 0 if is_no_worse(kept.cells) else 1


if __name__ == "__main__":
    sys.exit(main())
