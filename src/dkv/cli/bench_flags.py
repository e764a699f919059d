"""The flags of dkvbench: one table for the command line, the help and the lines that say what is measured with.

As Go's flags: one dash or two, `-flag value` or `-flag=value`, the last of two wins. Unlike there nothing is ignored: a
word that is no flag is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dkv.bench.workloads import NAMES

COUNT_MAX = 100_000_000
VALUE_BYTES_MAX = 1 << 30
PORT_MAX = 65_535


class FlagError(ValueError):
    """The command line cannot be used; the text says why."""


class Flag(NamedTuple):
    name: str
    usage: str
    default: str | int
    least: int = 1
    most: int = COUNT_MAX
    """Of a number."""


FLAGS = (
    Flag("batchSize", "Number of keys of one request of GetAll", 10, most=10_000),
    Flag("dkvSvcHost", "Host of the DKV service, or unix:/path of its socket", "localhost"),
    Flag("dkvSvcPort", "Port of the DKV service", 8080, most=PORT_MAX),
    Flag("name", f"Benchmark to run: {', '.join(NAMES)}", ""),
    Flag("numHotKeys", "Number of keys that Update, Get and GetAll go round in", 100),
    Flag("parallelism", "Number of requests to run concurrently", 2, most=100_000),
    Flag("protoDir", "Accepted for the sake of old scripts, not used", "./pkg/serverpb"),
    Flag("totalNumKeys", "Number of requests in all", 1000),
    Flag("valueSizeInBytes", "Size of the values that Insert and Update write", 10, least=0, most=VALUE_BYTES_MAX),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}
_ACTIONS = {"help": "help", "h": "help", "version": "version"}

_HEAD = """\
Usage: dkvbench -name BENCHMARK [flags]

Measures a DKV server: makes many requests of one kind, so many at a time, and prints how long they took.

  Insert    puts NewKey0, NewKey1, ...             Get       gets ExistingKey0, ... one by one
  Update    puts ExistingKey0, ... over and over   GetAll    gets them some at a time

Run Update before Get and GetAll, with the same -numHotKeys: it writes the keys that they read. Insert and Update
overwrite what is there under these names, and nothing is removed afterwards.

Flags, with one dash or two"""
_TAIL = """\
  -help                     This text
  -version                  The version

Ctrl-C ends it, and prints what was measured so far.
Exit status: 0 all requests went well, 1 some failed or the server is away, 2 the command line cannot be used,
130 ended by Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Given:
    """A command line: an action instead of a benchmark, or the value of every flag."""

    action: str
    values: dict[str, str | int]

    def number(self, name: str) -> int:
        return int(self.values[name])

    def text(self, name: str) -> str:
        return str(self.values[name])

    @property
    def address(self) -> str:
        """Where to connect."""
        host = self.text("dkvSvcHost")
        if host.startswith("unix:"):
            return host
        return f"[{host}]:{self.values['dkvSvcPort']}" if ":" in host else f"{host}:{self.values['dkvSvcPort']}"


def parse(argv: Sequence[str]) -> Given:
    """Raises FlagError."""
    words, values = list(argv), {flag.name: flag.default for flag in FLAGS}
    while words:
        word = words.pop(0)
        name, equals, attached = word.lstrip("-").partition("=")
        if not 1 <= len(word) - len(word.lstrip("-")) <= 2 or not name:
            raise FlagError(f"not a flag: {word}")
        if name in _ACTIONS and not equals:
            return Given(_ACTIONS[name], values)
        if name not in _BY_NAME:
            raise FlagError(f"unknown flag: {word}")
        if not equals and not words:
            raise FlagError(f"flag needs an argument: {word}")
        values[name] = _value(_BY_NAME[name], attached if equals else words.pop(0))
    return Given("", values)


def _value(flag: Flag, text: str) -> str | int:
    if isinstance(flag.default, str):
        return text
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()) or not flag.least <= int(digits[:20]) <= flag.most:
        raise FlagError(f"-{flag.name} is a whole number from {flag.least} to {flag.most}, not {text!r}")
    return int(digits)


def said(given: Given) -> list[str]:
    """What is measured with, as the original says it."""
    flags = [f"{flag.name} ({flag.usage}): {given.values[flag.name]}" for flag in FLAGS]
    return ["Launching benchmarks with following flags:", *flags, ""]


def help_text() -> str:
    lines = [f"  -{flag.name + ' ' + _kind(flag):<24} {flag.usage}{_default(flag)}" for flag in FLAGS]
    return "\n".join([_HEAD, *lines, _TAIL])


def _kind(flag: Flag) -> str:
    return "TEXT" if isinstance(flag.default, str) else "NUMBER"


def _default(flag: Flag) -> str:
    return f" [{flag.default}]" if flag.default else ""
