"""The connections of a blocking client to the nodes of a cluster, as one: a call goes to the node that `Routes` says.

Thread-safe: connections are added and never replaced. The members are asked for in the caller's time, after a call that
went well, of the node that answered it.
"""

from collections.abc import Callable

from dkv.client.answers import Answer, Fate
from dkv.client.routes import ASK, NEWS_MS_MAX, Attempt, Routes
from dkv.client.sync import CallResult, Channel, Stream, StreamPart
from dkv.model.errors import Code
from dkv.wire import methods

CLOSED: CallResult = (Code.CANCELLED, "the client is closed", b"", b"", Fate.NOT_SENT)


class ClusterChannel:
    """Owns a channel for each node that was given or ever asked."""

    def __init__(self, routes: Routes, open_channel: Callable[[str], Channel]) -> None:
        self._routes, self._open = routes, open_channel
        # All that were given: an address that is none is refused at once.
        self._channels = {address: open_channel(address) for address in routes.nodes.addresses}
        self._is_closed = False

    def call(self, path: str, message: bytes, timeout_ms: int, /) -> CallResult:
        if self._is_closed:
            return CLOSED
        attempt = self._routes.attempt(path, timeout_ms)
        result = self._at(attempt.address).call(path, message, attempt.timeout_ms)
        code, text, details, reply, fate = result
        if code == 0:
            if self._routes.went_well(attempt, reply):
                self._ask_members(attempt.address)
            return result
        told = self._routes.failed(attempt, Answer(code, text, details, b"", fate))
        return told.code, told.text, told.details, b"", told.fate

    def stream(self, path: str, message: bytes, timeout_ms: int, /) -> Stream:
        address = self._routes.stream(path, timeout_ms).address
        return _WatchedStream(self._routes, path, address, self._at(address).stream(path, message, timeout_ms))

    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None:
        """To the first node that is there. Raises ConnectionError with what the last one said."""
        for left in range(len(addresses := self._routes.nodes.addresses), 0, -1):
            address = addresses[-left]
            try:
                return self._at(address).connect(timeout_ms // left, refused_ms)
            except ConnectionError:
                self._routes.nodes.went_wrong(address, is_silent=True)
                if left == 1:
                    raise

    def close(self) -> None:
        self._is_closed = True
        for channel in list(self._channels.values()):
            channel.close()

    def _at(self, address: str) -> Channel:
        return self._channels.get(address) or self._channels.setdefault(address, self._open(address))

    def _ask_members(self, address: str) -> None:
        code, _, _, reply, _ = self._at(address).call(methods.GET_MEMBERS_PATH, ASK, NEWS_MS_MAX)
        if code == 0:
            self._routes.learn(address, reply)


class _WatchedStream:
    """A stream whose end, or silence, is told to the routes."""

    def __init__(self, routes: Routes, path: str, address: str, stream: Stream) -> None:
        self._routes, self._path, self._address, self._stream = routes, path, address, stream

    def next(self, messages_max: int, timeout_ms: int) -> StreamPart:
        attempt = self._attempt(timeout_ms)
        messages, end = self._stream.next(messages_max, attempt.timeout_ms)
        if end is None and not messages and attempt.is_cut:
            end = (Code.DEADLINE_EXCEEDED, "", b"", Fate.LOST)
        if end is None or end[0] == Code.OK:
            return messages, end
        told = self._routes.failed(attempt, Answer(end[0], end[1], end[2], b"", end[3]))
        return messages, (told.code, told.text, told.details, told.fate)

    def cancel(self) -> None:
        self._stream.cancel()

    def _attempt(self, timeout_ms: int) -> Attempt:
        return self._routes.stream(self._path, timeout_ms)._replace(address=self._address)
