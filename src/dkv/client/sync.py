"""The blocking client. Thread-safe: threads share one connection, and one of them works the network for all.

A forked child gets fresh connections and a session of its own, so that nothing its parent began is begun again.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

from dkv.client import operations
from dkv.client.acknowledgements import Acknowledgement, OnDisk
from dkv.client.answers import Answer, error_of
from dkv.client.backups import NOT_BEGUN, SILENCE_S_MAX, BackupProgress, progress, take_backup
from dkv.client.changes import ChangeFeed, Changes
from dkv.client.driving import bad_reply, failed_stream, out_of_time, session_name, to_ms, whole
from dkv.client.exchange import Call, Exchange, StartOver
from dkv.client.levels import Level, Levels
from dkv.client.operations import Operation
from dkv.client.retries import RetryBudget
from dkv.client.scan import MESSAGES_MAX, Cursor, Scan
from dkv.client.values import Data, Item, Pairs, Stats, as_bytes
from dkv.client.writes import Write, WriteLine, WriteLines
from dkv.model.errors import Code, DeadlineExceeded, Unavailable
from dkv.wire import methods
from dkv.wire.replies import MalformedReply

T = TypeVar("T")
NO_DEADLINE = -1
CallResult = tuple[int, str, bytes, bytes, int]
StreamPart = tuple[list[bytes], tuple[int, str, bytes, int] | None]


class Stream(Protocol):
    """The reply stream of a call."""

    def next(self, messages_max: int, timeout_ms: int) -> StreamPart: ...
    def cancel(self) -> None: ...


class Channel(Protocol):
    """What the client needs of a connection: `dkv.edge.EdgeClient`, or a test's own."""

    def call(self, path: str, message: bytes, timeout_ms: int, /) -> CallResult: ...
    def stream(self, path: str, message: bytes, timeout_ms: int, /) -> Stream: ...
    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None: ...
    def close(self) -> None: ...


