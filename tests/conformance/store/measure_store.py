"""Figures of the RocksDB store for docs/design/0004: `PYTHONPATH=src python tests/conformance/store/measure_store.py`.

Not a test: nothing is asserted. Prints one figure a line.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rocksdict import Rdict, WriteBatch, WriteOptions

from dkv.ports.store import RowBatch
from dkv.storage.rocksdb import RocksDbStore
from dkv.storage.rocksdb_options import engine_setup

ROWS = 512_000
BATCH = 128
SPACE = b"\0\0\0\1"
VALUES = [os.urandom(50) + b"v" * 50 for _ in range(1000)]
CACHE_BYTES = 64 << 20


def key_of(number: int) -> bytes:
    return SPACE + b"key%09d" % number


def batch_of(first: int) -> RowBatch:
    return RowBatch([(key_of(number), VALUES[number % 1000]) for number in range(first, first + BATCH)])


def microseconds(work: Callable[[], object], times: int = 200) -> float:
    """The median of `times` calls."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(taken)


def show(name: str, figure: float, unit: str) -> None:
    print(f"{name:<62}{figure:>12,.1f} {unit}", flush=True)


def pairs_per_second(store: RocksDbStore, reverse: bool) -> float:
    scan, count = store.scan(SPACE, b"\0\0\0\2", reverse=reverse), 0
    begun = time.perf_counter()
    while rows := scan.take(1000, 256 << 10):
        count += len(rows)
    seconds = time.perf_counter() - begun
    scan.close()
    return count / seconds


def measure_writes(store: RocksDbStore) -> None:
    batches = [batch_of(first) for first in range(0, ROWS, BATCH)]
    queue = iter(batches)
    show("write of 128 puts of 100 B, median", microseconds(lambda: store.write(next(queue)), len(batches)), "us")
    store.write(RowBatch([(SPACE, b"row")]))
    show("sync of one small write", microseconds(lambda: (store.write(batch_of(0)), store.sync())), "us")


def measure_wal(folder: Path) -> None:
    for name, disabled in (("with WAL", False), ("without WAL", True)):
        options = WriteOptions()
        options.disable_wal = disabled  # type: ignore[method-assign, assignment]  # a property; the stub is wrong
        database = Rdict(str(folder / name), engine_setup(CACHE_BYTES, 64 << 20, {}).options)
        taken = []
        for first in range(0, ROWS, BATCH):
            changes = WriteBatch(raw_mode=True)
            for key, row in batch_of(first).operations:
                changes.put(key, row)
            begun = time.perf_counter()
            database.write(changes, options)
            taken.append((time.perf_counter() - begun) * 1e6)
        show(f"engine's write of 128 puts {name}, median", statistics.median(taken), "us")
        begun = time.perf_counter()
        database.flush()
        show(f"  flush of what is in memory {name}", (time.perf_counter() - begun) * 1e3, "ms")
        database.close()


def measure_reads(store: RocksDbStore, where: str) -> None:
    for reverse in (False, True):
        direction = "descending" if reverse else "ascending"
        pairs_per_second(store, reverse)
        show(f"scan {direction}, {where}", pairs_per_second(store, reverse), "pairs/s")
    keys = [[key_of(random.randrange(ROWS)) for _ in range(BATCH)] for _ in range(300)]
    queue = iter(keys)
    show(f"get_many of 128 random keys, {where}", microseconds(lambda: store.get_many(next(queue)), 300), "us")
    absent = [SPACE + b"no%09d" % number for number in range(BATCH)]
    show(f"get_many of 128 absent keys, {where}", microseconds(lambda: store.get_many(absent)), "us")


def measure_ranges(store: RocksDbStore) -> None:
    spans = iter([(SPACE + b"other%06d" % number, SPACE + b"other%06d" % (number + 1)) for number in range(1000)])
    show("write of one range delete", microseconds(lambda: store.write(RowBatch(ranges=[next(spans)])), 1000), "us")
    keys = [key_of(random.randrange(ROWS)) for _ in range(BATCH)]
    show("get_many of 128 keys, 1,000 range deletes in memory", microseconds(lambda: store.get_many(keys)), "us")


IDLE = """
import sys, time
from pathlib import Path
from dkv.storage.rocksdb import RocksDbStore
def rss(): return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024
before, begun = rss(), time.perf_counter()
store = RocksDbStore(Path(sys.argv[1]), cache_bytes=int(sys.argv[2]))
print(before, rss(), (time.perf_counter() - begun) * 1e3)
store.close()
"""


def measure_idle(folder: Path, what: str) -> None:
    arguments = [sys.executable, "-c", IDLE, str(folder), str(3 << 30)]
    answer = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
    imported, opened, milliseconds = map(float, answer)
    show(f"open, {what}, cache of 3 GiB", milliseconds, "ms")
    show("  memory of the process after imports", imported, "MiB")
    show("  memory of the process after open", opened, "MiB")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("MEASURE_FOLDER")) as name:
        folder = Path(name)
        measure_wal(folder)
        store = RocksDbStore(folder / "rows", cache_bytes=CACHE_BYTES)
        measure_writes(store)
        store.flush()
        measure_reads(store, "files and cache")
        measure_ranges(store)
        show("pressure", microseconds(store.pressure), "us")
        begun = time.perf_counter()
        store.checkpoint(folder / "copy")
        show("checkpoint", (time.perf_counter() - begun) * 1e3, "ms")
        store.close()
        measure_idle(folder / "empty", "empty folder")
        measure_idle(folder / "rows", f"{ROWS:,} rows")


if __name__ == "__main__":
    main()
