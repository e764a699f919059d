"""Text -> value, one parser per kind of option.

Every source (command line, environment, YAML) hands over text, so a value means the same wherever it was written. A
parser raises ValueError with the reason; it raises SettingsError where the original's sentence is kept word for word.
"""

import re
from collections.abc import Callable

from dkv.settings.errors import SettingsError

_TRUE = frozenset({"1", "t", "true", "yes", "on"})
_FALSE = frozenset({"0", "f", "false", "no", "off"})
_UNIT_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3, "m": 60e3, "h": 3600e3}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+) ?(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_SIZE_SHIFT = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_LEVELS = {"debug": "debug", "info": "info", "warn": "warn", "warning": "warn", "error": "error"}
_ROLES = {"none": "none", "standalone": "none", "master": "master", "slave": "slave", "discovery": "discovery"}


NUMBER_MAX = (1 << 63) - 1
"""What every layer below can hold."""


def text(value: str) -> str:
    return value


def switch(value: str) -> bool:
    """Go's spellings of a boolean, and YAML's."""
    word = value.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return word in _TRUE


def number(value: str) -> int:
    """A whole number, 0 or more."""
    if not re.fullmatch(r"[0-9]+", value.strip(), re.ASCII):
        raise ValueError("must be a whole number, 0 or more")
    return _bounded(value.strip(), 1)


def _bounded(digits: str, factor: int) -> int:
    if len(digits) > len(str(NUMBER_MAX)) or int(digits) * factor > NUMBER_MAX:
        raise ValueError("is too large")
    return int(digits) * factor


def positive(value: str) -> int:
    count = number(value)
    if count == 0:
        raise ValueError("must be greater than 0")
    return count


def size(value: str) -> int:
    """Bytes: `4194304`, `64M` or `64MiB` (all units are powers of 1024)."""
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError("must be a number of bytes, such as 4194304 or 64MiB")
    return _bounded(match[1], 1 << _SIZE_SHIFT[(match[2] or "").upper()])


def positive_size(value: str) -> int:
    count = size(value)
    if count == 0:
        raise ValueError("must be greater than 0")
    return count


def _milliseconds(value: str, bare_unit_ms: int) -> int:
    word = value.strip()
    if re.fullmatch(r"[0-9]+", word, re.ASCII):
        return _bounded(word, bare_unit_ms)
    parts = _DURATION.findall(word)
    if not parts or "".join(count + unit for count, unit in parts) != word:
        raise ValueError("must be a duration, such as 500ms, 10s or 1h30m")
    total = sum(float(count) * _UNIT_MS[unit] for count, unit in parts)
    return max(1, round(total)) if total else 0  # what is not 0 never becomes 0, which often means never


def duration(value: str) -> int:
    """Milliseconds of a Go duration; a bare integer counts seconds."""
    return _milliseconds(value, 1000)


def duration_ms(value: str) -> int:
    """Milliseconds of a Go duration; a bare integer counts milliseconds."""
    return _milliseconds(value, 1)


def positive_duration(value: str) -> int:
    length_ms = duration(value)
    if length_ms == 0:
        raise ValueError("must be greater than 0")
    return length_ms


def address(what: str, ending: str = "") -> Callable[[str], str]:
    """A parser of `host:port`; `:port` means every interface. `what` and `ending` belong to the kept sentence."""

    def parse(value: str) -> str:
        host, colon, port = value.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        is_port = re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) is not None and int(port) <= 65535
        if not colon or not is_port or (":" in host and not bracketed) or re.search(r"\s", host):
            raise SettingsError(f"given {what}: {value}{ending} is invalid, must be in host:port format")
        return f"{host or '0.0.0.0'}:{port}"

    return parse


def listen_address(value: str) -> str:
    """`host:port`, or `unix:` and the path of a socket."""
    if value.strip().startswith("unix:") and value.strip() != "unix:":
        return value.strip()
    return address("listen address")(value)


def engine(value: str) -> str:
    name = value.strip().lower()
    if name not in ("rocksdb", "badger"):
        raise SettingsError(f"Unknown storage engine: {value}")
    return name


def role(value: str) -> str:
    name = _ROLES.get(value.strip().lower())
    if name is None:
        raise SettingsError("Invalid 'dbRole'. Allowed values are none|master|slave|discovery.")
    return name


def level(value: str) -> str:
    name = _LEVELS.get(value.strip().lower())
    if name is None:
        raise ValueError("must be debug, info, warn or error")
    return name


def log_format(value: str) -> str:
    name = value.strip().lower()
    if name not in ("text", "json"):
        raise ValueError("must be text or json")
    return name
