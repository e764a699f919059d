"""Backups in folders, interrupted after every step, damaged in every file."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dkv.model.errors import BackupDamaged, BackupFailed
from dkv.storage.backup.copying import Pace
from dkv.storage.backup.fetch import Fetcher
from dkv.storage.backup.keep import Keeper

Keep = Callable[..., Keeper]
FREE_OF_NOBODY = 1 << 62


def fetched(place: Path, into: Path) -> dict[str, bytes]:
    """The files of the backup, verified."""
    for _ in Fetcher(place, into, Pace(0), 0).steps("rocksdb"):
        pass
    return {path.name: path.read_bytes() for path in into.iterdir()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_backup_comes_back_byte_for_byte(keep: Keep, checkpoint: Path, place: Path, tmp_path: Path) -> None:
    """Every file, and the facts."""
    keep()
    assert fetched(place, tmp_path / "into") == content(checkpoint)
    assert Fetcher(place, tmp_path / "into", Pace(0), 0).manifest.vbuckets[0].change_number == 7


def test_backup_again_copies_only_what_has_changed(keep: Keep, checkpoint: Path, place: Path, tmp_path: Path) -> None:
    """Unchanged files stay as they are, and what is not named any more is gone."""
    keep()
    inodes = {path.stat().st_ino for path in (place / "files").iterdir()}
    (checkpoint / "CURRENT").write_bytes(b"MANIFEST-2\n")
    (checkpoint / "000002.sst").unlink()
    keeper = keep(change_number=8)
    assert keeper.bytes_copied == 11
    assert len(inodes & {path.stat().st_ino for path in (place / "files").iterdir()}) == 1
    assert len(list((place / "files").iterdir())) == 2
    assert fetched(place, tmp_path / "into") == content(checkpoint)


def test_backup_interrupted_after_any_step_leaves_the_old_or_the_new(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path
) -> None:
    """Never a half one that verifies; and the next one works over what is left."""
    keep()
    old = content(checkpoint)
    (checkpoint / "000003.sst").write_bytes(b"c" * 2_000_000)
    (checkpoint / "000001.sst").unlink()
    (checkpoint / "CURRENT").write_bytes(b"MANIFEST-2\n")
    new, seen = content(checkpoint), set()
    for steps in range(1, 40):
        keeper = keep(steps, change_number=8)
        files = fetched(place, tmp_path / f"into-{steps}")
        number = Fetcher(place, tmp_path / "none", Pace(0), 0).manifest.vbuckets[0].change_number
        assert files == (old if number == 7 else new)
        seen.add(number)
        if number == 8 and keeper.bytes_copied == 0:
            break
    assert seen == {7, 8}
    keep(change_number=9)
    assert fetched(place, tmp_path / "into") == new


def test_first_backup_interrupted_after_any_step_is_none_or_whole(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path
) -> None:
    """A folder without a manifest holds no backup."""
    for steps in range(1, 40):
        keep(steps)
        into = tmp_path / f"into-{steps}"
        with suppress(BackupFailed):
            assert fetched(place, into) == content(checkpoint)
            return
        assert not into.exists()
    pytest.fail("it never became whole")


def test_backup_with_any_file_damaged_is_refused_and_healed_by_the_next(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path
) -> None:
    """A flipped bit, a byte more, or a file that is gone."""
    keep()
    names = sorted(path.name for path in (place / "files").iterdir())
    for number, name in enumerate(names):
        for kind, spoil in enumerate((_flip_a_bit, _append, Path.unlink)):
            spoil(place / "files" / name)
            with pytest.raises(BackupDamaged, match=name):
                fetched(place, tmp_path / f"bad-{number}-{kind}")
            keep()
            assert fetched(place, tmp_path / f"good-{number}-{kind}") == content(checkpoint)


def test_backup_over_a_damaged_manifest_is_whole_again(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path
) -> None:
    """What the backup before had cannot be known then: everything is copied."""
    keep()
    _flip_a_bit(place / "DKV-BACKUP")
    with pytest.raises(BackupDamaged):
        fetched(place, tmp_path / "bad")
    assert keep().bytes_copied == sum(map(len, content(checkpoint).values()))
    assert fetched(place, tmp_path / "good") == content(checkpoint)


def test_fetch_links_tables_and_nothing_else(keep: Keep, place: Path, tmp_path: Path) -> None:
    """Whatever the engine writes into the folder that it opens, the backup keeps its bytes."""
    keep()
    fetched(place, tmp_path / "into")
    links = {path.name: path.stat().st_nlink for path in (tmp_path / "into").iterdir()}
    assert links == {"000001.sst": 2, "000002.sst": 2, "CURRENT": 1}


def test_fetch_from_another_device_copies(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no link can be made the bytes are digested as they are copied."""
    keep()

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert fetched(place, tmp_path / "into") == content(checkpoint)
    assert not {path.stat().st_ino for path in (tmp_path / "into").iterdir()} & {
        path.stat().st_ino for path in (place / "files").iterdir()
    }
    _flip_a_bit(next((place / "files").iterdir()))
    with pytest.raises(BackupDamaged):
        fetched(place, tmp_path / "bad")


def test_fetch_of_another_engine_says_so(keep: Keep, place: Path, tmp_path: Path) -> None:
    """Its files would mean nothing."""
    keep()
    with pytest.raises(BackupFailed, match="a backup of the engine rocksdb cannot be restored into badger"):
        list(Fetcher(place, tmp_path / "into", Pace(0), 0).steps("badger"))


def test_backup_onto_a_device_that_is_nearly_full_fails_and_keeps_the_old(
    keep: Keep, checkpoint: Path, place: Path, tmp_path: Path
) -> None:
    """The space that the server needs stays free."""
    keep()
    old = content(checkpoint)
    (checkpoint / "000003.sst").write_bytes(b"c" * 100)
    keeper = Keeper(checkpoint, place, Pace(0), FREE_OF_NOBODY)
    facts = Fetcher(place, tmp_path / "none", Pace(0), 0).manifest.vbuckets
    with pytest.raises(BackupFailed, match=r"no space left but the .* MiB that stay free"):
        list(keeper.steps("rocksdb", "now", facts))
    assert fetched(place, tmp_path / "into") == old


def test_pace_lets_bytes_through_at_its_rate() -> None:
    """Over any second: a pause before is made up for within one second, no more."""
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    pace = Pace(1_000, now=lambda: clock[0], sleep=sleep)
    for _ in range(10):
        pace.spend(500)
    assert clock[0] == pytest.approx(5.0)
    clock[0] += 100
    for _ in range(10):
        pace.spend(500)
    assert clock[0] == pytest.approx(109.0)


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")
