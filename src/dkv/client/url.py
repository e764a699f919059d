"""Where to connect and how to behave, as one line: `dkv://127.0.0.1:8080?timeout=2s`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from dkv.client.levels import LEVELS, Level
from dkv.model.errors import InvalidRequest

TIMEOUT_S = 10.0
"""What clients of the original give a call."""
PORT = 8080
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMEOUT_S_MAX = 86_400.0
FORM = "dkv://host:port?timeout=2s, dkv://host:port,host:port, or dkv:///path/of/a/socket"
W = TypeVar("W", bound=str)
_NODES = re.compile(r"dkv://([^/?#]*),([^,/?#]*)", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Options:
    """What a URL says."""

    address: str
    """host:port, or unix:/path."""
    timeout_s: float = TIMEOUT_S
    """Of a whole operation, its retries included; of a scan, from one pair to the next."""
    level: Level = "linearizable"
    """What reads see whose caller says nothing."""
    authority: str | None = None
    """Sent as `:authority`, for proxies."""
    others: tuple[str, ...] = ()
    """More addresses of the same cluster."""
    learns_members: bool = False
    """Asks the nodes of a cluster where the others are."""
    reads_at_leader: bool = False
    """Else they stay with one node, whichever."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them."""
        return self.address, *self.others

    def shuffled(self, chance: Callable[[], bytes]) -> "Options":
        """The same with its addresses in any order."""
        first, *others = sorted(self.addresses, key=lambda _: chance())
        return replace(self, address=first, others=tuple(others))

    @property
    def is_cluster(self) -> bool:
        """Whether there is a choice of nodes, or may be one."""
        return bool(self.others) or self.learns_members


def parse(url: str) -> Options:
    """Raises InvalidRequest, which names what is wrong: nothing in a URL is ignored."""
    others: list[str] = []
    while (found := _NODES.match(url)) is not None:
        others.insert(0, _place(f"dkv://{found[2]}").address)
        url = f"dkv://{found[1]}{url[found.end() :]}"
    options = _place(url, tuple(others))
    if len(set(options.addresses)) <= len(others):
        raise InvalidRequest(f"{url!r}: an address is given twice")
    return options


def _place(url: str, others: tuple[str, ...] = ()) -> Options:
    """Of a URL with one address."""
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
        level=_word(values, "consistency", LEVELS),
        authority=values.pop("authority", None),
        others=others,
        learns_members=_word(values, "members", ("learn", "given") if others else ("given", "learn")) == "learn",
        reads_at_leader=_word(values, "reads", ("any", "leader")) == "leader",
    )
    if values:
        known = "timeout, consistency, authority, members and reads"
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


def _word(values: dict[str, str], option: str, known: tuple[W, ...]) -> W:
    """The value of an option that is one of a few words, the first by default."""
    given = values.pop(option, known[0])
    for word in known:
        if word == given:
            return word
    raise InvalidRequest(f"{option} is {' or '.join(known)}, not {given!r}")


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
