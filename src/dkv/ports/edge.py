"""The network edge: calls come in batches and are answered in batches. Shapes as in `dkv._native.pyi`."""

from typing import NamedTuple, Protocol

CallBatch = tuple[int, list[int], list[bytes]]
"""(method number, call ids, messages), in order of arrival."""
HttpRequest = tuple[int, str, str, bytes]
"""(call id, HTTP method, path with query, body)"""
Finish = tuple[int, int, str, bytes, int]
"""(call id, gRPC code, message, serialised google.rpc.Status or b"", retry delay in ms or -1)"""
HttpReply = tuple[int, int, str, bytes, bool]
"""(call id, status, content type, body, whether more of the body follows under the same id)"""
Polled = tuple[list[CallBatch], list[int], list[tuple[int, int]], list[HttpRequest]]
"""(calls, closed call ids, (call id, bytes still buffered) of drained streams, HTTP requests)"""


class EndedCall(NamedTuple):
    """A call whose reply has left, or whose caller has. The edge makes plain tuples of this shape."""

    unix_ms: int
    """When it ended."""
    method: str
    code: int
    received_s: float
    """From its headers to its whole request ..."""
    served_s: float
    """... from there to its answer ..."""
    sent_s: float
    """... and from there to the end of its reply."""
    request_bytes: int
    reply_bytes: int
    peer: str


class Edge(Protocol):
    """Where the node waits, and the only place where it does."""

    def poll(self, timeout_ms: int, calls_max: int) -> Polled: ...
    def emit(
        self,
        call_ids: list[int],
        messages: list[bytes],
        items: list[tuple[int, list[bytes]]],
        finished: list[Finish],
        http: list[HttpReply],
    ) -> None:
        """Unary successes as two columns, stream messages, ends with a status, HTTP replies; one crossing."""

    def stats(self) -> dict[str, object]: ...
    def stop_accepting(self) -> None: ...
    def open_calls(self) -> int: ...
