"""Engine options from an ini file."""

from pathlib import Path

import pytest

from dkv.settings import SettingsError, read_ini

ACCEPTED = [
    ("", {}),
    ("a=1\nb = 2\n", {"a": "1", "b": "2"}),
    ("# x\n; y\n\na: 1\n", {"a": "1"}),
    ("a=1\na=2\n", {"a": "2"}),
    ("a={x=y; z}\n", {"a": "{x=y; z}"}),
    ("a = 1 # note\nb = ' # kept '\n", {"a": "1", "b": " # kept "}),
    ("a=1\n[Section]\nb=2\n", {"a": "1"}),
    ("\ufeffa=\n", {"a": ""}),
]


@pytest.mark.parametrize(("content", "options"), ACCEPTED)
def test_ini_well_formed_yields_unnamed_section(tmp_path: Path, content: str, options: dict[str, str]) -> None:
    """Only the lines before the first section are options."""
    file = tmp_path / "x.ini"
    file.write_text(content, encoding="utf-8")
    assert read_ini(str(file)) == options


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a\n", "key-value delimiter not found: a"),
        (b"=1\n", "key is empty: =1"),
        (b"[x\n", "unclosed section"),
        (b"\xff=1", "utf-8"),
    ],
)
@pytest.mark.parametrize(("engine", "title"), [("rocksdb", "RocksDB"), ("badger", "Badger")])
def test_ini_malformed_is_refused(tmp_path: Path, content: bytes, reason: str, engine: str, title: str) -> None:
    """The text names engine, file and reason."""
    file = tmp_path / "x.ini"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        read_ini(str(file), engine)
    start = f"unable to load {title} configuration from given file: {file}, error: "
    assert str(refusal.value).startswith(start)
    assert reason in str(refusal.value)


def test_ini_missing_is_refused() -> None:
    """A named file must exist."""
    with pytest.raises(SettingsError, match="given storage configuration file: /no/such does not exist"):
        read_ini("/no/such")


def test_ini_unnamed_yields_nothing() -> None:
    """No file, no options."""
    assert read_ini("") == {}
