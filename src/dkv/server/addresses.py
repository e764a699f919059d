"""The addresses that others are told, and those that are listened on."""

import socket

from dkv.model.errors import ClusterRefused
from dkv.settings import Settings

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


def is_own(address: str) -> bool:
    """Whether the host of host:port is this machine: only then can anybody listen there."""
    host, _, _ = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        for family, kind, _, _, place in found:
            with socket.socket(family, kind) as probe:
                probe.bind((place[0], 0))
        return bool(found)
    except OSError:
        return False


def cluster_address(settings: Settings) -> str:
    """Where the other nodes of a cluster reach this one. Raises ClusterRefused when that cannot be told."""
    wish = settings.cluster
    if wish is not None and wish.is_nexus:
        return wish.own or _own_of(wish.peers, "nexus listen address not provided & auto detection failed")
    known = settings.advertise_addr or reachable(settings.listen_addr)
    port = known.rpartition(":")[2]
    if wish is not None and wish.peers and known not in wish.peers:
        same_port = tuple(each for each in wish.peers if each.rpartition(":")[2] == port)
        return _own_of(same_port, f"none of --peers is this node, {known}: say which with --advertise-addr")
    if port == "0" or known.startswith("unix:"):
        raise ClusterRefused(f"a node of a cluster has to be reached by others, not at {known}: set --advertise-addr")
    return known


def listen_addresses(settings: Settings) -> tuple[str, ...]:
    """Where calls are taken: also at the node's own URL, with the original's options."""
    if settings.cluster is None or not settings.cluster.is_nexus:
        return (settings.listen_addr,)
    return tuple(dict.fromkeys((settings.listen_addr, cluster_address(settings))))


def _own_of(addresses: tuple[str, ...], otherwise: str) -> str:
    own = [address for address in addresses if is_own(address)]
    if len(own) != 1:
        found = f" ({', '.join(own)} are all of this machine)" if own else ""
        raise ClusterRefused(otherwise + found)
    return own[0]
