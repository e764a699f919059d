"""The command line of dkvsrv: names and texts only; values are parsed later, like those of every other source.

The rules are the original's two generations in one: one dash or two, `-f value` or `-f=value`, switches may stand bare.
A name is always looked up whole, so `-role` can never be read as `-r ole`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from dkv.settings.errors import SettingsError
from dkv.settings.option import Option
from dkv.settings.table import BY_NAME

_ACTIONS = {"help": "help", "h": "help", "version": "version", "check-config": "check-config"}
_BOOLEAN_WORDS = ("true", "false")


@dataclass(slots=True)
class Given:
    """What stands on a command line; of a repeated option the last one."""

    action: str = ""
    """What to do instead of serving."""
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Canonical key -> (name as written, value)."""


def parse_argv(argv: Sequence[str]) -> Given:
    """Returns at once on --help or --version: what stands behind them is not looked at."""
    given = Given()
    words = list(argv)
    position = 0
    while position < len(words):
        name, attached = _split(words[position])
        position += 1
        if name in _ACTIONS and attached is None:
            given.action = _ACTIONS[name]
            if given.action != "check-config":
                return given
            continue
        option = _look_up(name, words[position - 1])
        if attached is None:
            attached, used = _value_after(option, words, position)
            position += used
        given.texts[option.key] = (name, attached)
    return given


def _split(word: str) -> tuple[str, str | None]:
    if not word.startswith("-") or word in ("-", "--"):
        raise SettingsError(f"unexpected argument: {word}", usage=True)
    name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
    return name, value if equals else None


def _look_up(name: str, word: str) -> Option:
    option = BY_NAME.get(name)
    if option is None:
        near = difflib.get_close_matches(name, BY_NAME, n=1)
        hint = f" (did you mean --{near[0]}?)" if near else ""
        raise SettingsError(f"unknown flag: {word.partition('=')[0]}{hint}", usage=True)
    return option


def _value_after(option: Option, words: list[str], position: int) -> tuple[str, int]:
    """The value and how many words it took."""
    if option.is_switch:
        if position < len(words) and words[position].lower() in _BOOLEAN_WORDS:
            return words[position], 1
        return "true", 0
    if position == len(words):
        raise SettingsError(f"flag needs an argument: {words[position - 1]}", usage=True)
    return words[position], 1
