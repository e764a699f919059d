"""Tells the service manager how far the server is, if one listens: sd_notify, the protocol of systemd.

Ready means that clients are answered: the port opens after recovery, which takes as long as there is log to replay.
"""

import os
import socket
from collections.abc import MutableMapping

READY, STOPPING = "READY=1", "STOPPING=1"
MORE_TIME = "EXTEND_TIMEOUT_USEC=60000000"
"""The service manager waits a minute more from each such message on: for a start that restores, or waits for others."""


class Notifier:
    """Owns the address that the service manager left in the environment, and takes it out: children have no say."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._path = environ.pop("NOTIFY_SOCKET", "")

    def tell(self, state: str) -> None:
        """One datagram. A manager that does not listen is no reason not to serve."""
        if not self._path:
            return
        # A name that begins with @ is one of Linux's abstract names.
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(state.encode(), address)
        except OSError:
            self._path = ""
