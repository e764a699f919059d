"""Engine options from an ini file: the `key = value` lines before the first section, read as the original does."""

from pathlib import Path

from dkv.settings.errors import SettingsError

_ENGINE_TITLE = {"rocksdb": "RocksDB", "badger": "Badger"}


def read_ini(path: str, engine: str = "rocksdb") -> dict[str, str]:
    """Key -> value in the order of the file; the last of a repeated key counts. An empty path: no options."""
    if not path:
        return {}
    if not Path(path).is_file():
        raise SettingsError(f"given storage configuration file: {path} does not exist")
    try:
        return _parse(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(unusable_ini(path, engine, error)) from error


def unusable_ini(path: str, engine: str, error: Exception) -> str:
    """The original's sentence, whatever is wrong with the file."""
    title = _ENGINE_TITLE.get(engine, engine)
    return f"unable to load {title} configuration from given file: {path}, error: {error}"


def _parse(content: str) -> dict[str, str]:
    options: dict[str, str] = {}
    in_section = False
    for line in map(str.strip, content.splitlines()):
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            if "]" not in line:
                raise ValueError(f"unclosed section: {line}")
            in_section = True
            continue
        key, value = _key_value(line)
        if not in_section:
            options[key] = value
    return options


def _key_value(line: str) -> tuple[str, str]:
    positions = [position for position in map(line.find, "=:") if position >= 0]
    if not positions:
        raise ValueError(f"key-value delimiter not found: {line}")
    position = min(positions)
    key, value = line[:position].strip(), line[position + 1 :].strip()
    if not key:
        raise ValueError(f"key is empty: {line}")
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'`":
        return key, value[1:-1]
    for mark in (" #", " ;"):
        value = value.partition(mark)[0].rstrip()
    return key, value
