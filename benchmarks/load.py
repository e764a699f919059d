"""The load generators, as functions that return what they measured. Neither is ours.

Both send one and the same request over and over, so every server is asked about one key: what is compared is the cost
of a call, not of a cache miss.
"""

import csv
import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple


class Measured(NamedTuple):
    per_second: float
    p99_ms: float
    """0 where it was not asked for, as is the median."""
    p50_ms: float = 0.0


class LoadFailed(Exception):
    """The generator ran, and what it reports cannot be trusted."""


def h2load(
    address: str,
    path: str,
    body: bytes,
    reply_bytes: tuple[int, int],
    *,
    connections: int,
    streams: int,
    seconds: float,
    calls_per_second: int = 0,
    want_p99: bool = False,
) -> Measured:
    """Calls a gRPC method from `connections` connections with `streams` calls in flight on each.

    A failed gRPC call is an HTTP success, so it does not count as failed there. It carries no message, though: the
    bytes received must be what that many good replies weigh: `reply_bytes` is the least and the most that one of them
    has, with its frame (replies carry numbers that grow).
    """
    with tempfile.TemporaryDirectory() as folder:
        body_file, log_file = Path(folder, "body"), Path(folder, "log")
        body_file.write_bytes(body)
        command = ["h2load", "-c", str(connections), "-m", str(streams), "-d", str(body_file)]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        url = f"http://{address}{path}"
        subprocess.run([*command, "-n", str(connections * streams * 8), url], capture_output=True, timeout=120)
        if calls_per_second:
            command += [f"--rps={max(1, calls_per_second // connections)}"]
        if want_p99:
            command += [f"--log-file={log_file}"]
        done = subprocess.run(
            [*command, "-D", f"{seconds:g}", url], capture_output=True, text=True, timeout=seconds + 60, check=True
        )
        text = done.stdout
        rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", text)
        counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
        received = re.search(r"\((\d+)\) data", text)
        if not (rate and counts and received):
            raise LoadFailed(f"no figures from h2load: {text[-400:]}")
        weight = int(received[1]) / max(1, int(counts[2]))
        if (
            int(counts[3])
            or int(counts[4])
            or not int(counts[2])
            or not 0.98 * reply_bytes[0] <= weight <= 1.02 * reply_bytes[1]
        ):
            raise LoadFailed(f"{counts[0]}; {weight:.0f} bytes a reply, good ones have {reply_bytes}")
        p50_ms = p99_ms = 0.0
        if want_p99:
            micros = sorted(int(line.rsplit("\t", 1)[1]) for line in log_file.read_text().splitlines())
            p50_ms, p99_ms = median(micros) / 1000, micros[len(micros) * 99 // 100] / 1000
        return Measured(float(rate[1]), p99_ms, p50_ms)


def h2load_in_background(
    address: str, path: str, body: bytes, *, connections: int, streams: int, seconds: float
) -> None:
    """Load whose own figures nobody wants; returns when it is over. For a thread beside a measurement."""
    with loading(address, path, body, connections=connections, streams=streams, seconds=seconds) as generator:
        if generator.wait(timeout=seconds + 60):
            raise LoadFailed(f"h2load ended with {generator.returncode}")


@contextmanager
def loading(
    address: str, path: str, body: bytes, *, connections: int, streams: int, seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Load for `seconds` at most, and no longer than the block."""
    with tempfile.TemporaryDirectory() as folder:
        body_file = Path(folder, "body")
        body_file.write_bytes(body)
        command = ["h2load", "-c", str(connections), "-m", str(streams), "-d", str(body_file), "-D", f"{seconds:g}"]
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", f"http://{address}{path}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as generator:
            try:
                yield generator
            finally:
                generator.kill()


def redis_benchmark(port: int, arguments: list[str], *, connections: int, seconds: float) -> Measured:
    """Runs one command of redis-benchmark for about `seconds`."""

    def run(requests: int) -> float:
        command = [
            "redis-benchmark",
            "-p",
            str(port),
            "-c",
            str(connections),
            "-n",
            str(requests),
            "-d",
            "100",
            "--csv",
        ]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300, check=True)
        rows = [row for row in csv.reader(io.StringIO(done.stdout)) if len(row) > 1 and row[0] != "test"]
        if not rows:
            raise LoadFailed(f"no figures from redis-benchmark: {done.stdout[-400:]}{done.stderr[-400:]}")
        return float(rows[-1][1])

    first = run(max(connections * 4, 200))
    return Measured(run(max(connections * 8, int(first * seconds))), 0.0)
