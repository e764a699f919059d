"""How fast one reader of the change feed gets from the first change to the latest, and what others lose meanwhile.

The reader is grpcio and protobuf in a process of its own, which parses every change and checks that no number is left
out. The history is of Puts, 128 in flight. More of them are measured without and with such a reader in turns: it begins
at the first change each time, and when it has caught up it follows what is being put. Gets are measured beside a
crowd that takes the whole history over and over: streams of h2load, which costs little itself, as a hundred such
readers would leave the server no core to run on.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import bodies
import grpc
import results_file
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc  # type: ignore[import-untyped]
from load import LoadFailed, Measured, h2load_in_background
from peers import ROOT, Dkv, Load, raise_open_files_limit

LOAD = Load(8, 16)
FILL_SECONDS = 2.0
GETS_PER_SECOND = 4_000
CROWD = 100
CROWD_P50_MS_MAX = 5.0
CHANGES_PER_SECOND_MIN = 150_000
PUT_SHARE_MIN = 0.9
STREAM_CHANGES = "/dkv.v1.Feed/StreamChanges"
HISTORY = ("--history-bytes-max", "4GiB")
"""Nothing that a reader still wants is forgotten."""


class Read(NamedTuple):
    """What a reader did."""

    changes: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.changes / self.seconds


def response_class() -> Any:
    """StreamChangesResponse, made from the .proto files."""
    sources = ROOT / "proto"
    bundled = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "set")
        arguments = ["protoc", f"-I{sources}", f"-I{bundled}", "--include_imports", f"--descriptor_set_out={target}"]
        if protoc.main([*arguments, str(sources / "dkv/v1/feed.proto")]) != 0:
            raise SystemExit("protoc refused feed.proto")
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("dkv.v1.StreamChangesResponse"))


def read(address: str, through: int, seconds: float) -> Read:
    """From the first change on: up to change `through`, or for so long if that is 0."""
    parse = response_class().FromString
    request = bodies.number(1, 1) + (bodies.number(5, through) if through else b"")
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        stream_changes: Any = channel.unary_stream(STREAM_CHANGES)
        stream = stream_changes(request)
        next_number, began = 1, time.monotonic()
        for raw in stream:
            if next_number == 1:
                print("reading", flush=True)
            message = parse(raw)
            for change in message.changes:
                if change.changeNumber != next_number:
                    raise LoadFailed(f"change {change.changeNumber} came where {next_number} was next")
                next_number += 1
            if not through and time.monotonic() - began >= seconds:
                break
        taken = time.monotonic() - began
        stream.cancel()
    return Read(next_number - 1, taken)


def reader(address: str, *, through: int = 0, seconds: float = 0.0) -> "subprocess.Popen[str]":
    """Reads in a process of its own."""
    command = [sys.executable, __file__, "--reader", address, "--through", str(through), "--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def await_first_message(process: "subprocess.Popen[str]") -> None:
    """Its interpreter has started, and it reads: that is what others lose by."""
    assert process.stdout is not None
    if process.stdout.readline() != "reading\n":
        raise LoadFailed("the reader failed")


def result(process: "subprocess.Popen[str]") -> Read:
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise LoadFailed("the reader failed")
    return Read(*json.loads(output.splitlines()[-1]))


def measure(
    dkv: Dkv, changes: int, rounds: int, seconds: float
) -> tuple[list[Read], list[float], list[float], list[Read]]:
    """(reads of the first changes, Puts a second alone, the same beside a reader, what those readers got)."""
    put = dkv.calls["put"]
    written = 0.0
    while written < changes:
        written += dkv.h2load(put, LOAD, FILL_SECONDS).per_second * FILL_SECONDS
    reads = [result(reader(dkv.address, through=changes)) for _ in range(rounds)]
    alone: list[float] = []
    beside: list[float] = []
    followed: list[Read] = []
    for _ in range(rounds):
        alone.append(dkv.h2load(put, LOAD, seconds).per_second)
        process = reader(dkv.address, seconds=seconds + 1)
        await_first_message(process)
        beside.append(dkv.h2load(put, LOAD, seconds).per_second)
        followed.append(result(process))
    return reads, alone, beside, followed


def gets(dkv: Dkv, seconds: float) -> Measured:
    return dkv.h2load(dkv.calls["get"], LOAD, seconds, rate=GETS_PER_SECOND, want_p99=True)


def gets_beside(dkv: Dkv, readers: int, through: int, seconds: float) -> Measured:
    """Gets while so many readers take the first changes over and over."""
    body = bodies.framed(bodies.number(1, 1) + bodies.number(5, through))
    crowd = threading.Thread(
        target=h2load_in_background,
        args=(dkv.address, STREAM_CHANGES, body),
        kwargs={"connections": readers, "streams": 1, "seconds": seconds + 3},
    )
    crowd.start()
    time.sleep(1)  # all of them are under way
    try:
        return gets(dkv, seconds)
    finally:
        crowd.join()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=500_000, help="of the history, at least")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one measurement of Puts")
    parser.add_argument("--folder", type=Path, default=ROOT / ".build" / "bench-feed", help="emptied")
    parser.add_argument("--reader", help=argparse.SUPPRESS)
    parser.add_argument("--through", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader:
        print(json.dumps(read(options.reader, options.through, options.seconds)))
        return 0
    if Dkv.missing():
        print(f"not installed: {', '.join(Dkv.missing())}", file=sys.stderr)
        return 2
    raise_open_files_limit()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    dkv = Dkv(options.folder / "dkv", HISTORY)
    try:
        dkv.start()
        reads, alone, beside, followed = measure(dkv, options.changes, options.rounds, options.seconds)
        quiet = gets(dkv, options.seconds)
        crowds = {count: gets_beside(dkv, count, options.changes, options.seconds) for count in (1, CROWD)}
        rate, share = median(each.per_second for each in reads), median(beside) / median(alone)
        lines = [
            f"| one reader from the first of {options.changes:,} changes, Puts of 100 bytes | {rate:,.0f} changes/s |",
            "|---|---:|",
            f"| Put, 128 in flight on 8 connections | {median(alone):,.0f}/s |",
            f"| the same beside a reader from the first change | {median(beside):,.0f}/s, {share:.2f} x |",
            f"| changes that this reader got meanwhile | {median(each.per_second for each in followed):,.0f}/s |",
            f"| Get p50 / p99 at {GETS_PER_SECOND:,}/s | {quiet.p50_ms:.1f} / {quiet.p99_ms:.1f} ms |",
            *(
                f"| the same beside {count} busy reader{'s' * (count > 1)} | {each.p50_ms:.1f} / {each.p99_ms:.1f} ms |"
                for count, each in crowds.items()
            ),
        ]
        results_file.write("feed", "Change feed", options.folder, lines)
    finally:
        dkv.stop()
        shutil.rmtree(options.folder, ignore_errors=True)
    reached = (rate >= CHANGES_PER_SECOND_MIN, share >= PUT_SHARE_MIN, crowds[CROWD].p50_ms <= CROWD_P50_MS_MAX)
    return 0 if all(reached) else 1


if __name__ == "__main__":
    sys.exit(main())
