"""The commands on keys: the original's set, get, del, iter and keys, and ours: mget, mput, cas and ttl."""

from dkv.cli.ctl.invocation import Failed, Session, UsageError
from dkv.client.acknowledgements import OnDisk
from dkv.client.scan import ScanRefused
from dkv.client.values import Item

_SECONDS_DIGITS_MAX = 18
"""Keeps every sum with the clock inside 64 bits."""


def set_key(session: Session, words: list[bytes]) -> None:
    key, value = words
    session.client.put(key, value, acknowledgement=session.options.acknowledgement)
    session.result({"ok": True}, "OK")


def set_key_silently(session: Session, words: list[bytes]) -> None:
    """The oldest form: `key:value` in one word; says nothing when it worked."""
    key, value = words[0].split(b":")
    session.client.put(key, value, acknowledgement=session.options.acknowledgement)
    session.result({"ok": True})


def get_key(session: Session, words: list[bytes]) -> None:
    """The value; an empty line for a missing key, too. With --json the two differ."""
    if session.options.json:
        session.result(_fields(words[0], session.client.get_item(words[0])))
    else:
        session.print(session.client.get(words[0]) or b"")


def _fields(key: bytes, item: Item | None) -> dict[str, object]:
    if item is None:
        return {"key": key, "found": False}
    return {"key": key, "found": True, "value": item.value, "expireTS": item.expires_at or 0}


def delete_key(session: Session, words: list[bytes]) -> None:
    session.client.delete(words[0], acknowledgement=session.options.acknowledgement)
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
        for key, value in session.client.scan(
            prefix, start=start, limit=options.limit or None, reverse=options.reverse
        ):
            if values:
                session.result({"key": key, "value": value}, key, b" => ", value)
            else:
                session.result({"key": key}, key)
    except ScanRefused as refusal:
        raise Failed(f"Error: {refusal}") from refusal


def multi_get(session: Session, words: list[bytes]) -> None:
    """All of one moment."""
    found = session.client.get_many(words)
    for key in words:
        if key in found:
            session.result({"key": key, "found": True, "value": found[key]}, key, b" => ", found[key])


def multi_put(session: Session, words: list[bytes]) -> None:
    session.client.put_many(zip(words[::2], words[1::2], strict=True), acknowledgement=_on_disk(session))
    session.result({"ok": True}, "OK")


def compare_and_set(session: Session, words: list[bytes]) -> None:
    key, old, new = words
    updated = session.client.compare_and_set(key, old, new, acknowledgement=_on_disk(session))
    session.result({"updated": updated}, "true" if updated else "false")


def _on_disk(session: Session) -> OnDisk:
    asked = session.options.acknowledgement
    if asked == "fast":
        raise UsageError("only set and del can be acknowledged fast")
    return asked


def ttl(session: Session, words: list[bytes]) -> None:
    """Shows the seconds left (`none`: for ever, `missing`: no such key), or sets them."""
    if len(words) == 1:
        _show_seconds_left(session, words[0])
        return
    if not words[1].isdigit() or len(words[1]) > _SECONDS_DIGITS_MAX:
        raise UsageError(f"invalid number of seconds: {words[1].decode(errors='replace')}")
    _set_seconds_left(session, words[0], int(words[1]))


def _show_seconds_left(session: Session, key: bytes) -> None:
    item = session.client.get_item(key)
    if item is None:
        session.result({"key": key, "found": False}, "missing")
        return
    left = None if item.expires_at is None else max(0, item.expires_at - int(session.now()))
    fields = {"key": key, "found": True, "secondsLeft": left, "expireTS": item.expires_at or 0}
    session.result(fields, "none" if left is None else str(left))


def _set_seconds_left(session: Session, key: bytes, seconds: int) -> None:
    """The value stays; 0 seconds: for ever."""
    client, who = session.client, _on_disk(session)
    is_there = client.touch(key, seconds, acknowledgement=who) if seconds else client.persist(key, acknowledgement=who)
    session.result({"ok": is_there, "found": is_there}, "OK" if is_there else "missing")
