"""What an operator can ask for about clusters: the original's nexus options, and our simpler ones.

| given | the node |
|---|---|
| nexus-cluster-url, its own URL among them | forms the cluster with the others |
| nexus-cluster-url, its own URL not among them, or nexus-join | waits until it is added |
| cluster and peers | forms the cluster with the others |
| cluster alone | is the first node of one |
| join | asks to be added |

None of it is looked at again once the folder belongs to a cluster, but for the name, which must be the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkv.model.errors import InvalidRequest
from dkv.model.node_urls import address_of
from dkv.settings.errors import SettingsError
from dkv.settings.values import address, number

NAME_BYTES_MAX = 255
VBUCKETS_MAX = 100_000
DRIFT_PERCENT_MAX = 50
"""Beyond it no lease would be worth a question."""
DEFAULT_NAME = "dkv"
"""Of a cluster of the original's options without one."""


@dataclass(frozen=True, slots=True)
class ClusterWish:
    """What was asked for. Addresses are host:port."""

    name: str
    """Empty: whichever the cluster has."""
    peers: tuple[str, ...]
    """The first nodes, sorted; empty: this node alone, or whom it joins has to say."""
    own: str
    """This node's address, as other nodes reach it; empty: to be found."""
    join: str
    """The member that is asked; empty: none is."""
    must_wait: bool
    """Joins, and asks nobody: an operator adds it."""
    vbuckets: int
    is_nexus: bool
    """The original's options: the addresses are of their own, beside those of clients."""


def addresses(value: str) -> tuple[str, ...]:
    """A parser of host:port,host:port."""
    return tuple(map(address("peer address"), _words(value)))


def urls(value: str) -> tuple[str, ...]:
    """A parser of http://host:port,http://host:port: their addresses."""
    return tuple(map(url, _words(value)))


def url(value: str) -> str:
    """A parser of http://host:port: its address; empty stays empty."""
    try:
        return address_of(value.strip()) if value.strip() else ""
    except InvalidRequest as wrong:
        raise SettingsError(str(wrong)) from wrong


def _words(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def cluster_name(value: str) -> str:
    name = value.strip()
    if len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"must be at most {NAME_BYTES_MAX} bytes")
    return name


def drift_percent(value: str) -> int:
    percent = number(value)
    if percent > DRIFT_PERCENT_MAX:
        raise ValueError(f"must be at most {DRIFT_PERCENT_MAX} percent")
    return percent


def entry_store(value: str) -> str:
    word = value.strip().lower()
    if word not in ("memory", "disk"):
        raise ValueError("must be memory or disk")
    return word


def wish(values: Mapping[str, Any]) -> ClusterWish | None:
    """None: nothing was asked for. Raises SettingsError when the options contradict each other."""
    nexus, peers = tuple(sorted(set(values["nexus-cluster-url"]))), tuple(sorted(set(values["peers"])))
    name, join = values["cluster"] or values["nexus-cluster-name"], values["join"]
    if nexus and (peers or values["cluster"]):
        raise SettingsError("nexus-cluster-url and cluster, peers exclude each other", usage=True)
    if peers and join:
        raise SettingsError("peers and join exclude each other", usage=True)
    if peers and not name:
        raise SettingsError("peers: the cluster needs a name, --cluster NAME", usage=True)
    if values["vbuckets"] > 1 and not (nexus or (name and not join)):
        raise SettingsError("vbuckets: they are fixed when a cluster is formed, --cluster NAME", usage=True)
    if not (nexus or name or join):
        return None
    if values["vbuckets"] > VBUCKETS_MAX:
        raise SettingsError(f"vbuckets {values['vbuckets']}: at most {VBUCKETS_MAX}", usage=True)
    if values["listen-addr"].startswith("unix:") and not (values["advertise-addr"] or nexus):
        raise SettingsError("a node of a cluster needs --advertise-addr HOST:PORT beside a socket's path", usage=True)
    if nexus:
        own = values["nexus-node-url"]
        must_wait = values["nexus-join"] or (bool(own) and own not in nexus)
        return ClusterWish(name or DEFAULT_NAME, nexus, own, join, must_wait, values["vbuckets"], is_nexus=True)
    return ClusterWish(name, peers, "", join, False, values["vbuckets"], is_nexus=False)
