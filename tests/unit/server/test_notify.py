"""What a service manager hears."""

import socket
from pathlib import Path

import pytest

from dkv.server.notify import READY, STOPPING, Notifier


@pytest.mark.parametrize("name", ["{}/notify", "@dkv-test-{}"])
def test_manager_hears_every_state(tmp_path: Path, name: str) -> None:
    """On a socket of the file system or an abstract one; the variable is gone for children."""
    path = name.format(tmp_path)
    environ = {"NOTIFY_SOCKET": path}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path[1:] if path.startswith("@") else path)
        notifier = Notifier(environ)
        notifier.tell(READY)
        notifier.tell(STOPPING)
        assert (manager.recv(100), manager.recv(100)) == (b"READY=1", b"STOPPING=1")
    assert environ == {}


def test_manager_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    """Neither no variable nor a socket that nobody reads."""
    Notifier({}).tell(READY)
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.tell(READY)
    notifier.tell(STOPPING)
