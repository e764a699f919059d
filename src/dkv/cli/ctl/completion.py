"""What Tab offers in `dkvctl shell`: commands first, then keys of the server, a few of those that begin as typed."""

import re
import shlex
from collections.abc import Callable, Iterable

from dkv.cli.ctl.table import BY_LONG_NAME, COMMANDS

KEYS_MAX = 32
"""Asked for at once; more would not help to choose, and their values travel with them."""
_QUOTES = re.compile(r"['\"\\]")
_SPECIAL = re.compile(r"([\s'\"\\])")

KeysOf = Callable[[bytes], Iterable[bytes]]
"""Keys with a prefix, at most KEYS_MAX. Raises nothing."""


def completions(line: str, text: str, own_words: Iterable[str], keys_of: KeysOf) -> list[str]:
    """Words that may stand where `text`, the last one of `line`, is being typed."""
    try:
        before = shlex.split(line[: len(line) - len(text)])
    except ValueError:  # within quotes
        return []
    if not before:
        names = (*(command.name for command in COMMANDS), *own_words)
        return sorted(name for name in names if name.startswith(text))
    command = BY_LONG_NAME.get(before[0])
    position = len(before) - 1
    if command is None or not command.key_every or position % command.key_every or _QUOTES.search(text):
        return []
    keys = [key.decode(errors="replace") for key in keys_of(text.encode(errors="replace"))]
    return [_typed(key) for key in keys if key.isprintable() and "\ufffd" not in key]


def _typed(key: str) -> str:
    """A key as the shell reads it back; it begins as the prefix does, which quotes around it would not."""
    return _SPECIAL.sub(r"\\\1", key)
