"""Rules that look at more than one option, and what becomes of options that do not work yet."""

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from dkv.settings.errors import SettingsError
from dkv.settings.ini import read_ini
from dkv.settings.option import Availability, Option


def data_folder(values: Mapping[str, Any]) -> str:
    """`db-folder`, or its place below the root folder."""
    named: str = values["db-folder"]
    return named or str(Path(values["root-folder"], values["node-name"], "data"))


def check_values(values: Mapping[str, Any]) -> None:
    if values["role"] not in ("none", "master"):
        raise SettingsError(f"role {values['role']}: not available yet")
    if values["diskless"] and values["db-engine"] == "rocksdb":
        raise SettingsError("diskless is available only on Badger storage")
    if values["db-engine"] != "rocksdb":
        raise SettingsError(f"db-engine {values['db-engine']}: not available yet")
    if values["db-engine-ini"]:
        read_ini(values["db-engine-ini"], values["db-engine"])
    value_max, request_max = values["value-bytes-max"], values["request-bytes-max"]
    if value_max > request_max:
        raise SettingsError(f"value-bytes-max {value_max} is larger than request-bytes-max {request_max}")
    name = values["node-name"]
    if "/" in name or name in (".", ".."):
        raise SettingsError(f"node-name {name!r}: must not be a path")


def exposure_warnings(values: Mapping[str, Any]) -> list[str]:
    """Nothing but the address keeps anybody out."""
    return [
        f"{key} {values[key]} can be reached from other machines, and there is no authentication yet: whoever reaches "
        f"it {can}. Let a firewall decide who does"
        for key, can in (("listen-addr", "reads and writes everything"), ("http-listen-addr", "sees the metrics"))
        if not _is_loopback(values[key])
    ]


def _is_loopback(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def refuse_unavailable(
    option: Option, value: object, where: str, *, in_yaml: bool, has_nexus: bool, warnings: list[str]
) -> None:
    """A file written for the original may carry settings of other roles; somebody who types one expects it to work.
    `has_nexus`: the original's way to a cluster was taken."""
    available = option.availability
    if value == option.default or available is Availability.NOW or (available is Availability.NEXUS and has_nexus):
        return
    reason = "nexus-cluster-url is not set" if available is Availability.NEXUS else option.refusal
    if available is Availability.NO_EFFECT:
        warnings.append(f"{where} has no effect: {option.help}")
    elif available in (Availability.OTHER_ROLE, Availability.NEXUS) and in_yaml:
        warnings.append(f"{where} is ignored: {reason}")
    else:
        raise SettingsError(f"{where}: {reason}", usage=available is Availability.NEXUS)
