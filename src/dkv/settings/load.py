"""All sources -> one Settings. Command line beats environment beats YAML beats default, option by option.

Nothing is decided twice: a source yields text, the table's parser makes the value, and the rules that look at more than
one option stand in `rules`. Everything comes in as an argument; only the files named by the options are read.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from dkv.settings.argv import Given, parse_argv
from dkv.settings.cluster import wish
from dkv.settings.errors import SettingsError
from dkv.settings.option import Option
from dkv.settings.rules import check_values, data_folder, exposure_warnings, refuse_unavailable
from dkv.settings.settings import Settings
from dkv.settings.sources import DEFAULT_CONFIG, read_environment, read_yaml
from dkv.settings.table import BY_KEY, OPTIONS, PORT_ONLY


class Source(IntEnum):
    """Where a value came from; the larger one wins."""

    DEFAULT = 0
    YAML = 1
    ENVIRONMENT = 2
    COMMAND_LINE = 3


@dataclass(frozen=True, slots=True)
class Effective:
    """The value of an option that counts, and where it was written."""

    option: Option
    value: Any
    source: Source
    where: str


@dataclass(frozen=True, slots=True)
class Loaded:
    settings: Settings
    warnings: list[str]
    effective: dict[str, Effective]


def load(argv: Sequence[str] | Given, environ: Mapping[str, str], default_config: Path = DEFAULT_CONFIG) -> Loaded:
    """Raises SettingsError. `argv` is without the program's name; its action, if any, is left to the caller."""
    given = argv if isinstance(argv, Given) else parse_argv(argv)
    warnings: list[str] = []
    effective = {option.key: Effective(option, option.default, Source.DEFAULT, "default") for option in OPTIONS}
    from_environment = read_environment(environ, warnings)
    config = _config_path(given, from_environment, default_config)
    if config is not None:
        for key, (name, text) in read_yaml(config, warnings).items():
            effective[key] = _parsed(key, name, text, Source.YAML, f"{config}, key {name}")
    for key, text in from_environment.items():
        variable = BY_KEY[key].variable
        effective[key] = _parsed(key, variable, text, Source.ENVIRONMENT, variable)
    for key, (name, text) in given.texts.items():
        _refuse_empty(key, name, text)
        if text != "":
            effective[key] = _parsed(key, name, text, Source.COMMAND_LINE, f"--{name}" if len(name) > 1 else f"-{name}")
    _apply_verbose(effective)
    values = {key: entry.value for key, entry in effective.items()}
    check_values(values)
    for entry in effective.values():
        refuse_unavailable(
            entry.option,
            entry.value,
            entry.where,
            in_yaml=entry.source is Source.YAML,
            has_nexus=bool(values["nexus-cluster-url"]),
            warnings=warnings,
        )
    warnings += exposure_warnings(values)
    return Loaded(_settings(values, effective), warnings, effective)


def _config_path(given: Given, from_environment: Mapping[str, str], default_config: Path) -> Path | None:
    named = given.texts.get("config", ("", ""))[1] or from_environment.get("config", "")
    if named:
        return Path(named)
    return default_config if default_config.is_file() else None


def _parsed(key: str, name: str, text: str, source: Source, where: str) -> Effective:
    option = BY_KEY[key]
    if name == PORT_ONLY:
        text = f"{str(option.default).partition(':')[0]}:{text.strip()}"
    try:
        value = option.parse(text)
    except ValueError as error:
        raise SettingsError(f"invalid value {text!r} for {where}: {error}") from error
    return Effective(option, value, source, where)


def _refuse_empty(key: str, name: str, text: str) -> None:
    """An empty shell variable must not send the data to the default folder."""
    option = BY_KEY[key]
    if text == "" and (option.default_text or option.default != ""):
        raise SettingsError(f"invalid value '' for --{name}: must not be empty")


def _apply_verbose(effective: dict[str, Effective]) -> None:
    verbose, level = effective["verbose"], effective["log-level"]
    if verbose.value and verbose.source >= level.source:
        effective["log-level"] = dataclasses.replace(level, value="debug", source=verbose.source, where=verbose.where)


def _settings(values: dict[str, Any], effective: dict[str, Effective]) -> Settings:
    wanted = {field.name for field in dataclasses.fields(Settings)}
    fields = {option.field: values[option.key] for option in OPTIONS if option.field in wanted}
    fields["db_folder"] = data_folder(values)
    fields["cluster"] = wish(values)
    fields["http_listen_given"] = effective["http-listen-addr"].source is not Source.DEFAULT
    return Settings(**fields)
