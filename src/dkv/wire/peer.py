"""What nodes say to each other: a message is a list of parts. Layout in docs/formats/peer.md.

No protobuf: a turn of a thousand groups packs and parses thousands of parts. Both ends are nodes of one cluster, but
not of one release, and a stream may break anywhere: everything is checked, and nothing is allocated from a count that
the bytes only claim.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from dkv.model.errors import InvalidRequest

_PART, _NUMBER, _NUMBERS = Struct(">BII"), Struct(">Q"), Struct(">QQ")
_PLACE = Struct(">IQQ")
_CALLS, _LENGTH, _ANSWER = Struct(">QBI"), Struct(">I"), Struct(">QBiII")


class Kind(IntEnum):
    """On the wire between releases: do not renumber."""

    RAFT = 1
    READ_INDEX = 2
    READ_INDEX_REPLY = 3
    CALLS = 4
    READ_INDEX_LOST = 5
    ANSWERS = 6
    SNAPSHOT_OFFER = 7
    SNAPSHOT_CHUNK = 8
    SNAPSHOT_RECEIVED = 9
    SNAPSHOT_DONE = 10
    CHANGE = 11
    TRANSFER = 12
    NODES = 13
    SLEEP = 14
    REMOVED = 15
    STAGE_OFFER = 16
    STAGE_CHUNK = 17
    STAGE_RECEIVED = 18
    STAGE_DONE = 19
    STAGE_DROP = 20
    STAGE_HELD = 21
    SNAPSHOT_WANTED = 22
    CLOCK_ASKED = 23
    CLOCK_TOLD = 24


Part = tuple[int, int, bytes]
"""(kind, vBucket, body). Kinds that a release does not know are passed over."""


class Answer(NamedTuple):
    """How one call ended that another node had handed over."""

    number: int
    """What the other node calls it."""
    code: int
    retry_after_ms: int
    """-1: nothing is said."""
    reason: bytes
    payload: bytes
    """The reply of a call that is well; else a serialised google.rpc.Status, or nothing."""


_RAFT_FROM = 3 << 3
"""Tag of eraftpb.Message.from: as the two fields before it, a varint."""
MESSAGE_BYTES = 1 << 20
"""What fills a message: small beside what a link holds, so that what it has to drop is little."""


def pack(parts: Iterable[Part]) -> bytes:
    """One message."""
    head = _PART.pack
    pieces: list[bytes] = []
    for kind, vbucket, body in parts:
        pieces += head(kind, vbucket, len(body)), body
    return b"".join(pieces)


def pack_all(parts: Sequence[Part]) -> list[bytes]:
    """The parts in messages, in order. A message that is full takes no more; a part is never split."""
    return [pack(parts[span]) for span in spans(len(body) for _, _, body in parts)]


def spans(sizes: Iterable[int]) -> Iterator[slice]:
    """How to cut a list of items of these sizes: each slice but the last is a message's worth, and not an item more."""
    low, high, size = 0, 0, 0
    for high, each in enumerate(sizes, 1):
        size += each
        if size >= MESSAGE_BYTES:
            yield slice(low, high)
            low, size = high, 0
    if low < high:
        yield slice(low, high)


def parse(message: bytes) -> list[Part]:
    """The parts of a message. Raises InvalidRequest."""
    parts: list[Part] = []
    unpack, head_bytes, at, end = _PART.unpack_from, _PART.size, 0, len(message)
    try:
        while at < end:
            kind, vbucket, length = unpack(message, at)
            at += head_bytes + length
            parts.append((kind, vbucket, message[at - length : at]))
    except struct_error:
        at = end + 1
    if at != end:
        raise InvalidRequest(f"a peer's message of {end} bytes ends inside a part")
    return parts


def pack_number(request_id: int) -> bytes:
    """The body of READ_INDEX, READ_INDEX_LOST and CLOCK_ASKED."""
    return _NUMBER.pack(request_id)


def parse_number(body: bytes) -> int:
    return _unpack(_NUMBER, body)[0]


def pack_numbers(request_id: int, index: int) -> bytes:
    """The body of READ_INDEX_REPLY and CLOCK_TOLD."""
    return _NUMBERS.pack(request_id, index)


