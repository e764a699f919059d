"""One connection over which calls go by the batch: what is sent together crosses together, as does what has ended."""

import select
import socket
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from dkv.client.answers import Answer, Fate, error_of
from dkv.edge import EdgeClient, EdgeLoopClient
from dkv.model.errors import Code, InvalidRequest, Unavailable
from dkv.wire import methods

CALL_MS_MAX = 10_000
"""What clients of the original give a call."""
CONNECT_MS_MAX = 5_000
REFUSED_MS_MAX = 300
"""Where nobody listens, as dkvctl."""
REPLY_BYTES_MAX = 52_428_800
_RINGS_MAX = 4_096

Call = tuple[int, bytes]
"""Its number, and its message."""


class Ended(NamedTuple):
    """What ended together."""

    ids: list[int]
    replies: list[bytes]
    """Of the calls that went well, side by side with their numbers."""
    failures: list[tuple[int, Answer]]


class Channel(Protocol):
    """What a load needs of its connection."""

    def send(self, path: str, calls: list[Call], /) -> None: ...
    def take(self, wait_s: float, /) -> Ended: ...


class BatchChannel:
    """Owns the native client and the sockets by which it rings. Connected from the beginning, or a DkvError."""

    def __init__(self, address: str) -> None:
        _connect(address)
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._native = EdgeLoopClient(address, self._rung.fileno(), reply_bytes_max=REPLY_BYTES_MAX)
        try:
            self._greet()
        except BaseException:
            self.close()
            raise

    def send(self, path: str, calls: list[Call], /) -> None:
        self._native.send([(number, path, message, CALL_MS_MAX) for number, message in calls])

    def take(self, wait_s: float, /) -> Ended:
        """What has ended; waits until something has, at most so long."""
        if not select.select([self._bell], [], [], wait_s)[0]:
            return Ended([], [], [])
        self._bell.recv(_RINGS_MAX)
        ids, replies, failures, _ = self._native.take()
        told = [(number, Answer(code, text, details, b"", fate)) for number, code, text, details, fate in failures]
        return Ended(ids, replies, told)

    def close(self) -> None:
        """Calls that are under way are cancelled."""
        self._native.close()
        self._bell.close()
        self._rung.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _greet(self) -> None:
        """One call that nobody measures makes the connection. Any answer of the server's will do."""
        self.send(methods.HEALTH_CHECK_PATH, [(0, b"")])
        ended = self.take(CALL_MS_MAX / 1_000)
        for _, answer in ended.failures:
            if answer.fate != Fate.ANSWERED:
                raise error_of(answer)


def _connect(address: str) -> None:
    """Says at once and in words that there is no server. Raises Unavailable, InvalidRequest when it is no address."""
    try:
        client = EdgeClient(address)
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    try:
        client.connect(CONNECT_MS_MAX, REFUSED_MS_MAX)
    except ConnectionError as error:
        raise Unavailable(str(error)) from error
    finally:
        client.close()


def is_unanswered(answer: Answer) -> bool:
    """Whether it is this side that speaks of a failure: the server said nothing."""
    return answer.fate != Fate.ANSWERED and answer.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)
