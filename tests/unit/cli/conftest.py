"""A server in memory that speaks messages: what dkvctl's tests connect to."""

from typing import Any

import pytest

from dkv.client.sync import CallResult, Client, StreamPart
from dkv.wire import messages as pb
from dkv.wire import methods


class FakeStream:
    """Everything at once, then the end."""

    def __init__(self, messages: list[bytes], end: tuple[int, str]) -> None:
        self._messages, self._end = messages, end

    def next(self, messages_max: int, timeout_ms: int) -> StreamPart:
        messages, self._messages = self._messages, []
        return (messages, None) if messages else ([], (*self._end, b"", 0))

    def cancel(self) -> None:
        pass


class FakeServer:
    """A channel to itself. `replies` overrules a method; a path in `failures` is answered with its code and text."""

    def __init__(self, pairs: dict[bytes, bytes] | None = None) -> None:
        self.pairs = dict(pairs or {})
        self.expiries: dict[bytes, int] = {}
        self.requests: list[tuple[str, bytes]] = []
        self.knows_reverse = True
        self.replies: dict[str, Any] = {}
        self.failures: dict[str, tuple[int, str]] = {}

    def client(self) -> Client:
        """With too little time for a second attempt."""
        return Client(self, timeout_s=0.01)

    def call(self, path: str, request: bytes, timeout_ms: int) -> CallResult:
        self.requests.append((path, request))
        if path in self.failures:
            return (*self.failures[path], b"", b"", 0)
        if path == methods.GET_MEMBERS_PATH and path not in self.replies:
            return 12, "unknown method", b"", b"", 0  # it stands alone
        reply = self.replies.get(path)
        return 0, "", b"", self._answer(path, request) if reply is None else reply.SerializeToString(), 0

    def _answer(self, path: str, request: bytes) -> bytes:
        if path == methods.PUT_PATH:
            put = pb.PutRequest.FromString(request)
            self.pairs[put.key] = put.value
        elif path == methods.MULTI_PUT_PATH:
            self.pairs.update({put.key: put.value for put in pb.MultiPutRequest.FromString(request).putRequest})
        elif path == methods.DELETE_PATH:
            self.pairs.pop(pb.DeleteRequest.FromString(request).key, None)
        elif path == methods.GET_PATH:
            key = pb.GetRequest.FromString(request).key
            found, expiry = key in self.pairs, self.expiries.get(key, 0)
            return pb.GetResponse(value=self.pairs.get(key, b""), found=found, expireTS=expiry).SerializeToString()
        elif path == methods.MULTI_GET_PATH:
            keys = [key for key in pb.MultiGetRequest.FromString(request).keys if key in self.pairs]
            found = [pb.KVPair(key=key, value=self.pairs[key], expireTS=self.expiries.get(key, 0)) for key in keys]
            return pb.MultiGetResponse(keyValues=found).SerializeToString()
        elif path == methods.COMPARE_AND_SET_PATH:
            return self._compare_and_set(pb.CompareAndSetRequest.FromString(request))
        return b""

    def _compare_and_set(self, cas: Any) -> bytes:
        is_equal = self.pairs.get(cas.key, b"") == cas.oldValue
        if is_equal:
            self.pairs[cas.key], self.expiries[cas.key] = cas.newValue, cas.ttlMs // 1_000
        return pb.CompareAndSetResponse(updated=is_equal).SerializeToString()

    def stream(self, path: str, request: bytes, timeout_ms: int) -> FakeStream:
        self.requests.append((path, request))
        if path in self.failures:
            return FakeStream([], self.failures[path])
        if path != methods.ITERATE_PATH:
            if path not in self.replies:
                return FakeStream([], (12, f"unknown method {path}"))
            return FakeStream([reply.SerializeToString() for reply in self.replies[path]], (0, ""))
        return FakeStream([reply.SerializeToString() for reply in self._iterate(request)], (0, ""))

    def _iterate(self, request: bytes) -> list[Any]:
        asked = pb.IterateRequest.FromString(request)
        if not asked.startKey.startswith(asked.keyPrefix) and asked.startKey:
            return [pb.IterateResponse(status=pb.Status(code=-1, message="StartKey must have ..."))]
        pairs = sorted(self.pairs.items(), reverse=asked.reverse and self.knows_reverse)
        return [
            pb.IterateResponse(key=key, value=value)
            for key, value in pairs
            if key.startswith(asked.keyPrefix) and key >= asked.startKey
        ]

    def connect(self, timeout_ms: int, refused_ms: int | None = None) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def server() -> FakeServer:
    """Three pairs, one of them not text."""
    return FakeServer({b"a": b"1", b"ab": b"2", b"b": b"\xff\x00"})