class Client:
    """Operations on keys over one channel, which it owns. See `dkv.connect`.

    Keys and values are bytes; a `str` is taken as its UTF-8. Every operation raises `dkv.Error`: what failed, and in
    `may_have_happened` whether a write may have taken effect all the same. A missing key is no error.
    """

    def __init__(self, channel: Channel, *, timeout_s: float, levels: Levels | None = None) -> None:
        self._channel = channel
        self._timeout_s = timeout_s
        self._levels = Levels() if levels is None else levels
        self._budget = RetryBudget()
        self._start_writing()
        _living.add(self)

    def _start_writing(self) -> None:
        """At birth, and in a forked child, where neither the locks nor the sequences of the parent mean anything."""
        self._levels.in_this_process()
        self._lines = WriteLines(session_name, lambda: self._levels.vbuckets)
        self._turn = threading.Condition(threading.Lock())
        self._waiting = 0

    # Reading

    def get(self, key: Data, *, level: Level | None = None, max_staleness: float | None = None) -> bytes | None:
        """The value of a key, or None when there is none.

        `level`, here and below: what the read sees, `linearizable`, `read_your_writes` or `sequential`; None: as the
        URL says. `max_staleness`: at most so many seconds behind; without a level it is sequential.
        """
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return self._run(operations.get(key, terms))

    def get_item(self, key: Data, *, level: Level | None = None, max_staleness: float | None = None) -> Item | None:
        """The value with its expiry and the change number as of which it was read, or None."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return self._run(operations.get_item(key, terms))

    def get_many(
        self, keys: Iterable[Data], *, level: Level | None = None, max_staleness: float | None = None
    ) -> dict[bytes, bytes]:
        """The pairs of those keys that are there, all as of one moment. LimitExceeded beyond 10,000 keys or 16 MiB."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return self._run(operations.get_many(keys, terms))

    def exists(self, key: Data, *, level: Level | None = None, max_staleness: float | None = None) -> bool:
        """Whether the key is there; an empty value is a value."""
        is_plain = level is None and max_staleness is None
        terms = self._levels.plain if is_plain else self._levels.of_get(level, max_staleness)
        return self._run(operations.exists(key, terms))

    def scan(
        self,
        prefix: Data = b"",
        *,
        start: Data | None = None,
        reverse: bool = False,
        limit: int | None = None,
        level: Level | None = None,
        max_staleness: float | None = None,
    ) -> Iterator[tuple[bytes, bytes]]:
        """The pairs whose keys begin with `prefix`, in byte order, read as they are taken.

        `start`: begin at this key, which must begin with `prefix`. `reverse`: in descending order; `start` is then the
        highest key. `limit`: at most so many. Each page of 10,000 pairs is of one moment; a pair written meanwhile may
        show or not, and no pair shows twice. A connection that is lost on the way is made again.
        """
        first = b"" if start is None else as_bytes(start)
        terms = self._levels.of_scan(level, max_staleness)
        scan = Scan(as_bytes(prefix), first, terms=terms, limit=limit, reverse=reverse)
        return self._read(scan)

    # Writing. What returns without an error is on disk, of a majority if it is a cluster, unless it was to be fast.

    def put(
        self,
        key: Data,
        value: Data,
        *,
        ttl: float | None = None,
        if_absent: bool = False,
        acknowledgement: Acknowledgement = "quorum",
    ) -> bool:
        """Write a key; whatever it held and when it was to expire is replaced.

        `ttl`: seconds after which it is gone; None: never. `if_absent`: only when the key is absent or empty. Returns
        whether it was written, which without `if_absent` it always is.

        `acknowledgement`, here and below: who has the write on disk when this returns, a `quorum` of the nodes or `all`
        that vote; while one of those is away, all is OutcomeUnknown. A `fast` put or delete returns once the leader has
        accepted it, and is lost if that fails within moments. It is tried once: after an error with `may_have_happened`
        nobody knows what became of it. A read behind it, also one of `read_your_writes`, may not see it yet.
        """
        return self._run(operations.put(key, value, ttl, if_absent, acknowledgement))

    def put_many(self, pairs: Pairs, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum") -> None:
        """Write all pairs or none, in order; the last of equal keys wins. LimitExceeded beyond 10,000 or 4 MiB."""
        self._run(operations.put_many(pairs, ttl, acknowledgement))

    def compare_and_set(
        self,
        key: Data,
        expected: Data | None,
        value: Data,
        *,
        ttl: float | None = None,
        acknowledgement: OnDisk = "quorum",
    ) -> bool:
        """Write `value` if the key holds `expected`; returns whether it did.

        None and the empty value both expect a key that is absent or empty. The new expiry is exactly `ttl`.
        """
        return self._run(operations.compare_and_set(key, expected, value, ttl, acknowledgement))

    def incr(self, key: Data, by: int = 1, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum") -> int:
        """Add to a counter and return what it is then. A counter is 8 bytes, big-endian and signed; absent is 0.

        `ttl` is for a counter that begins; one that is there keeps its expiry. InvalidRequest when the value is no
        counter, or would not fit.
        """
        return self._run(operations.add(key, by, ttl, acknowledgement))

    def decr(self, key: Data, by: int = 1, *, ttl: float | None = None, acknowledgement: OnDisk = "quorum") -> int:
        """As `incr`, downwards."""
        return self._run(operations.add(key, -by, ttl, acknowledgement))

    def touch(self, key: Data, ttl: float, *, acknowledgement: OnDisk = "quorum") -> bool:
        """Let the key expire in `ttl` seconds, its value unchanged; returns whether it is there."""
        return self._run(operations.touch(key, ttl, acknowledgement))

    def persist(self, key: Data, *, acknowledgement: OnDisk = "quorum") -> bool:
        """Let the key never expire; returns whether it is there."""
        return self._run(operations.touch(key, None, acknowledgement))

    def delete(self, key: Data, *, acknowledgement: Acknowledgement = "quorum") -> None:
        """Remove a key. It is no error when there is none. `acknowledgement` as of `put`."""
        self._run(operations.delete(key, acknowledgement))

    def delete_range(self, start: Data, end: Data | None, *, acknowledgement: OnDisk = "quorum") -> None:
        """Remove every key from `start` up to, but not including, `end`; None: to the last key."""
        self._run(operations.delete_range(start, end, acknowledgement))

    def __getitem__(self, key: Data) -> bytes:
        """The value of a key. KeyError when there is none."""
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: Data, value: Data) -> None:
        self.put(key, value)

    def __delitem__(self, key: Data) -> None:
        """Unlike a dict's, it does not mind a key that is not there: that would take a second call to know."""
        self.delete(key)

    def __contains__(self, key: Data) -> bool:
        return self.exists(key)

    # The server

    def stats(self) -> Stats:
        """What the server says about itself."""
        return self._run(operations.stats())

    def changes(
        self,
        start: int | None = None,
        *,
        prefix: Data = b"",
        through: int | None = None,
        history_id: bytes = b"",
        vbucket: int | None = None,
        token: bytes = b"",
    ) -> ChangeFeed:
        """Every change from number `start` on, in order, and then those to come; None: only those to come.

        `prefix`: only changes that touch such keys. `through`: end behind this number. A reader that comes back hands
        in the `token` of the iterator as it was behind the last change that it has. HistoryPurged when the server does
        not keep what is asked for, or has another history: read everything by `scan`, then go on from there. A
        connection that is lost on the way is made again.

        Of several vBuckets each has its own numbers and its own order; all are followed, or `vbucket` alone. A `start`
        above 1, `through` and `history_id` (that `start` is of) are of one.
        """
        cursor = Changes(start, as_bytes(prefix), through, history_id, self._timeout_s, vbucket=vbucket, token=token)
        return ChangeFeed(cursor, self._read(cursor))

    def backup(self, path: str, *, on_progress: Callable[[BackupProgress], None] | None = None) -> BackupProgress:
        """Take a backup into a folder of the server's machine and wait for it; returns what it holds.

        Writers are not held up. Tried once, as the server goes on with the work whatever becomes of the caller.
        """
        last = NOT_BEGUN
        for message in self.stream(methods.TAKE_BACKUP_PATH, take_backup(path), silence_s_max=SILENCE_S_MAX):
            last = whole(progress, message)
            if on_progress is not None:
                on_progress(last)
        return last

    def wait_until_connected(self, timeout: float | None = None, *, refused: float | None = None) -> None:
        """Connect now rather than with the first call. Raises Unavailable when it takes longer than `timeout`.

        `refused`: where nobody listens, wait no longer than this for somebody who does.
        """
        refused_ms = None if refused is None else to_ms(refused)
        try:
            self._channel.connect(to_ms(self._timeout_s if timeout is None else timeout), refused_ms)
        except ConnectionError as error:
            raise Unavailable(str(error)) from error

    def call(self, path: str, message: bytes) -> bytes:
        """The reply to any unary method, tried once."""
        answer = Answer(*self._channel.call(path, message, to_ms(self._timeout_s)))
        if answer.code != Code.OK:
            raise error_of(answer)
        return answer.reply

    def stream(self, path: str, message: bytes, *, silence_s_max: float | None = None) -> Generator[bytes, None, None]:
        """The messages of any reply stream, tried once; a reader that stops early cancels the call."""
        timeout_ms = NO_DEADLINE if silence_s_max is None else to_ms(silence_s_max)
        with _cancelled_at_end(self._channel.stream(path, message, NO_DEADLINE)) as stream:
            end = None
            while end is None:
                messages, end = stream.next(MESSAGES_MAX, timeout_ms)
                if not messages and end is None:
                    raise DeadlineExceeded(f"nothing came for {silence_s_max:g} s")
                yield from messages
            if end[0] != Code.OK:
                raise error_of(failed_stream(end))

    def close(self) -> None:
        """End the connection; calls that are under way fail. Idempotent."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # How it is done

    def _run(self, operation: Operation[T]) -> T:
        deadline_s = time.monotonic() + self._timeout_s
        try:
            call = next(operation)
            while True:
                send = self._write if call.is_write else self._exchange
                call = operation.send(send(call, deadline_s))
        except StopIteration as done:
            result: T = done.value
            return result
        except MalformedReply as garbage:
            raise bad_reply(garbage, call.is_write or call.is_fast) from garbage

    def _write(self, call: Call, deadline_s: float) -> bytes:
        while True:
            line, write = self._begin(call.key, deadline_s)
            is_answered = False
            try:
                reply = self._exchange(call, deadline_s, write)
                is_answered = True
                return reply
            except StartOver:
                line.forgotten(write)
            finally:
                self._end(line, write, is_answered)

    def _exchange(self, call: Call, deadline_s: float, write: Write | None = None) -> bytes:
        exchange: Exchange | None = None
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise out_of_time(self._timeout_s, exchange)
            message = call.message if write is None else call.message + write.fields()
            code, text, details, reply, fate = self._channel.call(call.path, message, to_ms(left_s))
            if code == 0:
                self._budget.earn()
                return reply
            exchange = exchange or Exchange(call.path, write, self._budget, is_once=call.is_fast)
            time.sleep(exchange.failed(Answer(code, text, details, reply, fate), deadline_s - time.monotonic()))

    def _begin(self, key: bytes, deadline_s: float) -> tuple[WriteLine, Write]:
        with self._turn:
            line = self._lines.of(key)
            while (write := line.begin()) is None:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise DeadlineExceeded("other writes of this client took all the time")
                self._waiting += 1
                self._turn.wait(left_s)
                self._waiting -= 1
            return line, write

    def _end(self, line: WriteLine, write: Write, is_answered: bool) -> None:
        with self._turn:
            line.end(write, is_answered)
            if self._waiting:
                self._turn.notify_all()

    def _read(self, cursor: Cursor[T]) -> Generator[T, None, None]:
        """Stream after stream until the cursor is done. Time and attempts count from the last thing that came."""
        exchange, deadline_s = self._patience(cursor)
        while not cursor.is_done:
            failure, has_moved = yield from self._read_one(cursor)
            if has_moved or failure is None:
                exchange, deadline_s = self._patience(cursor)
            if failure is not None:
                time.sleep(exchange.failed(failure, deadline_s - time.monotonic()))

    def _patience(self, cursor: Cursor[T]) -> tuple[Exchange, float]:
        return Exchange(cursor.path, None, self._budget), time.monotonic() + self._timeout_s

    def _read_one(self, cursor: Cursor[T]) -> Generator[T, None, tuple[Answer | None, bool]]:
        """One stream; returns how it failed, if it did, and whether anything had come."""
        has_moved, end = False, None
        with _cancelled_at_end(self._channel.stream(cursor.path, cursor.request(), NO_DEADLINE)) as stream:
            while end is None and not cursor.is_done:
                messages, end = stream.next(MESSAGES_MAX, to_ms(self._timeout_s))
                if messages:
                    has_moved = True
                    yield from whole(cursor.take, messages)
                elif end is None:
                    raise DeadlineExceeded(f"nothing came for {self._timeout_s:g} s")
        if end is not None and end[0] != Code.OK:
            return failed_stream(end), has_moved
        self._budget.earn()
        if end is not None:
            cursor.ended()
        return None, has_moved

    def _forked(self) -> None:
        self._start_writing()


@contextmanager
def _cancelled_at_end(stream: Stream) -> Iterator[Stream]:
    try:
        yield stream
    finally:
        stream.cancel()


_living: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _after_fork() -> None:
    for client in _living:
        client._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
