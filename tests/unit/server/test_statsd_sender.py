"""Metrics over UDP, to a real socket."""

import socket
from collections.abc import Iterator

import pytest

from dkv.server.statsd import StatsdSender
from dkv.services.metrics import NodeCollector
from dkv.services.statsd import StatsdReport


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(20)
        yield made


def report() -> StatsdReport:
    sources = NodeCollector()
    sources.node = lambda: {"disk_free": 7}
    return StatsdReport(sources, ["a:b"])


def test_report_arrives_as_a_datagram(listener: socket.socket) -> None:
    """What a StatsD server reads."""
    sender = StatsdSender(f"127.0.0.1:{listener.getsockname()[1]}", report())
    sender.send()
    assert listener.recv(65536) == b"dkv.disk.free:7|g|#a:b"
    sender.close()


def test_nobody_listening_is_not_minded() -> None:
    """UDP does not tell, and if it did, nobody would wait for it."""
    sender = StatsdSender("127.0.0.1:1", report())
    sender.send()
    sender.send()
    sender.close()
    sender.send()
    assert sender.lost >= 1


def test_name_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start fails with the reason."""

    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(OSError, match="not known"):
        StatsdSender("no.such.host.invalid:1", report())
