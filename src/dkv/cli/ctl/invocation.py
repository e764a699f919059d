"""What a command is handed, and what it says when it cannot be done."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from dkv.client import Client
from dkv.client.operations import Calls


class UsageError(Exception):
    """The command line is not one. The text goes to stderr and the exit code is 2."""


class Failed(Exception):
    """The command could not be done. The text is the line to print; the exit code is 1."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is not a command on the command line."""

    address: str = "127.0.0.1:8080"
    authority: str = ""
    limit: int = 0
    reverse: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A command's surroundings: the server, the place for results, and a clock in seconds."""

    channel: Calls
    out: BinaryIO
    now: Callable[[], float]
    options: Options

    @property
    def client(self) -> Client:
        return Client(self.channel)

    def print(self, *parts: bytes | str) -> None:
        """One line. Values go out as the bytes they are."""
        line = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
        self.out.write(line + b"\n")
