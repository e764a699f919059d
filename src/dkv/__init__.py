"""DKV: a distributed, durable key-value store.

    import dkv

    with dkv.connect("dkv://127.0.0.1:8080?timeout=2s") as client:
        client["hello"] = "world"
        client.get("hello")  # b"world"

`dkv.aio` is the same for asyncio. Importing this loads no server code, and little else before the first connection.
"""

from typing import TYPE_CHECKING, Any

from dkv.model.errors import (
    BadReply,
    Cancelled,
    ConnectionLost,
    DeadlineExceeded,
    HistoryPurged,
    InvalidRequest,
    LimitExceeded,
    OutcomeUnknown,
    Overloaded,
    StaleRead,
    Unavailable,
    WriteTimedOut,
)
from dkv.model.errors import DkvError as Error

if TYPE_CHECKING:
    from dkv.client.backups import BackupProgress
    from dkv.client.changes import Change, ChangeFeed, ChangeKind
    from dkv.client.sync import Client
    from dkv.client.values import Item, Stats

    __version__: str

__all__ = [
    "BackupProgress",
    "BadReply",
    "Cancelled",
    "Change",
    "ChangeFeed",
    "ChangeKind",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Error",
    "HistoryPurged",
    "InvalidRequest",
    "Item",
    "LimitExceeded",
    "OutcomeUnknown",
    "Overloaded",
    "StaleRead",
    "Stats",
    "Unavailable",
    "WriteTimedOut",
    "connect",
]

_CLIENT_MODULES = {
    "BackupProgress": "backups",
    "Change": "changes",
    "ChangeFeed": "changes",
    "ChangeKind": "changes",
    "Client": "sync",
    "Item": "values",
    "Stats": "values",
}
"""Loaded by whoever asks for them: most programs only connect."""


def connect(url: str) -> "Client":
    """A client of the server at `url`, such as `dkv://127.0.0.1:8080?timeout=2s`. Use it in a `with`, or close it.

    Does not wait: the connection is made with the first call, and again whenever it is lost. Options: `timeout` of an
    operation, retries included (10s); `consistency` of reads, `linearizable`, `read_your_writes` or `sequential`;
    `authority`, for proxies. Raises InvalidRequest for a URL that is none. A socket's path is `dkv:///run/dkv.sock`.

    Of a cluster some addresses are enough, `dkv://a:8080,b:8080`: its nodes are asked for the others, writes go to the
    leader, and another node is asked when one fails. Options: `members`, `learn` or `given`, for a cluster behind other
    addresses than its own (`learn` with one address, too); `reads`, at `any` node or at the `leader`.
    """
    from dkv.client.connecting import connect

    return connect(url)


def __getattr__(name: str) -> Any:
    if name == "__version__":  # stands in pyproject.toml alone, and takes a while to find
        from importlib.metadata import version

        return version("dkv")
    if name in _CLIENT_MODULES:
        from importlib import import_module

        return getattr(import_module(f"dkv.client.{_CLIENT_MODULES[name]}"), name)
    raise AttributeError(f"module 'dkv' has no attribute {name!r}")
