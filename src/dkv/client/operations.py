"""The original's operations as methods: bytes in, bytes out, one call each. Every read is linearizable.

Every method raises RpcError when the call failed; a missing key and a failed compare are results.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import NamedTuple, Protocol

from dkv.client.errors import IterateRefused
from dkv.wire import messages as pb
from dkv.wire import methods


class Calls(Protocol):
    """What operations need of a channel; tests bring their own."""

    def call(self, path: str, request: bytes, /) -> bytes: ...
    def stream(self, path: str, request: bytes, /) -> Generator[bytes, None, None]: ...


class Pair(NamedTuple):
    key: bytes
    value: bytes
    expires_at: int
    """Absolute seconds; 0: never."""


class Client:
    """Operations on keys over one channel, which it does not own."""

    def __init__(self, channel: Calls) -> None:
        self._channel = channel

    def put(self, key: bytes, value: bytes, expires_at: int = 0) -> None:
        request = pb.PutRequest(key=key, value=value, expireTS=expires_at)
        self._channel.call(methods.PUT_PATH, request.SerializeToString())

    def get(self, key: bytes) -> bytes:
        """The value; empty for a missing key, too."""
        request = pb.GetRequest(key=key, readConsistency=pb.ReadConsistency.LINEARIZABLE)
        return pb.GetResponse.FromString(self._channel.call(methods.GET_PATH, request.SerializeToString())).value

    def delete(self, key: bytes) -> None:
        self._channel.call(methods.DELETE_PATH, pb.DeleteRequest(key=key).SerializeToString())

    def multi_get(self, keys: Sequence[bytes]) -> list[Pair]:
        """The pairs that exist, in the order of `keys`."""
        request = pb.MultiGetRequest(keys=keys, readConsistency=pb.ReadConsistency.LINEARIZABLE)
        reply = pb.MultiGetResponse.FromString(self._channel.call(methods.MULTI_GET_PATH, request.SerializeToString()))
        return [Pair(pair.key, pair.value, pair.expireTS) for pair in reply.keyValues]

    def multi_put(self, pairs: Iterable[Pair]) -> None:
        """All or nothing, in order."""
        puts = [pb.PutRequest(key=pair.key, value=pair.value, expireTS=pair.expires_at) for pair in pairs]
        self._channel.call(methods.MULTI_PUT_PATH, pb.MultiPutRequest(putRequest=puts).SerializeToString())

    def compare_and_set(self, key: bytes, old: bytes, new: bytes, expires_at: int = 0) -> bool:
        """Whether `new` was written. An empty `old` stands for an absent key, too."""
        request = pb.CompareAndSetRequest(key=key, oldValue=old, newValue=new, expireTS=expires_at)
        reply = self._channel.call(methods.COMPARE_AND_SET_PATH, request.SerializeToString())
        return pb.CompareAndSetResponse.FromString(reply).updated

    def iterate(
        self, prefix: bytes = b"", start: bytes = b"", *, limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Live pairs in byte order from `start` on, as of the beginning of the call; `limit` 0 is all of them.

        Raises IterateRefused for a `start` outside `prefix`. Servers of the original ignore limit and order: the limit
        is kept here as well, and pairs in the wrong order are refused.
        """
        request = pb.IterateRequest(keyPrefix=prefix, startKey=start, limit=limit, reverse=reverse)
        count, last_key = 0, b""
        with closing(self._channel.stream(methods.ITERATE_PATH, request.SerializeToString())) as messages:
            for message in messages:
                reply = pb.IterateResponse.FromString(message)
                if reply.status.code != 0:
                    raise IterateRefused(reply.status.message)
                if reverse and count and reply.key > last_key:
                    raise IterateRefused("this server does not know reverse order")
                yield reply.key, reply.value
                count, last_key = count + 1, reply.key
                if count == limit:
                    return
