"""The servers that are compared: how each is started, filled and asked."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import bodies
import grpc
from load import Measured, h2load, redis_benchmark

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS_MAX = 120
REPLY_GROWTH_BYTES_MAX = 4
"""What the varints of a reply (revision, change number, time) may grow by during a measurement."""
FILL_BATCH = {"dkv": 1_000, "etcd": 100, "redis": 1_000}


class Load(NamedTuple):
    connections: int
    streams: int


class Call(NamedTuple):
    path: str
    message: bytes


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Peer(ABC):
    """One server process and its folder."""

    name: str
    programs: tuple[str, ...]
    durability: str

    def __init__(self, folder: Path, extra: tuple[str, ...] = ()) -> None:
        self.folder, self.extra = folder, extra
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> list[str]:
        return [program for program in cls.programs if shutil.which(program) is None]

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self, index: int | None) -> bool:
        """Whether it serves; with an index, whether that key's value is there."""

    @abstractmethod
    def fill(self, first: int, count: int) -> None: ...

    @abstractmethod
    def measure(self, workload: str, load: Load, seconds: float) -> Measured | None:
        """None: this server has nothing to set against this workload."""

    @classmethod
    @abstractmethod
    def version(cls) -> str: ...

    def start(self, index: int | None = None) -> float:
        """Starts it on its folder and returns the seconds until it served (the value of key number `index`)."""
        begun = self.launch()
        while not self.answers(index):
            self.check_start(begun)
            time.sleep(0.005)
        return time.monotonic() - begun

    def launch(self) -> float:
        """Starts the process and returns when that was; it may not serve yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder.with_suffix(".log"), "ab") as log:
            begun = time.monotonic()
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return begun

    def check_start(self, begun: float) -> None:
        """Raises RuntimeError if it has ended since, or takes too long."""
        assert self.process is not None
        if self.process.poll() is not None or time.monotonic() - begun > START_SECONDS_MAX:
            tail = self.folder.with_suffix(".log").read_text(errors="replace")[-800:]
            raise RuntimeError(f"{self.name} did not start:\n{tail}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """As a crash of the process; what the system holds for it stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def memory_mb(self) -> float:
        assert self.process is not None
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no resident size of the process")

    def cpu_seconds(self) -> float:
        """Processor time that it has taken so far, all threads."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def port_open(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class GrpcPeer(Peer):
    """A server whose calls h2load can send as they are."""

    calls: ClassVar[dict[str, Call]]
    fill_path: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, call: Call, timeout: float = 30) -> list[bytes]:
        """The messages of the reply, as bytes."""
        with grpc.insecure_channel(self.address, [("grpc.max_receive_message_length", -1)]) as channel:
            method: Any = channel.unary_stream(call.path)  # Bytes in, bytes out: the stubs know only messages.
            return list(method(call.message, timeout=timeout))

    @abstractmethod
    def read_call(self, index: int) -> Call: ...

    @abstractmethod
    def fill_message(self, indexes: range) -> bytes: ...

    def answers(self, index: int | None) -> bool:
        if not self.port_open():
            return False
        try:
            reply = b"".join(self.ask(self.read_call(index or 0), 5))
        except grpc.RpcError:
            return False
        return index is None or bodies.VALUE in reply

    def fill(self, first: int, count: int) -> None:
        batch = FILL_BATCH[self.name]
        with grpc.insecure_channel(self.address) as channel:
            put: Any = channel.unary_unary(self.fill_path)
            window: list[Any] = []
            for start in range(first, first + count, batch):
                window.append(
                    put.future(self.fill_message(range(start, min(start + batch, first + count))), timeout=60)
                )
                if len(window) >= 16:
                    window.pop(0).result()
            for call in window:
                call.result()

    def measure(self, workload: str, load: Load, seconds: float) -> Measured | None:
        call = self.calls.get(workload)
        if call is None:
            return None
        if workload == "iterate":
            pairs = self.pairs(self.ask(call))
            return Measured(self.h2load(call, Load(1, 1), max(seconds, 2)).per_second * pairs, 0.0)
        return self.h2load(call, load, seconds)

    def h2load(self, call: Call, load: Load, seconds: float, *, rate: int = 0, want_p99: bool = False) -> Measured:
        before = self.reply_bytes(call)
        return h2load(
            self.address,
            call.path,
            bodies.framed(call.message),
            (min(before), max(before) + REPLY_GROWTH_BYTES_MAX),
            connections=load.connections,
            streams=load.streams,
            seconds=seconds,
            calls_per_second=rate,
            want_p99=want_p99,
        )

    def reply_bytes(self, call: Call) -> list[int]:
        return [sum(len(reply) + 5 for reply in self.ask(call)) for _ in range(2)]

    def pairs(self, replies: list[bytes]) -> int:
        return sum(reply.count(bodies.VALUE) for reply in replies)


class Dkv(GrpcPeer):
    name = "dkv"
    programs = ("h2load",)
    durability = "synced before every reply"
    fill_path = "/dkv.serverpb.DKV/MultiPut"
    calls: ClassVar[dict[str, Call]] = {
        "empty": Call("/grpc.health.v1.Health/Check", b""),
        "get": Call("/dkv.serverpb.DKV/Get", bodies.data(1, bodies.key(0))),
        "put": Call("/dkv.serverpb.DKV/Put", bodies.pair(0)),
        "multi-get": Call("/dkv.serverpb.DKV/MultiGet", bodies.dkv_multi_get(range(100))),
        "multi-put": Call("/dkv.serverpb.DKV/MultiPut", bodies.dkv_multi_put(range(100))),
        "iterate": Call("/dkv.serverpb.DKV/Iterate", bodies.dkv_iterate(10_000)),
    }

    def command(self) -> list[str]:
        http = f"127.0.0.1:{free_port()}"
        flags = ["--db-folder", str(self.folder), "--listen-addr", self.address, "--http-listen-addr", http]
        return [str(ROOT / "bin" / "dkvsrv"), *flags, *self.extra]

    def read_call(self, index: int) -> Call:
        return Call("/dkv.serverpb.DKV/Get", bodies.data(1, bodies.key(index)))

    def fill_message(self, indexes: range) -> bytes:
        return bodies.dkv_multi_put(indexes)

    @classmethod
    def version(cls) -> str:
        return f"dkv, Python {sys.version.split()[0]}"


class Etcd(GrpcPeer):
    name = "etcd"
    programs = ("h2load", "etcd")
    durability = "synced before every reply; reads serializable"
    fill_path = "/etcdserverpb.KV/Txn"
    calls: ClassVar[dict[str, Call]] = {
        "empty": Call("/grpc.health.v1.Health/Check", b""),
        "get": Call("/etcdserverpb.KV/Range", bodies.etcd_get(0)),
        "put": Call("/etcdserverpb.KV/Put", bodies.pair(0)),
        "multi-get": Call("/etcdserverpb.KV/Txn", bodies.etcd_txn_get(range(100))),
        "multi-put": Call("/etcdserverpb.KV/Txn", bodies.etcd_txn_put(range(100))),
        "iterate": Call("/etcdserverpb.KV/Range", bodies.etcd_range(10_000)),
    }

    def command(self) -> list[str]:
        client, peer = f"http://{self.address}", f"http://127.0.0.1:{free_port()}"
        return [
            *("etcd", "--data-dir", str(self.folder), "--log-level", "error", "--quota-backend-bytes", str(8 << 30)),
            *("--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
        ]

    def read_call(self, index: int) -> Call:
        return Call("/etcdserverpb.KV/Range", bodies.etcd_get(index))

    def fill_message(self, indexes: range) -> bytes:
        return bodies.etcd_txn_put(indexes)

    @classmethod
    def version(cls) -> str:
        return first_line("etcd", "--version")


class Redis(Peer):
    name = "redis"
    programs = ("redis-server", "redis-benchmark")
    durability = "appendfsync always"

    def command(self) -> list[str]:
        flags = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        return ["redis-server", *flags, "--appendonly", "yes", "--appendfsync", "always"]

    def ask(self, *words: bytes) -> bytes:
        """The reply to one command, up to 64 KiB."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(encoded(words))
            return connection.recv(65_536)

    def answers(self, index: int | None) -> bool:
        if not self.port_open():
            return False
        reply = self.ask(b"GET", bodies.key(index or 0))
        return reply.startswith(b"$") and (index is None or bodies.VALUE in reply)

    def fill(self, first: int, count: int) -> None:
        batch = FILL_BATCH[self.name]
        for start in range(first, first + count, batch):
            indexes = range(start, min(start + batch, first + count))
            reply = self.ask(b"MSET", *(part for i in indexes for part in (bodies.key(i), bodies.VALUE)))
            if not reply.startswith(b"+OK"):
                raise RuntimeError(f"redis refused a batch: {reply[:200]!r}")

    def measure(self, workload: str, load: Load, seconds: float) -> Measured | None:
        keys = [bodies.key(i).decode() for i in range(100)]
        words = {
            "empty": ["PING"],
            "get": ["GET", keys[0]],
            "put": ["SET", keys[0], bodies.VALUE.decode()],
            "multi-get": ["MGET", *keys],
            "multi-put": ["MSET", *(part for k in keys for part in (k, bodies.VALUE.decode()))],
        }.get(workload)
        if words is None:
            return None
        return redis_benchmark(self.port, words, connections=load.connections * load.streams, seconds=seconds)

    @classmethod
    def version(cls) -> str:
        return " ".join(first_line("redis-server", "--version").split()[:3])


def encoded(words: tuple[bytes, ...]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def first_line(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def raise_open_files_limit() -> None:
    """A thousand connections need more files than most shells allow at first; the servers inherit it."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.environ.pop("PYTHONPATH", None)
