"""What a command is handed, and what it says when it cannot be done."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from dkv.cli.ctl import json_text
from dkv.cli.ctl.until import NEVER, Until
from dkv.client.acknowledgements import Acknowledgement
from dkv.client.sync import Client
from dkv.model.errors import Unavailable


class UsageError(Exception):
    """The command line is not one. The text goes to stderr and the exit code is 2."""


class BadPair(UsageError):
    """No key:value for the oldest `-set`. The original says it among its results, and so do we."""


class Failed(Exception):
    """The command could not be done. The text is the line to print; the exit code is 1."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is not a command on the command line."""

    address: str = "127.0.0.1:8080"
    authority: str = ""
    limit: int = 0
    reverse: bool = False
    json: bool = False
    first: int | None = None
    """Of watch: the first change number; None: only what comes."""
    vbucket: int | None = None
    """Of watch: the one vBucket to follow; None: all."""
    acknowledgement: Acknowledgement = "quorum"
    """Of what writes."""
    until: Until = NEVER
    """Of restore: the point in time."""


def _nobody(address: str) -> Client:
    raise Unavailable(f"{address} is out of reach here")


def _no_shell(session: "Session") -> int:
    raise UsageError("there is no shell here")


@dataclass(frozen=True, slots=True)
class Session:
    """A command's surroundings: the server, the place for results, and a clock in seconds."""

    client: Client
    out: BinaryIO
    now: Callable[[], float]
    options: Options
    reach: Callable[[str], Client] = _nobody
    """A client of another node, by its address: with little patience, not connected yet."""
    shell: "Callable[[Session], int]" = _no_shell
    """Runs many commands, and returns the exit code."""

    def result(self, fields: Mapping[str, object], *parts: bytes | str) -> None:
        """One result, as `write_result`."""
        write_result(self.out, self.options, fields, *parts)

    def print(self, *parts: bytes | str) -> None:
        """One line. Values go out as the bytes they are."""
        _write_line(self.out, parts)


def write_result(out: BinaryIO, options: Options, fields: Mapping[str, object], *parts: bytes | str) -> None:
    """With --json a document of the fields, else a line of the parts; nothing without parts."""
    if options.json:
        out.write(json_text.line(fields))
    elif parts:
        _write_line(out, parts)


def _write_line(out: BinaryIO, parts: Iterable[bytes | str]) -> None:
    line = b"".join(os.fsencode(part) if isinstance(part, str) else part for part in parts)
    out.write(line + b"\n")
