"""Where a turn's time goes: a server under cProfile, h2load in front of it, its own time summed by room.

    .venv/bin/python benchmarks/profile_turn.py

cProfile charges every Python call about a microsecond, so small functions look larger than they are: read the shares,
not the seconds. "waiting" is `EdgeServer.poll`, where the node sleeps when it has nothing to do.
"""

import cProfile
import pstats
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import peers
from bodies import framed
from load import LoadFailed

ROOT = Path(__file__).resolve().parents[1]
PROFILED = ("get", "put", "multi-get", "multi-put", "iterate")
SECONDS = 4
START_SECONDS_MAX = 20.0
ROOMS = {
    "services": "services (bytes to decision to reply)",
    "wire": "wire (hand-written codecs)",
    "vbucket": "vbucket (encode entry, apply)",
    "node": "node (sequencing)",
    "storage": "storage (batches, around the engine)",
    "jobs": "jobs (iterate slices)",
    "edge": "edge (joining Raft and log)",
}
NATIVE = {
    "poll": "waiting, and taking calls from the edge",
    "emit": "handing replies to the edge",
    "write": "engine: write batch",
    "get": "engine: multi-get",
    "ready": "Raft core",
    "propose": "Raft core",
    "append": "handing entries to the log",
}


def serve(profile_file: str, flags: list[str]) -> int:
    """The server, profiled until its stop signal."""
    sys.path.insert(0, str(ROOT / "src"))
    from dkv.cli.dkvsrv import main

    profile = cProfile.Profile()
    status = profile.runcall(main, flags)
    profile.dump_stats(profile_file)
    return status


def where(path: str, function: str) -> str:
    """The row of the table that a profiled function belongs to."""
    if "/dkv/" in path:
        room = path.split("/dkv/", 1)[1].split("/", 1)[0]
        return ROOMS.get(room, room)
    for name, row in NATIVE.items():
        if path == "~" and (f"'{name}'" in function or f".{name}" in function):
            return row
    return "built-in functions and the rest"


def shares(profile_file: Path) -> Counter[str]:
    """Own seconds by row."""
    seconds: Counter[str] = Counter()
    for (path, _, function), (_, _, own, _, _) in pstats.Stats(str(profile_file)).stats.items():  # type: ignore[attr-defined]
        seconds[where(path, function)] += own
    return seconds


def profile(call: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "profile")
        address, http = (f"127.0.0.1:{peers.free_port()}" for _ in range(2))
        flags = ["--db-folder", str(Path(folder, "db")), "--listen-addr", address, "--http-listen-addr", http]
        server = subprocess.Popen([sys.executable, __file__, "--serve", str(file), *flags], stderr=subprocess.PIPE)
        try:
            assert server.stderr is not None
            server.stderr.readline()  # the start line
            rate = under_load(address, call, Path(folder))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=START_SECONDS_MAX)
        seconds = shares(file)
        busy = sum(seconds.values()) - seconds["waiting, and taking calls from the edge"]
        print(f"\n{call}, 128 in flight: {rate:,.0f} calls/s while profiled; share of the node's busy time")
        for row, own in seconds.most_common():
            if own > busy / 100 and not row.startswith("waiting"):
                print(f"  {own / busy:6.1%}  {row}")


def under_load(address: str, call: str, folder: Path) -> float:
    """Fill the keys that are read, then call; returns calls per second."""
    for name, count in (("multi-put", 200), (call, 0)):
        body = folder / name
        body.write_bytes(framed_body(name))
        command = ["h2load", "-c", "8", "-m", "16", "-d", str(body), "-H", "content-type: application/grpc"]
        amount = ["-n", str(count)] if count else ["-D", str(SECONDS)]
        started = time.monotonic()
        url = f"http://{address}{peers.Dkv.calls[name].path}"
        done = subprocess.run(
            [*command, "-H", "te: trailers", *amount, url], capture_output=True, text=True, timeout=60, check=True
        )
        lasted = time.monotonic() - started
    finished = [line for line in done.stdout.splitlines() if line.startswith("requests:")]
    if not finished:
        raise LoadFailed(done.stdout[-300:])
    return int(finished[0].split("done")[0].split(",")[-1]) / lasted


def framed_body(name: str) -> bytes:
    return framed(peers.Dkv.calls[name].message)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        sys.exit(serve(sys.argv[2], sys.argv[3:]))
    for each in sys.argv[1:] or PROFILED:
        profile(each)
