"""Environment and YAML file: canonical key -> text, with a warning for what nobody knows.

An empty string counts as not set in both. YAML keys may be nested, old spellings are taken, and case does not matter,
as in the original's reader.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dkv.settings.errors import SettingsError
from dkv.settings.table import BY_NAME, OPTIONS

DEFAULT_CONFIG = Path("/etc/default/dkvsrv.yaml")

_BY_VARIABLE = {option.variable: option for option in OPTIONS}
_BY_LOWER_NAME = {name.lower(): (name, option) for name, option in BY_NAME.items() if len(name) > 1}


def read_environment(environ: Mapping[str, str], warnings: list[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for variable, value in sorted(environ.items()):
        if not variable.startswith("DKV_") or value == "":
            continue
        option = _BY_VARIABLE.get(variable)
        if option is None:
            warnings.append(f"unknown environment variable {variable} is ignored")
        else:
            texts[option.key] = value
    return texts


def read_yaml(path: Path, warnings: list[str]) -> dict[str, tuple[str, str]]:
    """Canonical key -> (key as written, text)."""
    import yaml  # Only a server with a file pays for it.

    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"unable to read configuration file: {path}, error: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).replace('"<byte string>", ', "").split())
        raise SettingsError(f"unable to read configuration file: {path}, error: {reason}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"unable to read configuration file: {path}, error: must be a list of 'key: value' lines")
    texts: dict[str, tuple[str, str]] = {}
    for name, value in _leaves(document, ""):
        known = _BY_LOWER_NAME.get(name.lower())
        if known is None:
            warnings.append(f"unknown key {name} in {path} is ignored")
            continue
        spelling, option = known
        written = _as_text(name, value, path)
        if written != "":
            texts[option.key] = (spelling, written)
    return texts


def _leaves(tree: Mapping[object, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _as_text(name: str, value: object, path: Path) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise SettingsError(f"{name} in {path}: must be a single value")
