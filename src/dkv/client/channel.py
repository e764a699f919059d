"""One blocking connection: request bytes in, reply bytes out. Knows paths and codes, no messages.

Owns a native client, which reconnects by itself and may be used by several threads.
"""

from collections.abc import Generator
from types import TracebackType
from typing import Self

from dkv.client.errors import RpcError

REPLY_BYTES_MAX = 52_428_800
"""What the Go client accepts."""
CONNECT_TIMEOUT_MS = 5_000
CALL_TIMEOUT_MS = 10_000
NO_DEADLINE = -1
_STREAM_BATCH = 1_024


class Channel:
    """A connection to `address` (host:port, or unix:/path). `authority` is sent as `:authority`, for proxies."""

    def __init__(self, address: str, authority: str | None = None, timeout_ms: int = CALL_TIMEOUT_MS) -> None:
        from dkv.edge import EdgeClient  # The native module is loaded by whoever connects.

        self._timeout_ms = timeout_ms
        self._native = EdgeClient(address, authority=authority, reply_bytes_max=REPLY_BYTES_MAX)

    def connect(self, timeout_ms: int = CONNECT_TIMEOUT_MS) -> None:
        """Wait until the connection is up. Raises ConnectionError when it does not come up in time."""
        self._native.connect(timeout_ms)

    def call(self, path: str, request: bytes) -> bytes:
        """The reply of a unary call. Raises RpcError."""
        code, message, details, reply = self._native.call(path, request, self._timeout_ms)
        if code != 0:
            raise RpcError(code, message, details)
        return reply

    def stream(self, path: str, request: bytes) -> Generator[bytes, None, None]:
        """The messages of a streamed reply, without a deadline. Raises RpcError after the last one that came.

        A reader that stops early cancels the call.
        """
        stream = self._native.stream(path, request, NO_DEADLINE)
        try:
            end = None
            while end is None:
                messages, end = stream.next(_STREAM_BATCH)
                yield from messages
            code, message, details = end
            if code != 0:
                raise RpcError(code, message, details)
        finally:
            stream.cancel()

    def close(self) -> None:
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
