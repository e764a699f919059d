"""A million keys that expire in the same second, and what that does to the Gets beside them.

The same load of Gets, at half of the highest rate, is measured before the second has come and from it on, until the
sweep has removed every row. Both times the server holds the same rows; the keys that are read do not expire.
"""

import argparse
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import bodies
import grpc
import results_file
from load import Measured
from peers import ROOT, Dkv, Load, free_port, raise_open_files_limit

LOAD = Load(8, 16)
BATCH = 1_000
FILL_PER_SECOND_MIN = 25_000
"""The due second lies so far ahead that a machine of this speed has filled the server before it."""
P99_LIFT_MAX = 3.0
SWEEP_SECONDS_MAX = 120


class DkvWithMetrics(Dkv):
    """A server whose /metrics can be read."""

    def __init__(self, folder: Path) -> None:
        self.http_port = free_port()
        super().__init__(folder, ("--http-listen-addr", f"127.0.0.1:{self.http_port}"))

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def fill_due(self, count: int, due_s: int) -> None:
        """`count` keys whose time to live ends at `due_s`, seconds since the epoch."""

        def messages() -> Iterator[bytes]:
            for start in range(0, count, BATCH):
                entries = (
                    bodies.data(1, b"due-%08d" % index) + bodies.data(2, bodies.VALUE) + bodies.number(3, due_s)
                    for index in range(start, min(start + BATCH, count))
                )
                yield b"".join(bodies.data(1, entry) for entry in entries)

        with grpc.insecure_channel(self.address) as channel:
            multi_put: Any = channel.unary_unary(self.fill_path)
            window: list[Any] = []
            for message in messages():
                window.append(multi_put.future(message, timeout=60))
                if len(window) >= 8:
                    window.pop(0).result()
            for call in window:
                call.result()


def measure(dkv: DkvWithMetrics, keys: int, seconds: float) -> tuple[int, list[Measured], list[Measured], float]:
    """(Gets a second, before, from the due second on, seconds until the last row was swept)."""
    dkv.fill(0, 1_000)
    due_s = int(time.time()) + 4 + 4 * int(seconds) + keys // FILL_PER_SECOND_MIN
    dkv.fill_due(keys, due_s)

    def get(rate: int) -> Measured:
        return dkv.h2load(dkv.calls["get"], LOAD, seconds, rate=rate, want_p99=True)

    rate = int(get(0).per_second / 2)
    before = [get(rate), get(rate)]
    if time.time() >= due_s:
        raise RuntimeError("the machine is too slow: the keys were due before they could be read beside")
    time.sleep(max(0.0, due_s - time.time()))
    beside: list[Measured] = []
    while dkv.metric("dkv_expired_rows_swept_total") < keys:
        if time.time() - due_s > SWEEP_SECONDS_MAX:
            raise RuntimeError(f"the sweep had not ended {SWEEP_SECONDS_MAX} s after the keys were due")
        beside.append(get(rate))
    return rate, before, beside, time.time() - due_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-expiry", help="emptied")
    options = parser.parse_args()
    if DkvWithMetrics.missing():
        print(f"not installed: {', '.join(DkvWithMetrics.missing())}", file=sys.stderr)
        return 2
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    dkv = DkvWithMetrics(options.folder / "dkv")
    try:
        dkv.start()
        rate, before, beside, sweep_seconds = measure(dkv, options.keys, options.seconds)
    finally:
        dkv.stop()
        shutil.rmtree(dkv.folder, ignore_errors=True)
    alone, worst = median(each.p99_ms for each in before), max(each.p99_ms for each in beside)
    lines = [
        f"| {options.keys:,} keys due in one second, {rate:,} Gets/s with up to 128 in flight | |",
        "|---|---:|",
        f"| Get p99 before that second | {alone:.2f} ms |",
        *(
            f"| from {start * options.seconds:g} s behind it on | {each.p99_ms:.2f} ms, {each.p99_ms / alone:.2f} x |"
            for start, each in enumerate(beside)
        ),
        f"| all rows swept after | {sweep_seconds:.0f} s |",
    ]
    results_file.write("expiry", "Keys that expire together", options.folder, lines)
    return 0 if worst <= P99_LIFT_MAX * alone else 1


if __name__ == "__main__":
    sys.exit(main())
