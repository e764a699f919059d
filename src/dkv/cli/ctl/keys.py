"""The commands on keys: the original's set, get, del, iter and keys, and ours: mget, mput, cas and ttl."""

from dkv.cli.ctl.invocation import Failed, Session, UsageError
from dkv.client import IterateRefused, Pair

_TTL_ATTEMPTS = 8
_SECONDS_DIGITS_MAX = 18
"""Keeps every sum with the clock inside 64 bits."""


def set_key(session: Session, words: list[bytes]) -> None:
    key, value = words
    session.client.put(key, value)
    session.result({"ok": True}, "OK")


def set_key_silently(session: Session, words: list[bytes]) -> None:
    """The oldest form: `key:value` in one word; says nothing when it worked."""
    key, value = words[0].split(b":")
    session.client.put(key, value)
    session.result({"ok": True})


def get_key(session: Session, words: list[bytes]) -> None:
    """The value; an empty line for a missing key, too. With --json the two differ, so it asks in the way that tells."""
    if not session.options.json:
        session.print(session.client.get(words[0]))
        return
    pairs = session.client.multi_get(words)
    session.result(_fields(pairs[0]) if pairs else {"key": words[0], "found": False})


def _fields(pair: Pair) -> dict[str, object]:
    return {"key": pair.key, "found": True, "value": pair.value, "expireTS": pair.expires_at}


def delete_key(session: Session, words: list[bytes]) -> None:
    session.client.delete(words[0])
    session.result({"ok": True}, "OK")


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
                session.result({"key": key, "value": value}, key, b" => ", value)
            else:
                session.result({"key": key}, key)
    except IterateRefused as refusal:
        raise Failed(f"Error: {refusal}") from refusal


def multi_get(session: Session, words: list[bytes]) -> None:
    for pair in session.client.multi_get(words):
        session.result(_fields(pair), pair.key, b" => ", pair.value)


def multi_put(session: Session, words: list[bytes]) -> None:
    session.client.multi_put(Pair(key, value, 0) for key, value in zip(words[::2], words[1::2], strict=True))
    session.result({"ok": True}, "OK")


def compare_and_set(session: Session, words: list[bytes]) -> None:
    key, old, new = words
    updated = session.client.compare_and_set(key, old, new)
    session.result({"updated": updated}, "true" if updated else "false")


def ttl(session: Session, words: list[bytes]) -> None:
    """Shows the seconds left (`none`: for ever, `missing`: no such key), or sets them."""
    if len(words) == 1:
        _show_seconds_left(session, words[0])
        return
    if not words[1].isdigit() or len(words[1]) > _SECONDS_DIGITS_MAX:
        raise UsageError(f"invalid number of seconds: {words[1].decode(errors='replace')}")
    _set_seconds_left(session, words[0], int(words[1]))


def _show_seconds_left(session: Session, key: bytes) -> None:
    pairs = session.client.multi_get([key])
    if not pairs:
        session.result({"key": key, "found": False}, "missing")
        return
    expires_at = pairs[0].expires_at
    left = max(0, expires_at - int(session.now())) if expires_at else None
    fields = {"key": key, "found": True, "secondsLeft": left, "expireTS": expires_at}
    session.result(fields, "none" if left is None else str(left))


def _set_seconds_left(session: Session, key: bytes, seconds: int) -> None:
    """Read and compare-and-set of the same value, so that no concurrent write is undone; 0 seconds: for ever."""
    for _ in range(_TTL_ATTEMPTS):
        pairs = session.client.multi_get([key])
        if not pairs:
            session.result({"ok": False, "found": False}, "missing")
            return
        value = pairs[0].value
        expires_at = int(session.now()) + seconds if seconds else 0
        if session.client.compare_and_set(key, value, value, expires_at):
            session.result({"ok": True, "found": True, "expireTS": expires_at}, "OK")
            return
    raise Failed("Unable to set TTL. Error: the value keeps changing, try again")
