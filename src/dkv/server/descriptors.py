"""File descriptors: log and engine come first. A connection too many is closed, and its caller tries again; a file that
the engine cannot open ends the server.
"""

import resource

CONNECTIONS_MAX = 16_384
"""An idle one costs about 20 KiB."""
FILES_KEPT = 704
"""For the engine's 512 open files, its log, the Raft log, HTTP, the interpreter, and 64 connections of other nodes."""


def raise_limit() -> int:
    """Take all descriptors that the system lets this process have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard and hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft if soft != resource.RLIM_INFINITY else CONNECTIONS_MAX + FILES_KEPT


def connections_max(descriptors: int) -> int:
    """How many connections leave the files their share; a quarter of the descriptors when these are scarce."""
    return min(CONNECTIONS_MAX, max(descriptors - FILES_KEPT, descriptors // 4))
