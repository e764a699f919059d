"""All services of a node behind two functions: calls by method number, and HTTP requests."""

from collections.abc import Sequence

from dkv.model.limits import Limits
from dkv.ports.edge import HttpRequest
from dkv.services.calls import Accept
from dkv.services.kv import KvService
from dkv.services.turn import Turn
from dkv.wire.methods import METHODS


class Services:
    """What a node serves. One thread calls it."""

    def __init__(self, limits: Limits) -> None:
        self.methods: list[tuple[str, bool]] = list(METHODS)
        """(path, whether the reply is a stream), by method number: what an edge server is made with."""
        self.kv = KvService(limits)
        self._accepts: dict[int, Accept] = {**self.kv.accepts}

    def accept(self, method: int, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Fills the turn's columns with what the calls of one method ask for. Never raises for what was sent."""
        self._accepts[method](call_ids, messages, turn)

    def accept_http(self, requests: Sequence[HttpRequest], turn: Turn) -> None:
        """Answers HTTP requests in the same turn."""
