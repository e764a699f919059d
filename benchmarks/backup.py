"""A backup of a million keys while Puts come at half of the highest rate, and what each does to the other.

The load is measured before, beside a first backup, which copies everything, and beside the next one, which finds most
files in the backup already. The restore is timed alone.
"""

import argparse
import random
import shutil
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import bodies
import grpc
import results_file
from load import Measured
from peers import ROOT, Dkv, Load, raise_open_files_limit

LOAD = Load(8, 16)
SECONDS_MAX = 5.0
P99_LIFT_MAX = 3.0
LEAD_S = 0.3
"""So long the load runs before the backup begins."""


class DkvOfNoise(Dkv):
    """Filled with values that no engine can compress."""

    def fill_message(self, indexes: range) -> bytes:
        noise = random.Random(indexes.start)
        pairs = (bodies.data(1, bodies.key(index)) + bodies.data(2, noise.randbytes(100)) for index in indexes)
        return b"".join(bodies.data(1, pair) for pair in pairs)


def timed(address: str, rpc: str, path: Path) -> float:
    """Seconds of one backup or restore."""
    with grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary(f"/dkv.serverpb.DKVBackupRestore/{rpc}")
        begun = time.perf_counter()
        call(bodies.data(1, str(path).encode()), timeout=300)
        return time.perf_counter() - begun


def folder_bytes(path: Path) -> int:
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


class Beside:
    """Backups that are taken while the load runs."""

    def __init__(self, dkv: Dkv, path: Path, seconds: float, rate: int) -> None:
        self._dkv, self._path, self._seconds, self._rate = dkv, path, seconds, rate

    def puts(self) -> Measured:
        return self._dkv.h2load(self._dkv.calls["put"], LOAD, self._seconds, rate=self._rate, want_p99=True)

    def backup(self) -> tuple[float, Measured]:
        """(seconds of the backup, the Puts beside it)."""
        took: list[float] = []

        def take() -> None:
            time.sleep(LEAD_S)
            took.append(timed(self._dkv.address, "Backup", self._path))

        worker = threading.Thread(target=take)
        worker.start()
        measured = self.puts()
        worker.join()
        return took[0], measured


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-backup", help="emptied")
    options = parser.parse_args()
    if Dkv.missing():
        print(f"not installed: {', '.join(Dkv.missing())}", file=sys.stderr)
        return 2
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    dkv, path = DkvOfNoise(options.folder / "dkv"), options.folder / "backup"
    try:
        dkv.start()
        dkv.fill(0, options.keys)
        rate = int(dkv.h2load(dkv.calls["put"], LOAD, options.seconds).per_second / 2)
        beside = Beside(dkv, path, options.seconds, rate)
        alone = median(beside.puts().p99_ms for _ in range(2))
        first, again = [], []
        for _ in range(options.rounds):
            shutil.rmtree(path, ignore_errors=True)
            first.append(beside.backup())
            again.append(beside.backup())
        size = folder_bytes(path)
        restore_seconds = timed(dkv.address, "Restore", path)
        slowest = max(seconds for seconds, _ in first + again)
        lift = max(puts.p99_ms for _, puts in first + again) / alone
        lines = [
            f"| {options.keys:,} keys, {size >> 20} MiB in the backup | seconds | Put p99 beside it, ms |",
            "|---|---:|---:|",
            f"| no backup, {rate:,} Puts/s with up to 128 in flight | | {alone:.2f} |",
            *(
                f"| {name} | {seconds:.2f} | {puts.p99_ms:.2f} |"
                for name, taken in (("first backup", first), ("next backup", again))
                for seconds, puts in taken
            ),
            f"| restore, alone | {restore_seconds:.2f} | |",
            f"| at worst | {slowest:.2f} | {lift:.2f} x |",
        ]
        results_file.write("backup", "A backup of a million keys beside Puts", options.folder, lines)
    finally:
        dkv.stop()
        shutil.rmtree(options.folder, ignore_errors=True)
    return 0 if slowest <= SECONDS_MAX and lift <= P99_LIFT_MAX else 1


if __name__ == "__main__":
    sys.exit(main())
