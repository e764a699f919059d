"""From a URL to a client."""

from dkv.client.sync import Client
from dkv.client.url import Options, parse
from dkv.edge import EdgeClient
from dkv.model.errors import InvalidRequest

REPLY_BYTES_MAX = 52_428_800
"""What the Go client accepts."""


def connect(url: str) -> Client:
    """The client that `dkv.connect` promises."""
    return open_client(parse(url))


def open_client(options: Options) -> Client:
    """A client on a native connection, which is made with the first call."""
    try:
        channel = EdgeClient(options.address, authority=options.authority, reply_bytes_max=REPLY_BYTES_MAX)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    return Client(channel, timeout_s=options.timeout_s, is_linearizable=options.is_linearizable)
