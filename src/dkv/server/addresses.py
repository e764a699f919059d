"""The address that others are told."""

import socket

WILDCARDS = ("0.0.0.0", "[::]")
_ELSEWHERE = ("192.0.2.1", 9)
"""An address of no one (RFC 5737). A datagram socket that is connected to it sends nothing, and has a local address."""


def reachable(bound: str) -> str:
    """`bound`, or this machine's own address in the place of a wildcard, which nobody can connect to."""
    host, _, port = bound.rpartition(":")
    return f"{own_address()}:{port}" if host in WILDCARDS else bound


def own_address() -> str:
    """That of the interface towards other networks; the machine's name when there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
