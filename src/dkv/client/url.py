"""Where to connect and how to behave, as one line: `dkv://127.0.0.1:8080?timeout=2s`."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from dkv.model.errors import InvalidRequest

TIMEOUT_S = 10.0
"""What clients of the original give a call."""
PORT = 8080
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMEOUT_S_MAX = 86_400.0
FORM = "dkv://host:port?timeout=2s, or dkv:///path/of/a/socket"


@dataclass(frozen=True, slots=True)
class Options:
    """What a URL says."""

    address: str
    """host:port, or unix:/path."""
    timeout_s: float = TIMEOUT_S
    """Of a whole operation, its retries included; of a scan, from one pair to the next."""
    is_linearizable: bool = True
    """Reads see every write acknowledged before they began, or are refused; else what the asked node has."""
    authority: str | None = None
    """Sent as `:authority`, for proxies."""


def parse(url: str) -> Options:
    """Raises InvalidRequest, which names what is wrong: nothing in a URL is ignored."""
    try:
        parts = urlsplit(url)
        port = parts.port
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InvalidRequest(f"{url!r}: {error}") from error
    if parts.scheme != "dkv":
        raise InvalidRequest(f"{url!r}: expected {FORM}")
    if parts.username is not None or parts.fragment:
        raise InvalidRequest(f"{url!r}: a user or a fragment has no meaning here")
    values = dict(pairs)
    if len(values) < len(pairs):
        raise InvalidRequest(f"{url!r}: an option is given twice")
    options = Options(
        _address(url, parts.hostname, port, parts.path),
        timeout_s=duration_s(values.pop("timeout", f"{TIMEOUT_S}s")),
        is_linearizable=_is_linearizable(values.pop("consistency", "linearizable")),
        authority=values.pop("authority", None),
    )
    if values:
        known = "timeout, consistency and authority"
        raise InvalidRequest(f"{url!r}: unknown option {', '.join(sorted(values))}; there are {known}")
    return options


def _address(url: str, host: str | None, port: int | None, path: str) -> str:
    if not host:
        if len(path) < 2 or port is not None:
            raise InvalidRequest(f"{url!r}: expected {FORM}")
        return f"unix:{unquote(path)}"
    if path not in ("", "/"):
        raise InvalidRequest(f"{url!r}: there are no databases to choose from, the path must be empty")
    return f"[{host}]:{port or PORT}" if ":" in host else f"{host}:{port or PORT}"


def _is_linearizable(word: str) -> bool:
    if word not in ("linearizable", "sequential"):
        raise InvalidRequest(f"consistency is linearizable or sequential, not {word!r}")
    return word == "linearizable"


def duration_s(text: str) -> float:
    """Seconds of `500ms`, `2s`, `1.5m`, or of a bare number of seconds."""
    digits = text.rstrip("hms")
    try:
        seconds = float(digits) * _UNITS_S[text[len(digits) :] or "s"]
    except (ValueError, KeyError):
        raise InvalidRequest(f"not a duration: {text!r}; write it as 500ms, 2s or 1.5m") from None
    if not 0.001 <= seconds <= _TIMEOUT_S_MAX:
        raise InvalidRequest(f"a time-out is 1 ms to one day, not {text!r}")
    return seconds
