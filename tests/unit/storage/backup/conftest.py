"""A checkpoint made of plain files, a folder for the backup, and a backup taken step by step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dkv.model.backups import BackupFacts
from dkv.storage.backup.copying import Pace
from dkv.storage.backup.keep import Keeper

Keep = Callable[..., Keeper]


@pytest.fixture
def facts() -> BackupFacts:
    return BackupFacts(1, 4, 9, 2, 7, 1_700_000_000_000, b"h" * 16)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name, content in (("000001.sst", b"a" * 3_000_000), ("000002.sst", b"b" * 10), ("CURRENT", b"MANIFEST-1\n")):
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def keep(checkpoint: Path, place: Path, facts: BackupFacts) -> Keep:
    """Takes a backup of the checkpoint, or only its first steps."""

    def take(steps: int | None = None, change_number: int = 7) -> Keeper:
        keeper = Keeper(checkpoint, place, Pace(0), 0)
        for count, _ in enumerate(keeper.steps("rocksdb", "now", [facts._replace(change_number=change_number)]), 1):
            if count == steps:
                break
        return keeper

    return take
