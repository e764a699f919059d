"""The command line of dkvctl: which commands with which arguments, and the options. Decides; runs nothing.

Both generations of the original: long names with one dash or two, shorthands of one letter with one dash, and the pair
`-set k:v -get k`. A name is always looked up whole and a shorthand takes nothing attached, so that no misspelt option
can become a delete.

A line without any dashed command may say its command as the first word: `get k`. No line of the original means
anything then. Where a dashed command stands, loose words are its arguments as they always were: `get --set k` sets k.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dkv.cli.ctl.invocation import BadPair, Options, UsageError
from dkv.cli.ctl.table import BY_LONG_NAME, BY_SHORTHAND, COMMANDS, GET, SET, SET_OLD, Command
from dkv.cli.ctl.until import parse_until
from dkv.client.acknowledgements import ACKNOWLEDGEMENTS, Acknowledgement

_OPTION_FIELDS = {
    "dkvAddr": "address",
    "a": "address",
    "authority": "authority",
    "limit": "limit",
    "from": "first",
    "vbucket": "vbucket",
    "until": "until",
    "acknowledgement": "acknowledgement",
    "ack": "acknowledgement",
}
_LIMIT_DIGITS_MAX = 18
_SWITCHES = ("reverse", "json")
_ACTIONS = {"help": "help", "h": "help", "version": "version"}
_ACTION_WORDS = (["help"], ["version"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: an action instead of serving, or commands with their arguments, in order."""

    action: str
    options: Options
    steps: list[tuple[Command, list[str]]]


@dataclass(slots=True)
class _Scan:
    """The line, word by word."""

    words: list[str]
    position: int = 0
    action: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    commands: dict[str, tuple[Command, str | None, bool]] = field(default_factory=dict)
    """Name -> (command, its own value, whether it was written with one dash)."""
    rest: list[str] = field(default_factory=list)

    def next_word(self, flag: str) -> str:
        if self.position == len(self.words):
            raise UsageError(f"flag needs an argument: {flag}")
        self.position += 1
        return self.words[self.position - 1]


def plan(argv: Sequence[str]) -> Plan:
    """Raises UsageError."""
    scan = _Scan(list(argv))
    while scan.position < len(scan.words) and not scan.action:
        word = scan.next_word("")
        if word == "--":
            scan.rest += scan.words[scan.position :]
            break
        if word.startswith("-") and word != "-":
            _take_flag(scan, word)
        else:
            scan.rest.append(word)
    if not scan.commands and scan.rest in _ACTION_WORDS:
        scan.action = scan.rest[0]
    return Plan(scan.action, Options(**scan.options), [] if scan.action else _steps(scan))


def _take_flag(scan: _Scan, word: str) -> None:
    name, equals, attached = word.lstrip("-").partition("=")
    dashes = len(word) - len(word.lstrip("-"))
    is_short = len(name) == 1
    if dashes > 2 or (is_short and (equals or dashes == 2)):
        raise UsageError(f"unknown flag: {word}")
    value = attached if equals else None
    command = BY_SHORTHAND.get(name) if is_short else BY_LONG_NAME.get(name)
    if command is not None:
        if value is None and command.takes_value:
            value = scan.next_word(word)
        scan.commands[command.name] = command, value, dashes == 1 and not is_short
    elif name in _ACTIONS and value is None:
        scan.action = _ACTIONS[name]
    elif name in _SWITCHES and value in (None, "true", "false"):
        scan.options[name] = value != "false"
    elif name in _OPTION_FIELDS:
        _take_option(scan, name, scan.next_word(word) if value is None else value)
    else:
        raise UsageError(f"unknown flag: {word} (write -- before an argument that begins with a dash)")


def _take_option(scan: _Scan, name: str, value: str) -> None:
    if name == "until":
        try:
            scan.options["until"] = parse_until(value)
        except ValueError as error:
            raise UsageError(str(error)) from error
    elif _OPTION_FIELDS[name] == "acknowledgement":
        scan.options["acknowledgement"] = _acknowledgement(value)
    elif name == "limit":
        scan.options["limit"] = _whole(value, "limit", "0 for all")
    elif name == "from":
        scan.options["first"] = _whole(value, "change number", "1 for all that are kept") or 1
    elif name == "vbucket":
        scan.options["vbucket"] = _whole(value, "vBucket", "0 for all") or None
    else:
        scan.options[_OPTION_FIELDS[name]] = value


def _acknowledgement(value: str) -> Acknowledgement:
    for word in ACKNOWLEDGEMENTS:
        if word == value.lower():
            return word
    raise UsageError(f"invalid acknowledgement: {value}, must be {', '.join(ACKNOWLEDGEMENTS)}")


def _whole(value: str, what: str, hint: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _LIMIT_DIGITS_MAX):
        raise UsageError(f"invalid {what}: {value}, must be a whole number, {hint}")
    return int(value)


def _steps(scan: _Scan) -> list[tuple[Command, list[str]]]:
    if not scan.commands:
        return [_step(_named(scan.rest), scan.rest[1:])]
    old = _old_steps(scan)
    if old:
        return old
    command, value, _ = next(scan.commands[each.name] for each in COMMANDS if each.name in scan.commands)
    return [_step(command, ([] if value is None else [value]) + scan.rest)]


def _named(words: list[str]) -> Command:
    """The command that the first word names."""
    if not words:
        raise UsageError("no command given")
    command = BY_LONG_NAME.get(words[0])
    if command is None:
        raise UsageError(f"unknown command: {words[0]}")
    return command


def _step(command: Command, arguments: list[str]) -> tuple[Command, list[str]]:
    if not command.accepts(len(arguments)):
        raise UsageError(f"Error: Invalid Syntax. Usage of dkvctl:\n  --{command.name} {command.arguments}".rstrip())
    return command, arguments


def _old_steps(scan: _Scan) -> list[tuple[Command, list[str]]]:
    """The oldest form: `-set key:value`, with one dash and nothing loose behind it, then perhaps a get."""
    _, text, one_dash = scan.commands.get(SET.name, (SET, None, False))
    if text is None or not one_dash or scan.rest:
        return []
    if text.count(":") != 1:
        raise BadPair(f"Expected in key:value format for set. Given: {text}")
    steps = [(SET_OLD, [text])]
    _, key, _ = scan.commands.get(GET.name, (GET, None, False))
    if key is not None:
        steps.append((GET, [key]))
    return steps
