"""Two things for tests.

`server()` is for those who use the client: a real server in memory, in one line.

    with dkv.testing.server() as url, dkv.connect(url) as client:
        client["hello"] = "world"

Everything else is the other composition root: the real node on simulated time, network and disk, and checkers of what
it answered. That part is a function of a seed: nothing in it reads a clock, opens a file or starts a thread; what the
node is told about the world comes from these objects, so that any failure can be replayed
(docs/design/0006-simulation.md).
"""

from contextlib import AbstractContextManager


def server() -> AbstractContextManager[str]:
    """A server of its own for a `with`: gives its URL, such as `dkv://127.0.0.1:40123`, and holds everything in memory.

    It is empty at the start and gone at the end. It does all that a server does, expiry, history and refusals included.
    Needs what a server needs: `pip install dkv[server]`.
    """
    from dkv.testing.memory_server import serving  # The simulation has no use for threads and clocks.

    return serving()
