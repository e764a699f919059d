"""The manifest of a backup."""

import json
from pathlib import Path

import pytest

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupDamaged, BackupFailed
from dkv.storage.backup import manifest as module
from dkv.storage.backup.manifest import BackupFile, Manifest, decode_manifest, encode_manifest

GOLDEN = Path(__file__).parents[3] / "golden" / "backup-v1.json"
MANIFEST = Manifest(
    "rocksdb",
    "2026-11-24T12:00:00+00:00",
    (BackupFacts(1, 4, 9, 2, 7, 1_700_000_000_000, bytes(range(16))),),
    (BackupFile("000009.sst", 3_000_000, "ab" * 32), BackupFile("CURRENT", 16, "cd" * 32)),
)


def test_manifest_has_the_golden_bytes_and_comes_back_equal() -> None:
    """A backup of an older release can be restored: the format never changes within a version."""
    assert encode_manifest(MANIFEST) == GOLDEN.read_bytes()
    assert decode_manifest(GOLDEN.read_bytes(), "m") == MANIFEST


def test_manifest_with_any_flipped_bit_is_damaged() -> None:
    """No byte of it can change and still be believed, but for white space that means nothing."""
    good = encode_manifest(MANIFEST)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= 1
        if bytes(good[position : position + 1]).isspace() and bytes(bad[position : position + 1]).isspace():
            continue
        with pytest.raises(BackupFailed):
            assert decode_manifest(bytes(bad), "m") == MANIFEST, position


def test_manifest_cut_at_any_place_is_damaged() -> None:
    """What a full disk or a crash leaves of it is not a manifest."""
    good = encode_manifest(MANIFEST).rstrip()
    for size in range(0, len(good), 7):
        with pytest.raises(BackupDamaged, match="where is damaged"):
            decode_manifest(good[:size], "where")


def test_manifest_of_a_newer_format_names_both_versions() -> None:
    """It is not damaged: a later release can read it."""
    with pytest.raises(BackupFailed, match="format 3, this release knows 2"):
        decode_manifest(b'{"format": 3}', "m")


def test_manifest_with_a_field_of_a_later_release_is_read() -> None:
    """Fields may be added within a version."""
    fields = json.loads(encode_manifest(MANIFEST))
    fields["colour"] = "green"
    assert decode_manifest(resigned(fields), "m") == MANIFEST


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "", ".", "..", "x" * 200, 7])
def test_manifest_with_a_name_that_leaves_the_folder_is_refused(name: object) -> None:
    """A manifest may come from anywhere; its names become paths."""
    fields = json.loads(encode_manifest(MANIFEST))
    fields["files"][0]["name"] = name
    with pytest.raises(BackupDamaged):
        decode_manifest(resigned(fields), "m")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("change_number", -1),
        ("space", "4"),
        ("log_time", True),
        ("applied_index", 1 << 64),
        ("space", (1 << 32) - 4),
        ("vbucket", 1 << 32),
        ("history_id", "00"),
    ],
)
def test_manifest_with_an_impossible_fact_is_refused(field: str, value: object) -> None:
    """Whatever wrote it: nothing is guessed."""
    fields = json.loads(encode_manifest(MANIFEST))
    fields["vbuckets"][0][field] = value
    with pytest.raises(BackupDamaged):
        decode_manifest(resigned(fields), "m")


def resigned(fields: dict[str, object]) -> bytes:
    """With a checksum that fits."""
    fields.pop("sha256")
    return json.dumps({**fields, "sha256": module._checksum(fields)}).encode()
