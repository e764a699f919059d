"""One connection of an event loop: calls go to the native client by the turn, outcomes come back by the batch.

Calls made in one turn of the loop cross over together at its end, or as soon as there are many: then the network begins
while the loop goes on. What has ended wakes the loop through a socket that it watches, once for what ended together;
nothing native ever calls Python. On loops that cannot watch a socket (the default one of Windows) a task reads from it
instead.

Invariant: a channel belongs to the loop of its first call. Nothing here is thread-safe, and nothing has to be.
"""

import asyncio
import os
import socket
from typing import Protocol

from dkv.client.answers import Answer, Fate
from dkv.client.scan import MESSAGES_MAX
from dkv.client.url import Options
from dkv.edge import EdgeLoopClient, EdgeStream
from dkv.model.errors import Code, DeadlineExceeded

REPLY_BYTES_MAX = 52_428_800
NO_DEADLINE = -1
SEND_AT = 32
"""Calls that are worth a crossing before the turn is over."""
_RINGS_MAX = 4_096
CLOSED = "the client is closed"

Result = bytes | Answer
"""The reply of a call that went well, or how it failed."""
StreamPart = tuple[list[bytes], tuple[int, str, bytes, int] | None]


class Streamed(Protocol):
    """A reply stream, from the reader's side."""

    async def next(self, timeout_s: float) -> StreamPart: ...
    def cancel(self) -> None: ...


class LoopChannel:
    """Owns the native client, and what the loop waits for."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_closed: bool = False
        self._next_id = 0
        self._open: dict[int, asyncio.Future[Result]] = {}
        self.readers: dict[int, asyncio.Future[None]] = {}
        self._queued: list[tuple[int, str, bytes, int]] = []
        self._unwanted: list[int] = []
        self._listener: asyncio.Task[None] | None = None
        # The address is looked at now, the loop only with the first call: clients are made before loops run, too.
        self._open_native()

    def _open_native(self) -> None:
        options = self._options
        self._owner = os.getpid()
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        try:
            self._native = EdgeLoopClient(
                options.address, self._rung.fileno(), authority=options.authority, reply_bytes_max=REPLY_BYTES_MAX
            )
        except BaseException:
            self._close_sockets()
            raise

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop, which must be the channel's. RuntimeError if it is another."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        return loop

    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, asyncio.Future[Result]]:
        """A call that leaves with the others of this turn: its id, and what will be its result."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._bind(loop)
        future: asyncio.Future[Result] = loop.create_future()
        if self.is_closed:
            future.set_result(_closed(Fate.NOT_SENT))
            return 0, future
        self._next_id = call_id = self._next_id + 1
        self._open[call_id] = future
        if not self._queued:
            loop.call_soon(self._send_queued)
        self._queued.append((call_id, path, message, timeout_ms))
        if len(self._queued) == SEND_AT:
            self._send_queued()
        return call_id, future

    def cancel(self, call_id: int) -> None:
        """Nobody waits for the call any more: it ends, also on the wire."""
        if self._open.pop(call_id, None) is not None and self._loop is not None and not self.is_closed:
            if not self._unwanted:
                self._loop.call_soon(self._cancel_unwanted)
            self._unwanted.append(call_id)

    def stream(self, path: str, message: bytes) -> Streamed:
        """Starts a call whose reply is a stream."""
        self.loop()
        self._next_id = call_id = self._next_id + 1
        return _Stream(self, call_id, self._native.stream(call_id, path, message, NO_DEADLINE))

    def close(self) -> None:
        """Calls that are under way end as cancelled. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._native.close()
        for future in self._open.values():
            if not future.done():
                future.set_result(_closed(Fate.LOST))
        self._open.clear()
        for reader in list(self.readers.values()):
            if not reader.done():
                reader.set_result(None)
        if self._listener is not None:
            self._listener.cancel()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._bell)
        self._close_sockets()

    def _close_sockets(self) -> None:
        self._bell.close()
        self._rung.close()

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise RuntimeError("this client belongs to another event loop: make one client for each loop")
        self._loop = loop
        if self.is_closed:
            return
        if self._owner != os.getpid():  # made before a fork: its native thread is the parent's
            self._close_sockets()
            self._open_native()
        try:
            loop.add_reader(self._bell, self._answered)
        except NotImplementedError:
            self._listener = loop.create_task(self._listen(loop))

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await loop.sock_recv(self._bell, _RINGS_MAX)
            self._dispatch()

    def _send_queued(self) -> None:
        calls, self._queued = self._queued, []
        if calls and not self.is_closed:
            self._native.send(calls)

    def _cancel_unwanted(self) -> None:
        ids, self._unwanted = self._unwanted, []
        if not self.is_closed:
            self._native.cancel(ids)

    def _answered(self) -> None:
        try:
            self._bell.recv(_RINGS_MAX)
        except BlockingIOError:
            return
        self._dispatch()

    def _dispatch(self) -> None:
        ids, replies, failures, streams = self._native.take()
        pop = self._open.pop
        for call_id, reply in zip(ids, replies, strict=True):
            future = pop(call_id, None)
            if future is not None and not future.done():
                future.set_result(reply)
        for call_id, code, text, details, fate in failures:
            future = pop(call_id, None)
            if future is not None and not future.done():
                future.set_result(Answer(code, text, details, b"", fate))
        for call_id in streams:
            reader = self.readers.pop(call_id, None)
            if reader is not None and not reader.done():
                reader.set_result(None)


class _Stream:
    """A native stream, and the future that its one reader waits for while there is nothing."""

    def __init__(self, channel: LoopChannel, call_id: int, native: EdgeStream) -> None:
        self._channel, self._id, self._native = channel, call_id, native

    async def next(self, timeout_s: float) -> StreamPart:
        """What came, or the end. DeadlineExceeded when nothing comes in time."""
        readers = self._channel.readers
        while not self._channel.is_closed:
            messages, end = self._native.take(MESSAGES_MAX)
            if messages or end is not None:
                return messages, end
            readers[self._id] = news = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await news
            except TimeoutError:
                raise DeadlineExceeded(f"nothing came for {timeout_s:g} s") from None
            finally:
                readers.pop(self._id, None)
        return [], (Code.CANCELLED, CLOSED, b"", Fate.LOST)

    def cancel(self) -> None:
        self._native.cancel()


def _closed(fate: Fate) -> Answer:
    return Answer(Code.CANCELLED, CLOSED, b"", b"", fate)
