"""From a URL to a client: of one server, or of a cluster, whose nodes are asked as `routes` says."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from dkv.client.levels import Levels
from dkv.client.sync import Channel, Client
from dkv.client.url import Options, parse
from dkv.edge import EdgeClient
from dkv.model.errors import InvalidRequest

if TYPE_CHECKING:
    from dkv.client.routes import Routes

REPLY_BYTES_MAX = 52_428_800
"""What the Go client accepts."""


def connect(url: str) -> Client:
    """The client that `dkv.connect` promises."""
    return open_client(parse(url).shuffled(chance))


def open_client(options: Options) -> Client:
    """A client on native connections, each made with the first call that needs it. The first address is the first to
    be asked."""
    levels = Levels(options.level)
    try:
        return Client(_channel(options, levels), timeout_s=options.timeout_s, levels=levels)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


def _channel(options: Options, levels: Levels) -> Channel:
    def open_one(address: str) -> EdgeClient:
        return EdgeClient(address, authority=options.authority, reply_bytes_max=REPLY_BYTES_MAX)

    if not options.is_cluster:
        return open_one(options.address)
    from dkv.client.cluster_channel import ClusterChannel  # loads protobuf, which one server's client may not need

    return ClusterChannel(routes_of(options, levels), open_one)


def routes_of(options: Options, levels: Levels) -> Routes:
    """What a client of a cluster begins with."""
    from dkv.client.nodes import Nodes
    from dkv.client.routes import Routes

    nodes = Nodes(options.addresses)
    return Routes(nodes, levels, time.monotonic, learns=options.learns_members, reads_at_leader=options.reads_at_leader)


def chance() -> bytes:
    """For the order of addresses: clients spread over the nodes."""
    return os.urandom(8)
