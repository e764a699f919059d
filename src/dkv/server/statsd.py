"""The UDP socket to a StatsD server. Never blocks: what the system does not take at once is lost, as UDP may lose."""

import socket
from typing import Any

from dkv.services.statsd import StatsdReport


class StatsdSender:
    """Owns the socket."""

    def __init__(self, address: str, report: StatsdReport) -> None:
        """`address`: host:port. The name is looked up now, once. Raises OSError when there is no such host."""
        host, _, port = address.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, kind, protocol, _, target = found[0]
        self._target: Any = target  # its shape is that of its family
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._report = report
        self.lost: int = 0
        """Datagrams that could not be sent."""

    def send(self) -> None:
        """What happened since the last time."""
        for datagram in self._report.datagrams():
            try:
                self._socket.sendto(datagram, self._target)
            except OSError:
                self.lost += 1

    def close(self) -> None:
        self._socket.close()
