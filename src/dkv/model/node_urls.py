"""Nodes as the original names them: http://host:port of what it calls Nexus. Ours serve everything at that address."""

import re
from urllib.parse import urlsplit

from dkv.model.errors import InvalidRequest


def address_of(url: str) -> str:
    """host:port of a node's URL. Raises InvalidRequest, in the original's words."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"given listen address, {url} is not a valid URL, error: {error}") from None
    if parts.scheme != "http":
        raise InvalidRequest(f"given listen address, {url} must have HTTP scheme")
    if not parts.hostname or re.search(r"\s", url) or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InvalidRequest(f"given listen address, {url} is not a valid URL, error: must be http://host:port")
    if not port:
        raise InvalidRequest(f"given listen address, {url} must include port number")
    return f"[{parts.hostname}]:{port}" if ":" in parts.hostname else f"{parts.hostname}:{port}"


def url_of(address: str) -> str:
    """The URL of a node that was named by its address."""
    return f"http://{address}"


def checked_address(address: str) -> str:
    """The same, host:port, that another node may be connected to at. Raises InvalidRequest: what is in a directory once
    every node has to be able to use."""
    try:
        is_one = address_of(url_of(address)) == address.lower()
    except InvalidRequest:
        is_one = False
    if not is_one:
        raise InvalidRequest(f"{address!r} is no address of a node: it has to be host:port")
    return address
