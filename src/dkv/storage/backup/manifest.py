"""The manifest: what makes a folder a backup. Layout in docs/formats/backup.md.

It names every file with its size and SHA-256 and says which state they are. It is JSON, so that an operator can read
it, with a SHA-256 over the rest of its fields. It is written last, aside, synced and renamed: the folder holds the old
backup until that rename and the new one from it on, never a half one.

What a newcomer breaks first: names come from outside. One that is not a plain file name would be written elsewhere.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupDamaged, BackupFailed

FORMAT_VERSION = 2
"""Persisted: do not renumber. Fields may be added within a version; readers ignore what they do not know."""
FORMAT_VERSION_OF_ONE = 1
"""Of a backup with one vBucket: earlier releases can read that, too."""
MANIFEST_FILE = "DKV-BACKUP"
MANIFEST_FILE_ASIDE = "DKV-BACKUP.new"
FILES_FOLDER = "files"

SPACE_MAX = (1 << 32) - 8
"""Of a block, and of a vBucket: both are 32 bits in the keys of rows."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_INTEGERS = ("vbucket", "space", "applied_index", "applied_term", "change_number", "log_time")


class BackupFile(NamedTuple):
    """One file of the engine."""

    name: str
    """As the engine calls it."""
    size: int
    sha256: str
    """Hexadecimal; also the name under which the backup keeps it."""


class Manifest(NamedTuple):
    engine: str
    taken: str
    """UTC, ISO 8601. For people."""
    vbuckets: tuple[BackupFacts, ...]
    """At least one, ascending."""
    files: tuple[BackupFile, ...]


def encode_manifest(manifest: Manifest) -> bytes:
    fields: dict[str, Any] = {
        "format": FORMAT_VERSION if len(manifest.vbuckets) > 1 else FORMAT_VERSION_OF_ONE,
        "engine": manifest.engine,
        "taken": manifest.taken,
        "vbuckets": told_facts(manifest.vbuckets),
        "files": [each._asdict() for each in manifest.files],
    }
    fields["sha256"] = _checksum(fields)
    return json.dumps(fields, indent=2).encode() + b"\n"


def decode_manifest(text: bytes, where: object) -> Manifest:
    """Raises BackupDamaged naming `where`, or BackupFailed when a newer release wrote it."""
    try:
        fields = json.loads(text)
        version = int(fields["format"])
        if version > FORMAT_VERSION:
            raise BackupFailed(f"{where} is of format {version}, this release knows {FORMAT_VERSION}: use a later one")
        if fields.pop("sha256") != _checksum(fields):
            raise ValueError("checksum")
        files = tuple(_file(each) for each in fields["files"])
        facts = tuple(heard_facts(fields["vbuckets"]))
        numbers = [each.vbucket for each in facts]
        if not numbers or numbers != sorted(set(numbers)):
            raise ValueError(f"vBuckets {numbers[:10]}")
        return Manifest(str(fields["engine"]), str(fields["taken"]), facts, files)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
        raise BackupDamaged(f"{where} is damaged: it is not the manifest that was written") from problem


def told_facts(facts: Sequence[BackupFacts]) -> list[dict[str, Any]]:
    """As JSON can have them."""
    return [each._asdict() | {"history_id": each.history_id.hex()} for each in facts]


def heard_facts(fields: Sequence[dict[str, Any]]) -> list[BackupFacts]:
    """What `told_facts` has told. Raises ValueError, KeyError or TypeError for anything else."""
    return list(map(_facts, fields))


def _checksum(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _file(fields: dict[str, Any]) -> BackupFile:
    file = BackupFile(fields["name"], fields["size"], fields["sha256"])
    if not (_PLAIN_NAME.fullmatch(file.name) and _SHA256.fullmatch(file.sha256) and _is_count(file.size)):
        raise ValueError(f"file {file}")
    return file


def _facts(fields: dict[str, Any]) -> BackupFacts:
    numbers = {name: fields[name] for name in _INTEGERS}
    history_id = bytes.fromhex(fields["history_id"])
    is_possible = all(map(_is_count, numbers.values())) and max(numbers["vbucket"], numbers["space"]) <= SPACE_MAX
    if not is_possible or len(history_id) != 16:
        raise ValueError(f"vBucket {fields}")
    return BackupFacts(**numbers, history_id=history_id)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
