"""Nodes in network namespaces of their own, on one bridge, whose links can be cut: both ways, one way, or one pair.

    hub namespace:   bridge -- v1 v2 v3 ...
    node namespace:  eth0, 10.77.0.N, and a loopback

Nothing of it is seen from the machine's own network, and nothing leaves it. Clients reach every node through a socket
in the file system, which no cut concerns: so it is seen what a node says that is cut off.

All of it ends with the namespaces, which are deleted whatever happens; those that a killed run has left behind are
deleted by the next one.
"""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.conftest import Server

NOBODY = "02:00:00:00:77:ff"
"""A hardware address that no interface has."""
PORT = 9081


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _name(pid: int, place: str) -> str:
    return f"dkv-{pid}-{place}"


def _delete(names: Sequence[str]) -> None:
    for name in names:
        with suppress(subprocess.CalledProcessError):
            ip("netns", "delete", name)


def _left_behind() -> list[str]:
    """Namespaces of runs whose process is gone."""
    done = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    names = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("dkv-")]
    return [name for name in names if not Path(f"/proc/{name.split('-')[1]}").exists()]


class NetworkServer(Server):
    """A node in a namespace. Its clients use a socket, the other nodes its address."""

    def __init__(self, folder: Path, network: "Network") -> None:
        super().__init__(folder)
        self.namespace, host = network.place()
        self.address = f"unix:{folder.with_name(folder.name + '.sock')}"
        self.member_address = f"{host}:{PORT}"
        self.prefix = ("ip", "netns", "exec", self.namespace)


class Network:
    """Owns the namespaces of one cluster."""

    def __init__(self) -> None:
        self._hub = _name(os.getpid(), "hub")
        self._made = [self._hub]
        self._lost: Counter[tuple[str, str]] = Counter()
        """By namespace and address: cuts that lose what it says to it."""
        ip("netns", "add", self._hub)
        ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._hub, "link", "set", "bridge", "up")

    def place(self) -> tuple[str, str]:
        """A namespace on the bridge, and its address."""
        number = len(self._made)
        namespace, host = _name(os.getpid(), str(number)), f"10.77.0.{number}"
        ip("netns", "add", namespace)
        self._made.append(namespace)
        port = f"v{number}"
        ip("-n", self._hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("-n", self._hub, "link", "set", port, "master", "bridge", "up")
        ip("-n", namespace, "address", "add", f"{host}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "address", f"02:00:00:00:77:{number:02x}", "up")
        ip("-n", namespace, "link", "set", "lo", "up")
        return namespace, host

    @contextmanager
    def unplugged(self, server: NetworkServer) -> Iterator[None]:
        """Its cable: nothing comes, nothing goes."""
        port = ("-n", self._hub, "link", "set", f"v{self._made.index(server.namespace)}")
        ip(*port, "down")
        try:
            yield
        finally:
            ip(*port, "up")

    @contextmanager
    def deaf(self, *pairs: tuple[NetworkServer, NetworkServer]) -> Iterator[None]:
        """What the first says to the second of each pair is lost; the other way it arrives. Cuts may overlap."""
        lost = [(sender.namespace, receiver.member_address.rpartition(":")[0]) for sender, receiver in pairs]
        try:
            for namespace, host in lost:
                self._lost[namespace, host] += 1
                words = ("lladdr", NOBODY, "dev", "eth0", "nud", "permanent")
                ip("-n", namespace, "neighbour", "replace", host, *words)
            yield
        finally:
            for namespace, host in lost:
                self._lost[namespace, host] -= 1
                if not self._lost[namespace, host]:
                    ip("-n", namespace, "neighbour", "delete", host, "dev", "eth0")

    def close(self) -> None:
        _delete(self._made)


def network_or_skip() -> Network:
    """Needs root and the tool `ip`; in CI both are there."""
    made, why = try_network()
    if made is None:
        assert "CI" not in os.environ, why
        pytest.skip(f"needs to make network namespaces: {why}")
    return made


def try_network() -> tuple[Network | None, str]:
    """None, and why, where that cannot be."""
    try:
        _delete(_left_behind())
        return Network(), ""
    except OSError as missing:
        return None, str(missing)
    except subprocess.CalledProcessError as refused:
        _delete([_name(os.getpid(), "hub")])
        return None, str(refused.stderr).strip()
