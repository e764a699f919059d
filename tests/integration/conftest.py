"""Real server processes, and a gRPC client that shares no code with the server.

The client is grpcio; its messages come from the .proto files through grpc_tools.protoc. Nothing here imports `dkv`.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 30
DKV = "dkv.serverpb.DKV"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Server:
    """One `dkvsrv` process on a folder. `start` waits until it serves; `stop` and `kill` until it has gone."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder, self.flags = folder, flags
        self.log = folder.with_name(folder.name + ".log")
        self.address = f"127.0.0.1:{free_port()}"
        self.member_address = self.address
        """What the other nodes of its cluster call it."""
        self.prefix: tuple[str, ...] = ()
        """Of the command: where to run it."""
        self.program: tuple[str, ...] = ("-m", "dkv.cli.dkvsrv")
        """What Python runs."""
        self.source = ROOT / "src"
        """The release that it is of."""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        self.launch()
        return self.wait_for("serves gRPC on")

    def launch(self) -> "Server":
        """Starts the process, and waits for nothing."""
        command = [*self.prefix, sys.executable, *self.program, "--db-folder", str(self.folder)]
        command += ["--listen-addr", self.address, "--http-listen-addr", f"127.0.0.1:{free_port()}", *self.flags]
        environment = {**os.environ, "PYTHONPATH": str(self.source)}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=self.folder.parent
            )
        return self

    def wait_for(self, text: str) -> "Server":
        """Until it has said so."""
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while text not in self.output():
            assert self.process.poll() is None, f"the server ended at its start:\n{self.output()}"
            assert time.monotonic() < deadline, f"the server did not start:\n{self.output()}"
            time.sleep(0.01)
        return self

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def resident_bytes(self, name: str = "VmRSS") -> int:
        """Of the process now; the most it ever had as `VmHWM`."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) << 10

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL. Does nothing to a server that has gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Wire:
    """Message classes made from the .proto files, in a pool of their own."""

    def __init__(self, folder: Path) -> None:
        target = folder / "descriptors"
        sources = sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto"))
        bundled = resources.files("grpc_tools") / "_proto"
        arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{bundled}", "--include_imports"]
        assert protoc.main([*arguments, f"--descriptor_set_out={target}", *sources]) == 0
        self.pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file:
            self.pool.Add(file)

    def message(self, name: str) -> Any:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(name))


class Client:
    """Calls by name: `client("Put", key=b"k", value=b"v")`. `raw` gives the reply's bytes as they came."""

    def __init__(self, wire: Wire, address: str) -> None:
        self.wire = wire
        self.channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", 64 << 20)])

    def stream(self, rpc: str, *, on: str = DKV, timeout: float = 20, **fields: Any) -> Any:
        """The call; iterating it gives the messages as bytes."""
        method = self.wire.pool.FindServiceByName(on).FindMethodByName(rpc)
        request = self.wire.message(method.input_type.full_name)(**fields)
        return self.channel.unary_stream(f"/{on}/{rpc}")(request.SerializeToString(), timeout=timeout)

    def raw(self, rpc: str, **fields: Any) -> list[bytes]:
        return list(self.stream(rpc, **fields))

    def parse(self, rpc: str, reply: bytes, on: str = DKV) -> Any:
        method = self.wire.pool.FindServiceByName(on).FindMethodByName(rpc)
        return self.wire.message(method.output_type.full_name).FromString(reply)

    def all(self, rpc: str, *, on: str = DKV, **fields: Any) -> list[Any]:
        return [self.parse(rpc, reply, on) for reply in self.raw(rpc, on=on, **fields)]

    def __call__(self, rpc: str, **fields: Any) -> Any:
        (reply,) = self.all(rpc, **fields)
        return reply

    def refused(self, rpc: str, **fields: Any) -> tuple[grpc.StatusCode, str]:
        """Code and text of a call that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            self.raw(rpc, **fields)
        return caught.value.code(), caught.value.details()

    def close(self) -> None:
        self.channel.close()


@pytest.fixture(scope="session")
def soak_minutes() -> float:
    """How much longer than in CI a test may go on: set by `make soak`."""
    return float(os.environ.get("SOAK_MINUTES", "0"))


@pytest.fixture(scope="session")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Wire:
    return Wire(tmp_path_factory.mktemp("proto"))


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers; whatever still runs at the end of the test is killed."""
    made: list[Server] = []

    def make(*flags: str, folder: str = "db") -> Server:
        made.append(Server(tmp_path / folder, *flags))
        return made[-1].start()

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a module, which keep to keys of their own; it must end well on SIGTERM."""
    running = Server(tmp_path_factory.mktemp("server") / "db").start()
    yield running
    assert running.stop() == 0, running.output()


@pytest.fixture
def make_client(wire: Wire) -> Iterator[Callable[[Server], Client]]:
    made: list[Client] = []

    def make(server: Server) -> Client:
        made.append(Client(wire, server.address))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Callable[[Server], Client], server: Server) -> Client:
    return make_client(server)
