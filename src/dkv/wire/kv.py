"""The hot messages by hand: what protobuf's objects would cost 1-2 microseconds a call costs a few tenths here.

Parsers take only the plain form that nearly every client sends (the leading fields, minimal lengths, nothing else) and
say None to all else, which then goes through the message classes. Encoders write all of a reply that is the same for
every call of a turn once. Property tests hold both to the message classes, byte for byte.
"""

from collections.abc import Iterable, Sequence

from dkv.wire.varint import tag, varint

STATUS_OK = b"\x0a\x00"
"""An explicitly present, empty `status`: every reply begins with it (clients dereference it unchecked)."""
PLAIN_BYTES_MAX = 16_000
"""Larger requests are rare enough for the message classes, and copying outweighs parsing."""

_LENGTH = [varint(length) for length in range(16_384)]
_PAIR_VALUE = [b"", *(b"\x12" + length for length in _LENGTH[1:])]
"""Head of the value of a pair, by its length."""
SESSION_BYTES_MAX = 16
_SESSION, _SEQUENCE, _LOWEST = tag(110, 2), tag(111, 0), tag(112, 0)
_SESSION_HEADS = frozenset(_SESSION + bytes((length,)) for length in range(1, SESSION_BYTES_MAX + 1))
_VALUE = [STATUS_OK + head for head in _PAIR_VALUE]
"""Head of a GetResponse, by length of its value."""
_VALUE_LONG = STATUS_OK + b"\x12"
_FOUND = tag(100, 0) + b"\x01"
_GET_EXPIRY = tag(101, 0)
_GET_APPLIED = tag(102, 0)
_SERVED_LINEARIZABLE = tag(103, 0) + b"\x01"
_GET_STALENESS = tag(104, 0)
_CHANGE_NUMBER = tag(100, 0)
_HISTORY_ID = tag(101, 2)
_LOG_TIME = tag(102, 0)
_PAIR_EXPIRY = tag(100, 0)
_UPDATED = b"\x10\x01"
_CHANGED = [STATUS_OK + _CHANGE_NUMBER + bytes((low | 0x80,)) for low in range(128)]
"""Head of a write's reply, by the low seven bits of a change number of at least 128."""


def plain_get_key(message: bytes) -> bytes | None:
    """The key of a GetRequest that has only a key of 1 to 127 bytes."""
    length = len(message)
    if 3 <= length <= 129 and message[0] == 0x0A and message[1] == length - 2:
        return message[2:]
    return None


def plain_put(message: bytes) -> tuple[bytes, bytes] | None:
    """(key, value) of a PutRequest that has only a key of 1 to 127 bytes and a value of 1 to 16,383."""
    length = len(message)
    if length < 6 or message[0] != 0x0A or not 1 <= message[1] <= 127:
        return None
    key_end = message[1] + 2
    if length < key_end + 3 or message[key_end] != 0x12:
        return None
    value_length = message[key_end + 1]
    if value_length < 128:
        value_start = key_end + 2
    else:
        value_start, high = key_end + 3, message[key_end + 2]
        if not 0 < high < 128:
            return None
        value_length += (high << 7) - 128
    if not value_length or value_start + value_length != length:
        return None
    return message[2:key_end], message[value_start:]


def plain_put_in_session(message: bytes) -> tuple[bytes, bytes, tuple[bytes, int, int]] | None:
    """(key, value, (session, sequence, lowest outstanding)) of a PutRequest that is plain but for its fields 110 to
    112, which are right: what our own clients send."""
    try:
        key_end = message[1] + 2
        start, size = key_end + 2, message[key_end + 1]
        if message[0] != 0x0A or not 2 < key_end < 130 or message[key_end] != 0x12 or not size:
            return None
        if size > 127:
            high, start = message[start], start + 1
            if not 0 < high < 128:
                return None
            size += (high << 7) - 128
        end = start + size
        name_at, at = end + 3, end + 3 + message[end + 2]
        if message[end:name_at] not in _SESSION_HEADS or message[at : at + 2] != _SEQUENCE:
            return None
        sequence, after = _number(message, at + 2)
        lowest = 0
        if after < len(message):
            if message[after : after + 2] != _LOWEST:
                return None
            lowest, after = _number(message, after + 2)
    except IndexError:  # it ends before it says all that
        return None
    if after != len(message) or not lowest <= sequence or not sequence:
        return None
    return message[2:key_end], message[start:end], (message[name_at:at], sequence, lowest)


def _number(message: bytes, at: int) -> tuple[int, int]:
    """A varint of at most five bytes, and where it ends; 0 when it is longer. IndexError when it does not end."""
    number = shift = 0
    while shift < 35:
        byte = message[at]
        at += 1
        if byte < 0x80:
            return number | byte << shift, at
        number |= (byte & 0x7F) << shift
        shift += 7
    return 0, at


