"""The table as text: `--help`, the usage line, and the report of `--check-config`."""

import textwrap

from dkv.settings import values as v
from dkv.settings.load import Loaded
from dkv.settings.option import Option
from dkv.settings.table import OPTIONS

USAGE = "Usage: dkvsrv [--option value]...     (dkvsrv --help lists the options)"

_HEAD = """\
Usage: dkvsrv [--option value]...

Serves a durable key-value store over gRPC. Without options: on 127.0.0.1:8080, data in /tmp/dkvsrv/data.

Any option can also be a key of the YAML file (--config) or an environment variable: --listen-addr is DKV_LISTEN_ADDR.
The command line beats the environment, the environment beats the file. One dash or two, "--option value" or
"--option=value".
"""
_ACTIONS = """\
Instead of serving
  --help, -h          this text
  --version           the version
  --check-config      print the settings that would count and where each comes from; exit 2 if they cannot be used
"""
_INDENT = " " * 22
_WIDTH = 110
_DURATIONS = (v.duration, v.positive_duration, v.duration_ms)


def help_text() -> str:
    groups = dict.fromkeys(option.group for option in OPTIONS)
    parts = [_HEAD, _ACTIONS]
    for group in groups:
        shown = [_entry(option) for option in OPTIONS if option.group == group and option.works]
        if shown:
            parts.append("\n".join([group, *shown]) + "\n")
    later = sorted(option.key for option in OPTIONS if not option.works)
    parts.append("Known but not available yet, or without effect\n" + _wrapped(", ".join(later), "  "))
    return "\n".join(parts)


def _entry(option: Option) -> str:
    flag = f"  --{option.key} {option.value_name}".rstrip()
    words = [option.help]
    default = _default_text(option)
    if default:
        words.append(f"[{default}]")
    if option.spellings:
        words.append("(also " + ", ".join(f"-{name}" for name in option.spellings) + ")")
    body = _wrapped(" ".join(words), _INDENT)
    if len(flag) < len(_INDENT) - 1:
        return flag + body[len(flag) :]
    return f"{flag}\n{body}"


def _default_text(option: Option) -> str:
    if option.default_text:
        return option.default_text
    return "" if option.is_switch else str(option.default)


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def report(loaded: Loaded) -> str:
    """One line an option that works or was set: key, value, source."""
    lines = []
    for key, entry in loaded.effective.items():
        if not entry.option.works and entry.value == entry.option.default:
            continue
        value = loaded.settings.db_folder if key == "db-folder" else entry.value
        lines.append(f"{key} = {_shown(entry.option, value)}".ljust(56) + f" # {entry.where}")
    return "\n".join(lines)


def _shown(option: Option, value: object) -> str:
    """In a form that may be typed back."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value}ms" if option.parse in _DURATIONS else str(value)
