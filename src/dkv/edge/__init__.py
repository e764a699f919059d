"""The native edge: gRPC server and client, Raft and its log. The only importer of dkv._native."""

import sys

from dkv._native import (
    Bell,
    EdgeClient,
    EdgeLoopClient,
    EdgeServer,
    EdgeStream,
    PeerLinks,
    Raft,
    Relay,
    changes_of_puts,
)

if sys.platform != "win32":  # where nothing is kept on disk
    from dkv._native import Log

__all__ = [
    "Bell",
    "EdgeClient",
    "EdgeLoopClient",
    "EdgeServer",
    "EdgeStream",
    "Log",
    "PeerLinks",
    "Raft",
    "Relay",
    "changes_of_puts",
]
