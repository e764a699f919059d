"""The four benchmarks of the original: which calls they make, with which keys.

| name | call number i | keys |
|---|---|---|
| Insert | Put | NewKey{i} |
| Update | Put | ExistingKey{i mod hot} |
| Get | Get | ExistingKey{i mod hot} |
| GetAll | MultiGet | the next `batch` of the hot keys, behind the last one the first again |

Reads ask for what the node has (SEQUENTIAL) and writes carry no session, as those of the original's clients.
"""

from collections.abc import Callable
from typing import NamedTuple

from dkv.wire import methods, replies, requests

NAMES = ("Insert", "Update", "Get", "GetAll")


class Shape(NamedTuple):
    """How large it is to be."""

    value_bytes: int = 10
    hot_keys: int = 100
    batch_keys: int = 10


class Workload(NamedTuple):
    """Calls to one method."""

    path: str
    title: str
    """As the original says it."""
    request: Callable[[int], bytes]
    """The message of call number i, from 0."""
    keys_per_call: int
    found: Callable[[bytes], int] | None
    """How many of a call's keys a reply has; None: it is a write."""


class UnknownName(ValueError):
    """There is no such benchmark."""


class BadShape(ValueError):
    """A benchmark of that shape cannot be."""


def workload(name: str, shape: Shape, chance: Callable[[int], bytes]) -> Workload:
    """`name` in any case; `chance` makes so many random bytes."""
    made = {"insert": _insert, "update": _update, "get": _get, "getall": _get_all}.get(name.strip().lower())
    if made is None:
        raise UnknownName(f"Unknown or invalid benchmark name given: '{name}'")
    return made(shape, chance)


def _insert(shape: Shape, chance: Callable[[int], bytes]) -> Workload:
    value = _values(shape.value_bytes, chance)
    title = f"API: dkv.serverpb.DKV.Put, Value Size: {shape.value_bytes} bytes"
    return Workload(methods.PUT_PATH, title, lambda i: requests.put(b"NewKey%d" % i, value(i)), 1, None)


def _update(shape: Shape, chance: Callable[[int], bytes]) -> Workload:
    value, hot = _values(shape.value_bytes, chance), shape.hot_keys
    title = f"API: dkv.serverpb.DKV.Put, Value Size: {shape.value_bytes} bytes, Hot Keys: {hot}"
    return Workload(methods.PUT_PATH, title, lambda i: requests.put(_hot_key(i % hot), value(i)), 1, None)


def _get(shape: Shape, _chance: Callable[[int], bytes]) -> Workload:
    hot = shape.hot_keys
    title = f"API: dkv.serverpb.DKV.Get, Hot Keys: {hot}"
    return Workload(methods.GET_PATH, title, lambda i: requests.get(_hot_key(i % hot)), 1, _is_found)


def _get_all(shape: Shape, _chance: Callable[[int], bytes]) -> Workload:
    hot, batch = shape.hot_keys, shape.batch_keys
    if batch > hot:
        raise BadShape(
            "Batch size must be less than or equal to the number of hot keys. "
            f"Given batchSize: {batch}, numHotKeys: {hot}"
        )

    def request(i: int) -> bytes:
        return requests.multi_get([_hot_key(j % hot) for j in range(i * batch, (i + 1) * batch)])

    title = f"API: dkv.serverpb.DKV.MultiGet, Hot Keys: {hot}, Batch Size: {batch}"
    return Workload(methods.MULTI_GET_PATH, title, request, batch, lambda reply: len(replies.multi_get(reply)))


def _hot_key(number: int) -> bytes:
    return b"ExistingKey%d" % number


def _is_found(reply: bytes) -> int:
    return int(replies.value_of(reply) is not None)


def _values(size: int, chance: Callable[[int], bytes]) -> Callable[[int], bytes]:
    """Random bytes, other ones for each call: all are cut from one piece, each a byte further on."""
    places = 4_096
    piece = chance(size + places)
    return lambda i: piece[i % places : i % places + size]
