"""The shell: lines from stdin, what ends it, its history and its completion."""

import os
from pathlib import Path
from typing import Any

import pytest

import dkv
from dkv.cli.ctl import history
from dkv.cli.ctl.completion import completions
from dkv.cli.ctl.invocation import Options, Session
from dkv.cli.ctl.shell import Done, at_terminal, run_line, run_lines
from dkv.wire import methods


@pytest.fixture
def session(server: Any, tmp_path: Path) -> Any:
    """A session whose results go to a file."""
    with open(tmp_path / "out", "wb") as out:
        yield Session(server.client(), out, lambda: 1000.0, Options("h:1"))


def output(session: Session) -> bytes:
    session.out.flush()
    return Path(session.out.name).read_bytes()


def test_lines_are_commands_with_and_without_dashes(session: Session) -> None:
    """Blank lines and comments are nothing; quotes keep spaces together."""
    lines = ["get a\n", "", "  # a note\n", "set 'k k' \"v v\"\n", "--get 'k k'\n", "get k\\ k --json"]
    assert run_lines(session, lines) == 0
    assert output(session) == b'1\nOK\nv v\n{"key": "k k", "found": true, "value": "v v", "expireTS": 0}\n'


def test_error_ends_a_command_and_not_the_shell(
    session: Session, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of the first failure."""
    server.failures[methods.PUT_PATH] = (14, "no server")
    assert run_lines(session, ["get a", "nonsense", "set k v", "get 'x", "get a"]) == 2
    assert run_lines(session, ["set k v", "nonsense"]) == 1
    failed = b"Unable to perform SET. Error: rpc error: code = Unavailable desc = no server\n"
    assert output(session) == b"1\n" + failed + b"1\n" + failed
    errors = capsys.readouterr().err
    assert "unknown command: nonsense\n(help shows how)" in errors
    assert "No closing quotation: get 'x" in errors


@pytest.mark.parametrize("word", ["exit", "quit"])
def test_exit_leaves_the_rest(session: Session, server: Any, word: str) -> None:
    """What stands behind it is not run."""
    assert run_lines(session, [word, "set k v"]) == 0
    assert b"k" not in server.pairs


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("shell", "this is the shell already"),
        ("get a -a h:2", "the shell stays with its server"),
        ("get a --authority x", "the shell stays with its server"),
        ("ttl a soon", "invalid number of seconds: soon"),
    ],
)
def test_line_that_makes_no_sense_here_is_refused(
    session: Session, capsys: pytest.CaptureFixture[str], line: str, text: str
) -> None:
    """Before anything is done."""
    assert run_line(session, line) == Done(2)
    assert capsys.readouterr().err.startswith(text)


def test_help_lists_the_commands(session: Session) -> None:
    """Without dashes, as they are typed there."""
    assert run_line(session, "help").code == 0
    text = output(session).decode()
    assert "  get key" in text
    assert "  clusterInfo [dcId] [database] [vBucket]\n" in text
    assert "  shell" not in text
    assert run_line(session, "version").code == 0
    assert output(session).decode().endswith(f"dkvctl {dkv.__version__}\n")


@pytest.mark.parametrize(
    ("line", "may_be_kept"),
    [("get a", True), ("keys *", True), ("help", True), ("ttl a 5", True), ("set a secret", False), ("-s a b", False),
     ("mput a secret", False), ("cas a b c", False), ("-set a:secret -get a", False), ("sett a secret", False),
     ("set 'a", False), ("# note", False), ("exit", False)],
)  # fmt: skip
def test_line_with_a_value_is_not_kept(session: Session, line: str, may_be_kept: bool) -> None:
    """Nor one that was not understood."""
    assert run_line(session, line).may_be_kept is may_be_kept


def test_history_goes_by_the_rules_of_xdg() -> None:
    """A relative folder is no folder there."""
    assert history.default_path({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/dkv/shell_history")
    for environ in ({"HOME": "/h"}, {"XDG_STATE_HOME": "s", "HOME": "/h"}):
        assert history.default_path(environ) == Path("/h/.local/state/dkv/shell_history")


def test_history_is_private_and_bounded(tmp_path: Path) -> None:
    """Mode 0600 also where it was not; what another shell added meanwhile stays."""
    path = tmp_path / "state" / "dkv" / "shell_history"
    assert history.read(path) == []
    history.keep(path, [])
    assert not path.exists()
    history.keep(path, ["one", "two"])
    path.chmod(0o644)
    history.keep(path, ["three"])
    assert history.read(path) == ["one", "two", "three"]
    assert path.stat().st_mode & 0o777 == 0o600
    history.keep(path, [str(number) for number in range(history.LINES_MAX)])
    assert history.read(path)[0] == "0"
    assert os.listdir(path.parent) == [path.name]


def test_interrupt_gives_up_a_line_or_a_command_and_not_the_shell(
    session: Session, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while typing, and in the middle of a command; Ctrl-D leaves. What was interrupted is not kept."""
    typed = iter([KeyboardInterrupt, "get a", "health", "get ab ", EOFError])

    def typing(_prompt: str) -> str:
        event = next(typed)
        if isinstance(event, str):
            return event
        raise event

    def interrupted(path: str, request: bytes, timeout_ms: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", typing)
    monkeypatch.setattr("dkv.cli.ctl.line_editor.set_up", lambda complete, earlier: lambda line: None)
    answers = server.call
    server.call = lambda path, *rest: (interrupted if path == methods.HEALTH_CHECK_PATH else answers)(path, *rest)
    at_terminal(session, tmp_path / "history")
    assert output(session) == b"1\n2\n"
    assert "interrupted" in capsys.readouterr().out
    assert history.read(tmp_path / "history") == ["get a", "get ab"]


KEYS = [b"key 1", b"key2", "kü".encode(), b"k\xff", b"k\n"]


def keys_of(prefix: bytes) -> list[bytes]:
    return [key for key in KEYS if key.startswith(prefix)]


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        ("he", "he", ["health", "help"]),
        ("ge", "ge", ["get"]),
        ("get ke", "ke", ["key\\ 1", "key2"]),
        ("get k", "k", ["key\\ 1", "key2", "kü"]),
        ("get key2 k", "k", ["key\\ 1", "key2", "kü"]),
        ("mput key2 k", "k", []),
        ("mput key2 v k", "k", ["key\\ 1", "key2", "kü"]),
        ("set key2 k", "k", []),
        ("nonsense k", "k", []),
        ("stats k", "k", []),
        ("get 'k", "'k", []),
        ("get 'key 1", "1", []),
    ],
)
def test_completion_offers_commands_then_keys(line: str, text: str, expected: list[str]) -> None:
    """Where a key may stand, as the shell would read it back; nothing where a value goes, nor within quotes, nor
    what cannot be typed."""
    assert completions(line, text, ("exit", "help"), keys_of) == expected
