"""`dkvctl shell`: many commands over one connection, as they stand on the command line, without dashes if one likes.

At a terminal it edits lines, completes commands and keys, and remembers what was typed. Otherwise it reads commands
from stdin. An error ends a command and never the shell; without a terminal the exit code is that of the first failure.
"""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import TextIOWrapper
from pathlib import Path

import dkv
from dkv.cli.ctl import history, line_editor
from dkv.cli.ctl.argv import plan
from dkv.cli.ctl.completion import KEYS_MAX, completions
from dkv.cli.ctl.execute import execute
from dkv.cli.ctl.invocation import Options, Session, UsageError
from dkv.cli.ctl.usage import shell_help_text
from dkv.cli.output import EXIT_OK, EXIT_USAGE
from dkv.model.errors import DkvError

PROMPT = "dkv> "
_LEAVE = ("exit", "quit")
_NOWHERE = Options()
"""What is asked for on a line that names no server."""
_OWN_WORDS = (*_LEAVE, "help")


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one line."""

    code: int = EXIT_OK
    may_be_kept: bool = False
    """Understood, and without a value in it."""
    is_last: bool = False


def shell(session: Session) -> int:
    if isinstance(sys.stdin, TextIOWrapper) and sys.stdin.isatty():
        sys.stdin.reconfigure(errors="surrogateescape")  # a key need not be text, nor need what is typed
        at_terminal(session, history.default_path(os.environ))
        return EXIT_OK
    return run_lines(session, (os.fsdecode(line) for line in sys.stdin.buffer))


def run_lines(session: Session, lines: Iterable[str]) -> int:
    """Runs them all; the code of the first that failed."""
    first_failure = EXIT_OK
    for line in lines:
        done = run_line(session, line)
        first_failure = first_failure or done.code
        if done.is_last:
            break
    return first_failure


def run_line(session: Session, line: str) -> Done:
    """Blank lines and comments, from a # at the beginning on, are nothing."""
    try:
        words = [] if line.lstrip().startswith("#") else _split(line)
        if not words:
            return Done()
        if words[0] in _LEAVE:
            return Done(is_last=True)
        return _run_words(session, words)
    except UsageError as error:
        print(f"{error}\n(help shows how)", file=sys.stderr)
        return Done(EXIT_USAGE)
    finally:
        session.out.flush()


def _split(line: str) -> list[str]:
    """Words as a shell has them: quotes and backslashes keep spaces together."""
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{error}: {line.strip()}") from error


def _run_words(session: Session, words: list[str]) -> Done:
    asked = plan(words)
    if asked.action:
        session.print(shell_help_text() if asked.action == "help" else f"dkvctl {dkv.__version__}")
        return Done(may_be_kept=True)
    if (asked.options.address, asked.options.authority) != (_NOWHERE.address, _NOWHERE.authority):
        raise UsageError("the shell stays with its server: leave it to talk to another")
    if any(command.name == "shell" for command, _ in asked.steps):
        raise UsageError("this is the shell already")
    here = session.options
    options = replace(asked.options, address=here.address, json=here.json or asked.options.json)
    codes = [execute(replace(session, options=options), command, arguments) for command, arguments in asked.steps]
    return Done(max(codes), not any(command.has_value for command, _ in asked.steps))


def at_terminal(session: Session, path: Path) -> None:
    """Types, runs, and keeps what may be kept, until Ctrl-D or exit."""
    kept: list[str] = []
    try:
        for line in _typed(session, history.read(path)):
            try:
                done = run_line(session, line)
            except KeyboardInterrupt:
                print("interrupted")
                continue
            if done.may_be_kept:
                kept.append(line.strip())
            if done.is_last:
                break
    finally:
        try:
            history.keep(path, kept)
        except OSError as failure:
            print(f"The history of the shell is not kept: {failure}", file=sys.stderr)


def _typed(session: Session, earlier: list[str]) -> Iterator[str]:
    """Line after line until Ctrl-D. Ctrl-C gives up the line that is being typed."""

    def keys_of(prefix: bytes) -> list[bytes]:
        try:
            return [key for key, _ in session.client.scan(prefix, limit=KEYS_MAX)]
        except DkvError:
            return []  # Tab is not the place to complain; the command will.

    remember = line_editor.set_up(lambda line, text: completions(line, text, _OWN_WORDS, keys_of), earlier)
    while True:
        try:
            line = input(PROMPT)
        except KeyboardInterrupt:
            print()
            continue
        except EOFError:
            print()
            return
        remember(line)
        yield line
