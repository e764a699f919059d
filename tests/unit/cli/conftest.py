"""A server in memory that speaks messages: what dkvctl's tests connect to."""

from collections.abc import Generator
from types import TracebackType
from typing import Any, Self

import pytest

from dkv.client import RpcError
from dkv.wire import messages as pb
from dkv.wire import methods


class FakeServer:
    """A channel to itself. `replies` overrules a method; a path in `failures` raises its error."""

    def __init__(self, pairs: dict[bytes, bytes] | None = None) -> None:
        self.pairs = dict(pairs or {})
        self.expiries: dict[bytes, int] = {}
        self.requests: list[tuple[str, bytes]] = []
        self.knows_reverse = True
        self.replies: dict[str, Any] = {}
        self.failures: dict[str, RpcError] = {}

    def call(self, path: str, request: bytes) -> bytes:
        self.requests.append((path, request))
        if path in self.failures:
            raise self.failures[path]
        reply = self.replies.get(path)
        answer: bytes = self._answer(path, request) if reply is None else reply.SerializeToString()
        return answer

    def _answer(self, path: str, request: bytes) -> bytes:
        if path == methods.PUT_PATH:
            put = pb.PutRequest.FromString(request)
            self.pairs[put.key] = put.value
        elif path == methods.MULTI_PUT_PATH:
            self.pairs.update({put.key: put.value for put in pb.MultiPutRequest.FromString(request).putRequest})
        elif path == methods.DELETE_PATH:
            self.pairs.pop(pb.DeleteRequest.FromString(request).key, None)
        elif path == methods.GET_PATH:
            value = self.pairs.get(pb.GetRequest.FromString(request).key, b"")
            return pb.GetResponse(value=value).SerializeToString()
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
            self.pairs[cas.key], self.expiries[cas.key] = cas.newValue, cas.expireTS
        return pb.CompareAndSetResponse(updated=is_equal).SerializeToString()

    def stream(self, path: str, request: bytes) -> Generator[bytes, None, None]:
        self.requests.append((path, request))
        if path in self.failures:
            raise self.failures[path]
        asked = pb.IterateRequest.FromString(request)
        if not asked.startKey.startswith(asked.keyPrefix) and asked.startKey:
            yield pb.IterateResponse(status=pb.Status(code=-1, message="StartKey must have ...")).SerializeToString()
            return
        for key, value in sorted(self.pairs.items(), reverse=asked.reverse and self.knows_reverse):
            if key.startswith(asked.keyPrefix) and key >= asked.startKey:
                yield pb.IterateResponse(key=key, value=value).SerializeToString()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


@pytest.fixture
def server() -> FakeServer:
    """Three pairs, one of them not text."""
    return FakeServer({b"a": b"1", b"ab": b"2", b"b": b"\xff\x00"})
