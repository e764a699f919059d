"""The manifest of a backup: anything may be in its place, and only what was written is believed."""

import contextlib
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from dkv.model.backups import BackupFacts
from dkv.model.errors import BackupFailed
from dkv.storage.backup.manifest import BackupFile, Manifest, decode_manifest, encode_manifest

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 8)
facts = st.builds(BackupFacts, u32, u32, u64, u64, u64, u64, st.binary(min_size=16, max_size=16))
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
files = st.lists(st.builds(BackupFile, names, u64, digests), max_size=4).map(tuple)
vbuckets = st.lists(facts, min_size=1, max_size=4, unique_by=lambda each: each.vbucket).map(
    lambda found: tuple(sorted(found))
)
manifests = st.builds(Manifest, st.sampled_from(["rocksdb", "badger"]), st.text(max_size=20), vbuckets, files)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["format", "engine", "taken", "vbuckets", "files", "sha256"]


@settings(deadline=None)
@given(manifests)
def test_manifest_comes_back_equal(manifest: Manifest) -> None:
    """Decoding gives what was encoded."""
    assert decode_manifest(encode_manifest(manifest), "m") == manifest


@settings(deadline=None)
@given(manifests, st.data())
def test_manifest_with_damage_is_refused_or_says_the_same(manifest: Manifest, data: st.DataObject) -> None:
    """Bytes changed, cut or added anywhere: never another backup, never another kind of error."""
    good = encode_manifest(manifest)
    at = data.draw(st.integers(0, len(good)))
    bad = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(BackupFailed):
        assert decode_manifest(bad, "m") == manifest


@settings(deadline=None)
@given(st.binary(max_size=200) | documents.map(lambda document: json.dumps(document).encode()))
def test_manifest_of_anything_raises_nothing_but_its_own_errors(text: bytes) -> None:
    """Never KeyError, TypeError or a recursion without end."""
    with contextlib.suppress(BackupFailed):
        decode_manifest(text, "m")


@settings(deadline=None)
@given(manifests, st.sampled_from(FIELDS), documents)
def test_manifest_with_any_field_of_another_kind_is_refused_or_says_the_same(
    manifest: Manifest, field: str, value: object
) -> None:
    """The checksum is over every field."""
    fields = json.loads(encode_manifest(manifest))
    fields[field] = value
    with contextlib.suppress(BackupFailed):
        assert decode_manifest(json.dumps(fields).encode(), "m") == manifest
