"""Recognises folders that are not ours, by their names alone: nothing is opened, nothing is touched."""

from pathlib import Path

from dkv.model.errors import FolderRefused

_ADVICE = "nothing was changed. Choose an empty folder; data of the original moves over by iterating over it"


def refuse_foreign(folder: Path, own_names: frozenset[str], own_folders: tuple[str, ...]) -> None:
    """Raise FolderRefused unless `folder`, which has no identity, is empty or an unfinished creation of ours.

    Unfinished: only `own_names` in it, and nothing in the `own_folders`, which are made before the identity is there.
    """
    for place in (folder, *(folder / name for name in own_folders)):
        names = _names(place)
        kind = _engine_of(names)
        if kind is not None:
            raise FolderRefused(f"{place} holds {kind} files, but no identity of ours: {_ADVICE}")
        if place != folder and names:
            raise FolderRefused(
                f"{place} holds data, but {folder} has lost its identity file DKV: nothing was changed. "
                "Restore that file from a backup, or choose an empty folder"
            )
    others = sorted(_names(folder) - own_names)
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise FolderRefused(f"{folder} holds something else ({shown}): nothing was changed. Choose an empty folder")


def _names(place: Path) -> set[str]:
    try:
        return {entry.name for entry in place.iterdir()}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise FolderRefused(f"{place} cannot be listed: {error.strerror}; nothing was changed") from error


def _engine_of(names: set[str]) -> str | None:
    """Badger keeps MANIFEST and KEYREGISTRY, RocksDB CURRENT and MANIFEST-<number>; both have *.sst."""
    if "KEYREGISTRY" in names or "MANIFEST" in names or any(name.endswith(".vlog") for name in names):
        return "Badger"
    if "CURRENT" in names or any(name.startswith("MANIFEST-") for name in names):
        return "RocksDB"
    if any(name.endswith(".sst") for name in names):
        return "RocksDB or Badger"
    return None
