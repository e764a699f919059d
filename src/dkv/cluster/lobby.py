"""Who waits to be added: empty nodes that have said hello lately.

A node is added under the id it said hello with, so that nobody calls out to it in the middle of a turn: it calls.
"""

from dkv.cluster.formation import Standing

NODES_MAX = 1_000
PATIENCE_MS = 10_000
"""Of an operator's AddNode: whoever was silent for longer is not there."""


class Lobby:
    """Bounded: the one heard of first makes room."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[Standing, int]] = {}

    def hello(self, standing: Standing, monotonic_ms: int) -> None:
        """An empty node has said hello."""
        self._heard.pop(standing.address, None)
        self._heard[standing.address] = (standing, monotonic_ms)
        if len(self._heard) > NODES_MAX:
            del self._heard[next(iter(self._heard))]

    def at(self, address: str, monotonic_ms: int) -> Standing | None:
        """Who waits under an address, if it was heard of lately. A node may be named by its address or by its URL's."""
        for standing, heard_ms in self._heard.values():
            named = (standing.address, standing.url.removeprefix("http://"))
            if address in named and monotonic_ms - heard_ms <= PATIENCE_MS:
                return standing
        return None
