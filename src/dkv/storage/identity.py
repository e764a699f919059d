"""The file `DKV`: whose folder this is.

It is JSON, so that an operator can read it, with a CRC-32 over the rest of its fields: a node that came back with
another id through a flipped bit would vote twice. Written aside, synced, renamed, and the folder synced: there is a
whole identity or none.

What a newcomer breaks first: fields may be added within a format version (readers ignore what they do not know); the
version goes up only when an older release must keep its hands off.
"""

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from dkv.model.errors import FolderRefused

FORMAT_VERSION = 1
"""Persisted: do not renumber."""
IDENTITY_FILE = "DKV"
IDENTITY_FILE_ASIDE = "DKV.new"


@dataclass(frozen=True, slots=True)
class Identity:
    """Facts about a folder that never change."""

    format: int
    engine: str
    node_id: int
    """Random, 1 to 2^63 - 1, drawn when the folder was made (INVARIANTS 1)."""
    created: str
    """UTC, ISO 8601. For people."""


def read_identity(folder: Path) -> Identity | None:
    """The identity of `folder`, None if it has none. Raises FolderRefused when it is damaged or of a newer format."""
    path = folder / IDENTITY_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderRefused(f"{path} cannot be read: {error.strerror}; nothing was changed") from error
    try:
        fields = json.loads(text)
        version = int(fields["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if version > FORMAT_VERSION:
        raise FolderRefused(
            f"{folder} was written by a newer release (format {version}, this one knows {FORMAT_VERSION}); "
            "nothing was changed. Start it with that release or a later one"
        )
    return _checked(path, fields)


def write_aside(folder: Path, identity: Identity) -> None:
    """Write and sync the identity under its temporary name."""
    fields: dict[str, object] = {
        "format": identity.format,
        "engine": identity.engine,
        "node_id": identity.node_id,
        "created": identity.created,
    }
    fields["crc32"] = _checksum(fields)
    with (folder / IDENTITY_FILE_ASIDE).open("wb") as file:
        file.write(json.dumps(fields, indent=2).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def rename_into_place(folder: Path) -> None:
    """Give the identity its name; durable only after the folder is synced."""
    (folder / IDENTITY_FILE_ASIDE).rename(folder / IDENTITY_FILE)


def _checked(path: Path, fields: dict[str, object]) -> Identity:
    given = fields.pop("crc32", None)
    if given != _checksum(fields):
        raise _damaged(path)
    engine, node_id, created = fields.get("engine"), fields.get("node_id"), fields.get("created")
    if not (isinstance(engine, str) and isinstance(node_id, int) and isinstance(created, str)):
        raise _damaged(path)
    return Identity(FORMAT_VERSION, engine, node_id, created)


def _checksum(fields: dict[str, object]) -> int:
    return zlib.crc32(json.dumps(fields, sort_keys=True).encode())


def _damaged(path: Path) -> FolderRefused:
    return FolderRefused(
        f"{path} is damaged; nothing was changed. Restore that file from a backup, "
        "or remove this node from its cluster and add it again with an empty folder"
    )
