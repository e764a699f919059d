"""`dkv` for asyncio: the same operations, awaited.

import dkv.aio

async with dkv.aio.connect("dkv://127.0.0.1:8080?timeout=2s") as client:
    await client.put("hello", "world")
    async for key, value in client.scan("he"):
        ...
"""

from dkv.client import connecting_loop
from dkv.client.aio import AsyncClient
from dkv.client.changes import AsyncChangeFeed

__all__ = ["AsyncChangeFeed", "AsyncClient", "connect"]


def connect(url: str) -> AsyncClient:
    """A client of the server at `url`, as `dkv.connect` takes it. Use it in an `async with`, or close it.

    Does not wait, and may be called before a loop runs; the client belongs to the loop of its first call.
    """
    return connecting_loop.connect(url)
