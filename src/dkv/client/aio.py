"""The client for asyncio. Its operations are those of the blocking client; what it adds is when things happen.

Calls made in one turn of the loop leave together, and a task that is cancelled cancels its call. Writes that cannot
begin, because one opens the session or a thousand are under way, wait in order.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from dkv.client import operations
from dkv.client.acknowledgements import Acknowledgement, OnDisk
from dkv.client.answers import error_of
from dkv.client.backups import NOT_BEGUN, SILENCE_S_MAX, BackupProgress, progress, take_backup
from dkv.client.changes import AsyncChangeFeed, Changes
from dkv.client.driving import bad_reply, failed_stream, out_of_time, session_name, to_ms, whole
from dkv.client.exchange import Call, Exchange, StartOver
from dkv.client.levels import Level, Levels
from dkv.client.loop_channel import Result, Streamed
from dkv.client.operations import Operation
from dkv.client.retries import RetryBudget
from dkv.client.scan import Cursor, Scan
from dkv.client.values import Data, Item, Pairs, Stats, as_bytes
from dkv.client.writes import Write, WriteLine, WriteLines
from dkv.model.errors import Code, DeadlineExceeded
from dkv.wire import methods
from dkv.wire.replies import MalformedReply

T = TypeVar("T")


class Channel(Protocol):
    """What the client needs of its connections."""

    def loop(self) -> asyncio.AbstractEventLoop: ...
    def start(self, path: str, message: bytes, timeout_ms: int) -> tuple[int, asyncio.Future[Result]]: ...
    def cancel(self, call_id: int) -> None: ...
    def stream(self, path: str, message: bytes) -> Streamed: ...
    def close(self) -> None: ...


class AsyncClient:
    """Operations on keys, for one event loop: that of the first call. See `dkv.aio.connect`.

    Every method means what the one of the same name means in `dkv.Client`.
    """

    def __init__(self, channel: Channel, timeout_s: float, levels: Levels) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._levels = levels
        self._budget = RetryBudget()
        self._lines = WriteLines(session_name, lambda: self._levels.vbuckets)
        self._waiting: dict[WriteLine, deque[asyncio.Future[None]]] = {}
        """Those that cannot begin yet, the first first."""

    # Reading

    async def get(self, key: Data, *, level: Level | None = None, max_staleness: float | None = None) -> bytes | None:
        """The value of a key, or None when there is none."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return await self._run(operations.get(key, terms))

    async def get_item(
        self, key: Data, *, level: Level | None = None, max_staleness: float | None = None
    ) -> Item | None:
        """The value with its expiry and the change number as of which it was read, or None."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return await self._run(operations.get_item(key, terms))

    async def get_many(
        self, keys: Iterable[Data], *, level: Level | None = None, max_staleness: float | None = None
    ) -> dict[bytes, bytes]:
        """The pairs of those keys that are there, all as of one moment."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return await self._run(operations.get_many(keys, terms))

    async def exists(self, key: Data, *, level: Level | None = None, max_staleness: float | None = None) -> bool:
        """Whether the key is there."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return await self._run(operations.exists(key, terms))

    def scan(
        self,
        prefix: Data = b"",
        *,
        start: Data | None = None,
        reverse: bool = False,
        limit: int | None = None,
        level: Level | None = None,
        max_staleness: float | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """The pairs whose keys begin with `prefix`, in byte order, read as they are taken."""
        first = b"" if start is None else as_bytes(start)
        terms = self._levels.of_scan(level, max_staleness)
        scan = Scan(as_bytes(prefix), first, terms=terms, limit=limit, reverse=reverse)
        return self._read(scan)

    # Writing

    async def put(
        self,
        key: Data,
        value: Data,
        *,
        ttl: float | None = None,
        if_absent: bool = False,
        acknowledgement: Acknowledgement = "quorum",
    ) -> bool:
        """Write a key; returns whether it was written, which without `if_absent` it always is."""
        return await self._run(operations.put(key, value, ttl, if_absent, acknowledgement))

    async def put_many(self, pairs: Pairs, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum") -> None:
        """Write all pairs or none."""
        await self._run(operations.put_many(pairs, ttl, acknowledgement))

    async def compare_and_set(
        self,
        key: Data,
        expected: Data | None,
        value: Data,
        *,
        ttl: float | None = None,
        acknowledgement: OnDisk = "quorum",
    ) -> bool:
        """Write `value` if the key holds `expected`; returns whether it did."""
        return await self._run(operations.compare_and_set(key, expected, value, ttl, acknowledgement))

    async def incr(
        self, key: Data, by: int = 1, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum"
    ) -> int:
        """Add to a counter and return what it is then."""
        return await self._run(operations.add(key, by, ttl, acknowledgement))

    async def decr(
        self, key: Data, by: int = 1, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum"
    ) -> int:
        """As `incr`, downwards."""
        return await self._run(operations.add(key, -by, ttl, acknowledgement))

    async def touch(self, key: Data, ttl: float, *, acknowledgement: OnDisk = "quorum") -> bool:
        """Let the key expire in `ttl` seconds; returns whether it is there."""
        return await self._run(operations.touch(key, ttl, acknowledgement))

    async def persist(self, key: Data, *, acknowledgement: OnDisk = "quorum") -> bool:
        """Let the key never expire; returns whether it is there."""
        return await self._run(operations.touch(key, None, acknowledgement))

    async def delete(self, key: Data, *, acknowledgement: Acknowledgement = "quorum") -> None:
        """Remove a key. It is no error when there is none."""
        await self._run(operations.delete(key, acknowledgement))

    async def delete_range(self, start: Data, end: Data | None, *, acknowledgement: OnDisk = "quorum") -> None:
        """Remove every key from `start` up to, but not including, `end`; None: to the last key."""
        await self._run(operations.delete_range(start, end, acknowledgement))

    # The server

    async def stats(self) -> Stats:
        """What the server says about itself."""
        return await self._run(operations.stats())

    def changes(
        self,
        start: int | None = None,
        *,
        prefix: Data = b"",
        through: int | None = None,
        history_id: bytes = b"",
        vbucket: int | None = None,
        token: bytes = b"",
    ) -> AsyncChangeFeed:
        """Every change from number `start` on, in order, and then those to come; None: only those to come."""
        cursor = Changes(start, as_bytes(prefix), through, history_id, self._timeout_s, vbucket=vbucket, token=token)
        return AsyncChangeFeed(cursor, self._read(cursor))

    async def backup(self, path: str, *, on_progress: Callable[[BackupProgress], None] | None = None) -> BackupProgress:
        """Take a backup into a folder of the server's machine and wait for it; returns what it holds."""
        last, end = NOT_BEGUN, None
        stream = self._channel.stream(methods.TAKE_BACKUP_PATH, take_backup(path))
        try:
            while end is None:
                messages, end = await stream.next(SILENCE_S_MAX)
                for message in messages:
                    last = whole(progress, message)
                    if on_progress is not None:
                        on_progress(last)
        finally:
            stream.cancel()
        if end[0] != Code.OK:
            raise error_of(failed_stream(end))
        return last

    async def close(self) -> None:
        """End the connection; calls that are under way fail. Idempotent."""
        self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    # How it is done

    async def _run(self, operation: Operation[T]) -> T:
        deadline_s = time.monotonic() + self._timeout_s
        try:
            call = next(operation)
            while True:
                send = self._write if call.is_write else self._exchange
                call = operation.send(await send(call, deadline_s))
        except StopIteration as done:
            result: T = done.value
            return result
        except MalformedReply as garbage:
            raise bad_reply(garbage, call.is_write or call.is_fast) from garbage

    async def _write(self, call: Call, deadline_s: float) -> bytes:
        while True:
            line = self._lines.of(call.key)
            write = line.begin() or await self._begin(line, deadline_s)
            is_answered = False
            try:
                reply = await self._exchange(call, deadline_s, write)
                is_answered = True
                return reply
            except StartOver:
                line.forgotten(write)
            finally:
                line.end(write, is_answered)
                if line in self._waiting:
                    self._let_begin(line)

    async def _exchange(self, call: Call, deadline_s: float, write: Write | None = None) -> bytes:
        exchange: Exchange | None = None
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise out_of_time(self._timeout_s, exchange)
            message = call.message if write is None else call.message + write.fields()
            call_id, future = self._channel.start(call.path, message, to_ms(left_s))
            try:
                result = await future
            except asyncio.CancelledError:
                self._channel.cancel(call_id)
                raise
            if isinstance(result, bytes):
                self._budget.earn()
                return result
            exchange = exchange or Exchange(call.path, write, self._budget, is_once=call.is_fast)
            await asyncio.sleep(exchange.failed(result, deadline_s - time.monotonic()))

    async def _begin(self, line: WriteLine, deadline_s: float) -> Write:
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                while (write := line.begin()) is None:
                    turn: asyncio.Future[None] = self._channel.loop().create_future()
                    self._waiting.setdefault(line, deque()).append(turn)
                    try:
                        await turn
                    except asyncio.CancelledError:
                        if not turn.cancelled() and line in self._waiting:
                            self._let_begin(line)  # it was this one's turn
                        raise
                return write
        except TimeoutError:
            raise DeadlineExceeded("other writes of this client took all the time") from None

    def _let_begin(self, line: WriteLine) -> None:
        """Wakes as many of those that still wait as there is room for."""
        waiting, room = self._waiting[line], line.room
        while waiting and room > 0:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1
        if not waiting:
            del self._waiting[line]

    async def _read(self, cursor: Cursor[T]) -> AsyncGenerator[T, None]:
        """Stream after stream until the cursor is done. Time and attempts count from the last thing that came."""
        exchange, deadline_s = self._patience(cursor)
        while not cursor.is_done:
            stream, end = self._channel.stream(cursor.path, cursor.request()), None
            try:
                while end is None and not cursor.is_done:
                    messages, end = await stream.next(self._timeout_s)
                    if messages:
                        exchange, deadline_s = self._patience(cursor)
                        for item in whole(cursor.take, messages):
                            yield item
            finally:
                stream.cancel()
            if end is not None and end[0] != Code.OK:
                await asyncio.sleep(exchange.failed(failed_stream(end), deadline_s - time.monotonic()))
                continue
            self._budget.earn()
            exchange, deadline_s = self._patience(cursor)
            if end is not None:
                cursor.ended()

    def _patience(self, cursor: Cursor[T]) -> tuple[Exchange, float]:
        return Exchange(cursor.path, None, self._budget), time.monotonic() + self._timeout_s
