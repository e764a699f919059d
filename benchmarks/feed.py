"""How fast one reader of the change feed gets from the first change to the latest, and what writers lose meanwhile.

The reader is grpcio and protobuf in a process of its own, which parses every change and checks that no number is left
out. Puts are measured without and with such a reader in turns: it begins at the first change each time, and when it has
caught up it follows what is being put.
"""

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import bodies
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc  # type: ignore[import-untyped]
from load import LoadFailed
from peers import ROOT, Dkv, Load, raise_open_files_limit
from run import commit, machine

LOAD = Load(8, 16)
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


def result(process: "subprocess.Popen[str]") -> Read:
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise LoadFailed("the reader failed")
    return Read(*json.loads(output))


def measure(
    dkv: Dkv, keys: int, rounds: int, seconds: float
) -> tuple[list[Read], list[float], list[float], list[Read]]:
    """(reads of all keys, Puts a second alone, the same beside a reader, what those readers got)."""
    dkv.fill(0, keys)
    reads = [result(reader(dkv.address, through=keys)) for _ in range(rounds)]
    alone: list[float] = []
    beside: list[float] = []
    followed: list[Read] = []
    put = dkv.calls["put"]
    for _ in range(rounds):
        alone.append(dkv.h2load(put, LOAD, seconds).per_second)
        process = reader(dkv.address, seconds=seconds + 3)
        time.sleep(1)  # its interpreter starts
        beside.append(dkv.h2load(put, LOAD, seconds).per_second)
        followed.append(result(process))
    return reads, alone, beside, followed


def report(lines: list[str], options: argparse.Namespace) -> None:
    print("\n".join(lines))
    now = datetime.datetime.now(datetime.UTC)
    head = ["# Change feed", "", f"* commit: {commit()}", f"* date: {now:%Y-%m-%d %H:%M} UTC"]
    head += [f"* command: `make bench-feed BENCH_ARGS='--rounds {options.rounds} --seconds {options.seconds:g}'`"]
    target = ROOT / "benchmarks" / "results" / f"{now:%Y-%m-%d-%H%M}-feed.md"
    target.write_text("\n".join([*head, *machine(options.folder), "", *lines, ""]))
    print(f"written to {target.relative_to(ROOT)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=500_000)
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
        reads, alone, beside, followed = measure(dkv, options.keys, options.rounds, options.seconds)
        rate, share = median(each.per_second for each in reads), median(beside) / median(alone)
        lines = [
            f"| one reader from the first of {options.keys:,} changes, 100-byte values | {rate:,.0f} changes/s |",
            "|---|---:|",
            f"| Put, 128 in flight on 8 connections | {median(alone):,.0f}/s |",
            f"| the same beside a reader from the first change | {median(beside):,.0f}/s, {share:.2f} x |",
            f"| changes that this reader got meanwhile | {median(each.per_second for each in followed):,.0f}/s |",
        ]
        report(lines, options)
    finally:
        dkv.stop()
        shutil.rmtree(options.folder, ignore_errors=True)
    return 0 if rate >= CHANGES_PER_SECOND_MIN and share >= PUT_SHARE_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
