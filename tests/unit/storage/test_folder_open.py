"""A node's folder: made whole or not at all, opened once at a time, refused untouched when it is not ours."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from dkv.model.errors import FolderRefused
from dkv.storage.folder import Folder, creation_steps, inspect
from dkv.storage.identity import Identity

IDENTITY = Identity(1, "rocksdb", 42, "2026-11-23T00:00:00+00:00")
STEPS = 9


def tree(path: Path) -> dict[str, tuple[int, bytes]]:
    """All that is below `path`: names, times of change, contents."""
    places = [path, *sorted(path.rglob("*"))] if path.exists() else []
    return {str(place): (place.stat().st_mtime_ns, place.read_bytes() if place.is_file() else b"") for place in places}


def fill(path: Path, names: list[str]) -> Path:
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"theirs")
    return path


def refused(path: Path, text: str, engine: str = "rocksdb") -> None:
    """The folder is refused with `text` and advice, and stays as it was."""
    before = tree(path)
    with pytest.raises(FolderRefused, match=text) as refusal:
        Folder.open(path, engine)
    assert str(path) in str(refusal.value)
    assert tree(path) == before


@pytest.mark.parametrize("parts", [(), ("deep", "below")])
def test_folder_missing_is_made_and_opens_again_with_the_same_identity(tmp_path: Path, parts: tuple[str, ...]) -> None:
    """Created with its parents; the identity is drawn once."""
    path = tmp_path.joinpath("db", *parts)
    first = Folder.open(path)
    assert 0 < first.node_id < 1 << 63
    assert first.data.is_dir()
    assert first.logs.is_dir()
    assert first.snap.is_dir()
    first.close()
    first.close()
    second = Folder.open(path)
    assert second.identity == first.identity
    second.close()


def test_folders_two_have_two_ids(tmp_path: Path) -> None:
    """Ids are random, not derived from names."""
    folders = [Folder.open(tmp_path / name) for name in "ab"]
    assert folders[0].node_id != folders[1].node_id
    for folder in folders:
        folder.close()


@pytest.mark.parametrize("taken", range(STEPS + 1))
def test_creation_interrupted_after_any_step_opens_afterwards(tmp_path: Path, taken: int) -> None:
    """Up to the rename the folder is as good as empty; from there on it has its identity."""
    steps = creation_steps(tmp_path, IDENTITY)
    done = [name for _, name in zip(range(taken), steps, strict=False)]
    assert len(done) == taken
    folder = Folder.open(tmp_path)
    assert (folder.node_id == 42) == ("renamed the identity" in done)
    folder.close()
    assert Folder.open(tmp_path).identity == folder.identity


def test_creation_steps_are_as_many_as_the_test_interrupts(tmp_path: Path) -> None:
    """Keeps the test above honest."""
    assert len(list(creation_steps(tmp_path, IDENTITY))) == STEPS


def test_creation_interrupted_within_the_identity_starts_over(tmp_path: Path) -> None:
    """Half an identity under its temporary name counts for nothing."""
    (tmp_path / "DKV.new").write_bytes(b'{"form')
    Folder.open(tmp_path).close()
    assert not (tmp_path / "DKV.new").exists()


def test_folder_open_twice_in_one_process_second_is_refused(tmp_path: Path) -> None:
    """The lock is per open, and the text names the folder and the process."""
    first = Folder.open(tmp_path)
    refused(tmp_path, f"in use by the process {os.getpid()}")
    first.close()
    Folder.open(tmp_path).close()


def test_folder_open_in_another_process_is_refused_until_it_dies(tmp_path: Path) -> None:
    """Kill -9 frees the folder: the kernel holds the lock, not the file."""
    script = "import sys; from pathlib import Path; from dkv.storage.folder import Folder\n"
    script += "folder = Folder.open(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        refused(tmp_path, f"in use by the process {other.pid}")
        other.kill()
    Folder.open(tmp_path).close()


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["CURRENT", "MANIFEST-000005", "000004.log"], "RocksDB files"),
        (["data/CURRENT", "data/MANIFEST-000005"], "RocksDB files"),
        (["MANIFEST", "KEYREGISTRY", "000000.vlog"], "Badger files"),
        (["data/MANIFEST", "data/000001.sst", "data/000001.vlog"], "Badger files"),
        (["000001.sst"], "RocksDB or Badger files"),
        (["thesis.tex", "photo.jpg"], "something else .photo.jpg, thesis.tex."),
        (["a", "b", "c", "d"], r"a, b, c, \.\.\."),
        (["logs/0000000000000001.raftlog"], "lost its identity"),
    ],
)
def test_folder_foreign_is_refused_untouched(tmp_path: Path, names: list[str], text: str) -> None:
    """Files of the original, of Badger, of anybody, or ours without their identity."""
    refused(fill(tmp_path / "db", names), text)


def test_folder_of_another_engine_is_refused_untouched(tmp_path: Path) -> None:
    """An engine never opens what another one wrote."""
    Folder.open(tmp_path, "badger").close()
    refused(tmp_path, "belongs to the engine badger, not rocksdb")
    Folder.open(tmp_path, "badger").close()


def test_folder_of_a_newer_format_is_refused_untouched(tmp_path: Path) -> None:
    """Even if the newer identity looks different in all else."""
    Folder.open(tmp_path).close()
    (tmp_path / "DKV").write_text(json.dumps({"format": 2, "soul": "unknown"}))
    refused(tmp_path, "newer release .format 2")


def test_identity_with_any_bit_flipped_is_refused_or_the_same(tmp_path: Path) -> None:
    """No flipped bit makes another node of this one."""
    folder = Folder.open(tmp_path)
    folder.close()
    path = tmp_path / "DKV"
    whole = path.read_bytes()
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = inspect(tmp_path, "rocksdb")
        except FolderRefused:
            continue
        assert found == folder.identity


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "x"}', '{"format": 1}', '{"format": null}'])
def test_identity_damaged_is_refused_untouched(tmp_path: Path, text: str) -> None:
    """Garbage is neither a newer format nor an empty folder."""
    Folder.open(tmp_path).close()
    (tmp_path / "DKV").write_text(text)
    refused(tmp_path, "damaged")


def test_identity_with_fields_of_a_later_release_opens(tmp_path: Path) -> None:
    """Fields may be added within a format; the checksum covers them."""
    steps = creation_steps(tmp_path, IDENTITY)
    list(steps)
    fields = json.loads((tmp_path / "DKV").read_text())
    del fields["crc32"]
    fields["colour"] = "green"
    fields["crc32"] = zlib.crc32(json.dumps(fields, sort_keys=True).encode())
    (tmp_path / "DKV").write_text(json.dumps(fields))
    folder = Folder.open(tmp_path)
    assert folder.node_id == 42
    folder.close()


@pytest.mark.parametrize("name", ["data", "logs"])
def test_folder_without_its_data_or_logs_is_refused_untouched(tmp_path: Path, name: str) -> None:
    """A node that lost half its memory must not start as if it were new."""
    Folder.open(tmp_path).close()
    (tmp_path / name).rmdir()
    refused(tmp_path, f"lost its folder {name}")


def test_folder_read_only_is_refused_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the system, so that it also holds for those whom modes do not stop."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(tmp_path, "read-only")


def test_file_in_place_of_folder_is_refused_untouched(tmp_path: Path) -> None:
    """A file stays a file, also above the folder."""
    (tmp_path / "db").write_bytes(b"a file")
    refused(tmp_path / "db", "not a folder")
    with pytest.raises(FolderRefused, match="cannot be written"):
        Folder.open(tmp_path / "db" / "below")


def test_creation_on_full_device_is_refused_and_frees_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error while creating is told as such, and the next attempt starts over."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(FolderRefused, match="No space left"):
            Folder.open(tmp_path)
    Folder.open(tmp_path).close()
