"""The Python client: a blocking channel, and the operations of the original's API over it.

Imports the native module with the first connection only, so that a command's help needs nothing.
"""

from dkv.client.channel import Channel
from dkv.client.errors import IterateRefused, RpcError
from dkv.client.operations import Client, Pair

__all__ = ["Channel", "Client", "IterateRefused", "Pair", "RpcError"]
