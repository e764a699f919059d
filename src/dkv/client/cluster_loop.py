"""The connections of an event loop to the nodes of a cluster, as one: a call goes to the node that `Routes` says.

What became of a call is told to the routes in a callback of its future, which runs before whoever awaits it goes on.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from dkv.client.answers import Answer, Fate
from dkv.client.loop_channel import LoopChannel, Result, Streamed, StreamPart
from dkv.client.routes import ASK, NEWS_MS_MAX, Attempt, Routes
from dkv.model.errors import Code, DeadlineExceeded
from dkv.wire import methods


class ClusterLoopChannel:
    """Owns a channel for each node that was given or ever asked. Belongs to the loop of its first call."""

    def __init__(self, routes: Routes, open_channel: Callable[[str], LoopChannel]) -> None:
        self._routes, self._open = routes, open_channel
        # All that were given: an address that is none is refused at once.
        self._channels = {address: open_channel(address) for address in routes.nodes.addresses}
        self._taken: dict[int, tuple[LoopChannel, int]] = {}
        self._next_id = 0
        self.is_closed: bool = False

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, which must be the channel's. RuntimeError if it is another."""
        return next(iter(self._channels.values())).loop()

    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, asyncio.Future[Result]]:
        """A call that leaves with the others of this turn: its id, and what will be its result."""
        attempt = self._routes.attempt(path, timeout_ms)
        channel = self._at(attempt.address)
        inner_id, ended = channel.start(path, message, attempt.timeout_ms)
        self._next_id = call_id = self._next_id + 1
        self._taken[call_id] = channel, inner_id
        told: asyncio.Future[Result] = ended.get_loop().create_future()
        ended.add_done_callback(partial(self._ended, call_id, attempt, told))
        return call_id, told

    def cancel(self, call_id: int) -> None:
        """Nobody waits for the call any more: it ends, also on the wire."""
        if (taken := self._taken.pop(call_id, None)) is not None:
            channel, inner_id = taken
            channel.cancel(inner_id)

    def stream(self, path: str, message: bytes) -> Streamed:
        """Starts a call whose reply is a stream."""
        address = self._routes.stream(path, 0).address
        return _WatchedStream(self._routes, path, address, self._at(address).stream(path, message))

    def close(self) -> None:
        """Calls that are under way end as cancelled. Idempotent."""
        self.is_closed = True
        for channel in self._channels.values():
            channel.close()

    def _at(self, address: str) -> LoopChannel:
        if (channel := self._channels.get(address)) is None:
            self._channels[address] = channel = self._open(address)
            if self.is_closed:
                channel.close()
        return channel

    def _ended(
        self, call_id: int, attempt: Attempt, told: asyncio.Future[Result], ended: asyncio.Future[Result]
    ) -> None:
        self._taken.pop(call_id, None)
        result = ended.result()
        if isinstance(result, Answer):
            result = self._routes.failed(attempt, result)
        elif self._routes.went_well(attempt, result) and not self.is_closed:
            _, news = self._at(attempt.address).start(methods.GET_MEMBERS_PATH, ASK, NEWS_MS_MAX)
            news.add_done_callback(partial(self._learn, attempt.address))
        if not told.done():
            told.set_result(result)

    def _learn(self, address: str, news: asyncio.Future[Result]) -> None:
        if isinstance(reply := news.result(), bytes):
            self._routes.learn(address, reply)


class _WatchedStream:
    """A stream whose end, or silence, is told to the routes."""

    def __init__(self, routes: Routes, path: str, address: str, stream: Streamed) -> None:
        self._routes, self._path, self._address, self._stream = routes, path, address, stream

    async def next(self, timeout_s: float) -> StreamPart:
        attempt = self._routes.stream(self._path, int(timeout_s * 1_000))._replace(address=self._address)
        try:
            messages, end = await self._stream.next(attempt.timeout_ms / 1_000)
        except DeadlineExceeded:
            if not attempt.is_cut:
                raise
            messages, end = [], (Code.DEADLINE_EXCEEDED, "", b"", Fate.LOST)
        if end is None or end[0] == Code.OK:
            return messages, end
        told = self._routes.failed(attempt, Answer(end[0], end[1], end[2], b"", end[3]))
        return messages, (told.code, told.text, told.details, told.fate)

    def cancel(self) -> None:
        self._stream.cancel()
