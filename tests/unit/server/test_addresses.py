"""What others are told of where the server is."""

import pytest

from dkv.server import addresses


@pytest.mark.parametrize("bound", ["127.0.0.1:8080", "[::1]:8080", "a.host:1", "unix:/run/dkv.sock", ""])
def test_reachable_address_is_told_as_it_is(bound: str) -> None:
    """Only a wildcard means nothing to others."""
    assert addresses.reachable(bound) == bound


@pytest.mark.parametrize("host", addresses.WILDCARDS)
def test_reachable_wildcard_becomes_the_machines_own_address(host: str) -> None:
    """The port stays."""
    told, _, port = addresses.reachable(f"{host}:8080").rpartition(":")
    assert (told, port) == (addresses.own_address(), "8080")
    assert told not in addresses.WILDCARDS


def test_own_address_without_a_network_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches nobody has a name all the same."""

    class Unreachable:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> "Unreachable":
            return self

        def __exit__(self, *_: object) -> None: ...
        def connect(self, _: object) -> None:
            raise OSError("network is unreachable")

    monkeypatch.setattr(addresses.socket, "socket", Unreachable)
    assert addresses.own_address() == addresses.socket.gethostname()