def parse_numbers(body: bytes) -> tuple[int, int]:
    request_id, index = _unpack(_NUMBERS, body)
    return request_id, index


def pack_change(changes: Sequence[tuple[int, int]], context: bytes) -> bytes:
    """The body of CHANGE: (kind, replica) each, and what goes with them. That of TRANSFER is a number, the replica."""
    pieces = [_NUMBER.pack(replica) + bytes((kind,)) for kind, replica in changes]
    return bytes((len(changes),)) + b"".join(pieces) + context


def parse_change(body: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """(changes, context). Raises InvalidRequest."""
    size = 9 * body[0] + 1 if body else 0
    if not size or len(body) < size:
        raise InvalidRequest(f"a change of members of {len(body)} bytes ends early")
    found = [(body[at + 8], _NUMBER.unpack_from(body, at)[0]) for at in range(1, size, 9)]
    return found, body[size:]


def pack_places(places: Iterable[tuple[int, int, int]]) -> bytes:
    """The body of SLEEP: (vBucket, term, last index) each."""
    return b"".join([_PLACE.pack(*place) for place in places])


def parse_places(body: bytes) -> list[tuple[int, int, int]]:
    """Raises InvalidRequest."""
    if len(body) % _PLACE.size:
        raise InvalidRequest(f"places of {len(body)} bytes end inside one")
    return list(_PLACE.iter_unpack(body))


def pack_calls(path: str, first_number: int, messages: Sequence[bytes]) -> bytes:
    """The body of CALLS: calls of one method, numbered from `first_number` on."""
    name = path.encode()
    pieces = [_CALLS.pack(first_number, len(name), len(messages)), name]
    for message in messages:
        pieces += _LENGTH.pack(len(message)), message
    return b"".join(pieces)


def parse_calls(body: bytes) -> tuple[str, int, list[bytes]]:
    """(path, first number, messages). Raises InvalidRequest."""
    messages: list[bytes] = []
    try:
        first_number, name_bytes, count = _CALLS.unpack_from(body)
        at = _CALLS.size + name_bytes
        path = body[_CALLS.size : at].decode()
        for _ in range(count):
            length = _LENGTH.unpack_from(body, at)[0]
            at += _LENGTH.size + length
            messages.append(body[at - length : at])
    except (struct_error, UnicodeDecodeError):
        at = -1
    if at != len(body):
        raise InvalidRequest(f"calls of {len(body)} bytes do not end where they say")
    return path, first_number, messages


def pack_answers(answers: Iterable[Answer]) -> bytes:
    """The body of ANSWERS."""
    pieces: list[bytes] = []
    for number, code, retry_after_ms, reason, payload in answers:
        pieces += _ANSWER.pack(number, code, retry_after_ms, len(reason), len(payload)), reason, payload
    return b"".join(pieces)


def parse_answers(body: bytes) -> list[Answer]:
    """Raises InvalidRequest."""
    answers: list[Answer] = []
    at, end = 0, len(body)
    try:
        while at < end:
            number, code, retry_after_ms, reason_bytes, payload_bytes = _ANSWER.unpack_from(body, at)
            reason_at = at + _ANSWER.size
            payload_at = reason_at + reason_bytes
            at = payload_at + payload_bytes
            answers.append(Answer(number, code, retry_after_ms, body[reason_at:payload_at], body[payload_at:at]))
    except struct_error:
        at = end + 1
    if at != end:
        raise InvalidRequest(f"answers of {end} bytes end inside one")
    return answers


def _unpack(shape: Struct, body: bytes) -> tuple[int, ...]:
    try:
        return shape.unpack(body)
    except struct_error:
        raise InvalidRequest(f"a part of {len(body)} bytes where {shape.size} belong") from None


def raft_sender(message: bytes) -> int:
    """The replica that sent a message of Raft; 0: it does not say. Fields are in order, varints up to this one."""
    at = 0
    while at < len(message) and message[at] <= _RAFT_FROM and message[at] & 7 == 0:
        tag, value, shift, at = message[at], 0, 0, at + 1
        while at < len(message) and shift < 64:
            byte, at = message[at], at + 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag == _RAFT_FROM:
            return value
    return 0
