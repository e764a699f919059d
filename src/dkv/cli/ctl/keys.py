"""The commands on keys: the original's set, get, del, iter and keys, and ours: mget, mput, cas and ttl."""

from dkv.cli.ctl.invocation import Failed, Session, UsageError
from dkv.client import IterateRefused, Pair

_TTL_ATTEMPTS = 8
_SECONDS_DIGITS_MAX = 18
"""Keeps every sum with the clock inside 64 bits."""


def set_key(session: Session, words: list[bytes]) -> None:
    key, value = words
    session.client.put(key, value)
    session.print("OK")


def set_key_silently(session: Session, words: list[bytes]) -> None:
    """The oldest form: `key:value` in one word; says nothing when it worked."""
    key, value = words[0].split(b":")
    session.client.put(key, value)


def get_key(session: Session, words: list[bytes]) -> None:
    session.print(session.client.get(words[0]))


def delete_key(session: Session, words: list[bytes]) -> None:
    session.client.delete(words[0])
    session.print("OK")


def iterate(session: Session, words: list[bytes]) -> None:
    _scan(session, words, values=True)


def iterate_keys(session: Session, words: list[bytes]) -> None:
    _scan(session, words, values=False)


def _scan(session: Session, words: list[bytes], *, values: bool) -> None:
    prefix = b"" if words[0].strip() == b"*" else words[0]
    start = words[1] if len(words) > 1 else b""
    options = session.options
    try:
        for key, value in session.client.iterate(prefix, start, limit=options.limit, reverse=options.reverse):
            if values:
                session.print(key, b" => ", value)
            else:
                session.print(key)
    except IterateRefused as refusal:
        raise Failed(f"Error: {refusal}") from refusal


def multi_get(session: Session, words: list[bytes]) -> None:
    for pair in session.client.multi_get(words):
        session.print(pair.key, b" => ", pair.value)


def multi_put(session: Session, words: list[bytes]) -> None:
    session.client.multi_put(Pair(key, value, 0) for key, value in zip(words[::2], words[1::2], strict=True))
    session.print("OK")


def compare_and_set(session: Session, words: list[bytes]) -> None:
    key, old, new = words
    session.print("true" if session.client.compare_and_set(key, old, new) else "false")


def ttl(session: Session, words: list[bytes]) -> None:
    """Shows the seconds left (`none`: for ever, `missing`: no such key), or sets them."""
    if len(words) == 1:
        session.print(_seconds_left(session, words[0]))
        return
    if not words[1].isdigit() or len(words[1]) > _SECONDS_DIGITS_MAX:
        raise UsageError(f"invalid number of seconds: {words[1].decode(errors='replace')}")
    _set_seconds_left(session, words[0], int(words[1]))


def _seconds_left(session: Session, key: bytes) -> str:
    pairs = session.client.multi_get([key])
    if not pairs:
        return "missing"
    expires_at = pairs[0].expires_at
    return str(max(0, expires_at - int(session.now()))) if expires_at else "none"


def _set_seconds_left(session: Session, key: bytes, seconds: int) -> None:
    """Read and compare-and-set of the same value, so that no concurrent write is undone; 0 seconds: for ever."""
    for _ in range(_TTL_ATTEMPTS):
        pairs = session.client.multi_get([key])
        if not pairs:
            session.print("missing")
            return
        value = pairs[0].value
        expires_at = int(session.now()) + seconds if seconds else 0
        if session.client.compare_and_set(key, value, value, expires_at):
            session.print("OK")
            return
    raise Failed("Unable to set TTL. Error: the value keeps changing, try again")