def read_token(applied: int, is_linearizable: bool, staleness_ms: int) -> bytes:
    """End of a read's reply: latest change number applied, the consistency served, and how old the state may be."""
    token = _GET_APPLIED + varint(applied) if applied else b""
    if is_linearizable:
        return token + _SERVED_LINEARIZABLE
    return token + _GET_STALENESS + varint(staleness_ms) if staleness_ms else token


def get_reply(value: bytes, expire_ts: int, token: bytes) -> bytes:
    """A GetResponse of a key that is present."""
    size = len(value)
    head = _VALUE[size] if size < 16_384 else _VALUE_LONG + varint(size)
    expiry = _GET_EXPIRY + varint(expire_ts) if expire_ts else b""
    return b"".join((head, value, _FOUND, expiry, token))


def missing_reply(token: bytes) -> bytes:
    """A GetResponse of a key that is absent."""
    return STATUS_OK + token


def get_replies(rows: Iterable[bytes | None], token: bytes) -> list[bytes | None]:
    """GetResponses of rows; None for a row that has an expiry or is damaged, which the caller looks at."""
    heads, missing, tail = _VALUE, STATUS_OK + token, _FOUND + token
    return [
        missing
        if row is None
        else (heads[len(row) - 1] + row[1:] + tail if len(row) <= 16_384 else get_reply(row[1:], 0, token))
        if row and row[0] == 0
        else None
        for row in rows
    ]


def change_token(history_id: bytes, log_time: int) -> bytes:
    """End of a write's reply: what is the same for all writes of an entry."""
    history = _HISTORY_ID + varint(len(history_id)) + history_id if history_id else b""
    return history + _LOG_TIME + varint(log_time) if log_time else history


def put_replies(change_numbers: Sequence[int], token: bytes) -> list[bytes]:
    """PutResponses (also Delete and DeleteRange) in order. Neighbours share all but their low seven bits."""
    if not change_numbers:
        return []
    if len(change_numbers) == 1 or min(change_numbers) < 128:
        return [put_reply(number, token) for number in change_numbers]
    tails = {high: varint(high) + token for high in {number >> 7 for number in change_numbers}}
    return [_CHANGED[number & 0x7F] + tails[number >> 7] for number in change_numbers]


def put_reply(change_number: int, token: bytes) -> bytes:
    return STATUS_OK + (_CHANGE_NUMBER + varint(change_number) if change_number else b"") + token


def cas_reply(updated: bool, change_number: int, token: bytes) -> bytes:
    """A CompareAndSetResponse."""
    number = _CHANGE_NUMBER + varint(change_number) if change_number else b""
    return STATUS_OK + (_UPDATED if updated else b"") + number + token


def field(head: bytes, data: bytes) -> bytes:
    """A length-delimited field behind its tag; nothing when empty."""
    return head + varint(len(data)) + data if data else b""


def pair(key: bytes, value: bytes, expire_ts: int) -> bytes:
    """One `keyValues` entry of a MultiGetResponse, tag and length included."""
    body = field(b"\x0a", key) + field(b"\x12", value) + (b"\x18" + varint(expire_ts) if expire_ts else b"")
    return b"\x12" + varint(len(body)) + body


def plain_pairs(keys: Sequence[bytes], rows: Sequence[bytes | None]) -> list[bytes] | None:
    """The parts of `pair` of each key that has a row, to be joined. None when some row has an expiry, is damaged or is
    too long for this, or some key is: then the caller looks at one after the other.

    Neighbours are mostly of the same length, and then share what stands before key and value."""
    parts: list[bytes] = []
    key_length = row_length = 0
    head = value_head = b""
    for key, row in zip(keys, rows, strict=True):
        if row is None:
            continue
        if len(row) != row_length or len(key) != key_length:
            key_length, row_length = len(key), len(row)
            if not 0 < row_length <= PLAIN_BYTES_MAX or key_length > 127:
                return None
            value_head = _PAIR_VALUE[row_length - 1]
            head = b"\x12" + _LENGTH[1 + key_length + len(value_head) + row_length] + b"\x0a" + _LENGTH[key_length]
        if row[0]:
            return None
        parts += (head, key, value_head, row[1:])
    return parts


def iterate_reply(key: bytes, value: bytes, expire_ts: int) -> bytes:
    """One message of an Iterate stream."""
    expiry = _PAIR_EXPIRY + varint(expire_ts) if expire_ts else b""
    return b"".join((STATUS_OK, field(b"\x12", key), field(b"\x1a", value), expiry))
