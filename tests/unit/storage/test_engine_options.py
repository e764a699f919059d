"""Which engine options of an ini file are honoured, reported or refused."""

import time
from pathlib import Path

import pytest

from dkv.model.errors import InvalidRequest
from dkv.ports.store import RowBatch
from dkv.storage import rocksdb_options as known
from dkv.storage.rocksdb import RocksDbStore


def options_file(folder: Path) -> dict[str, str]:
    """What the engine itself says it runs with."""
    path = max(folder.glob("OPTIONS-*"))
    pairs = (line.strip().partition("=")[::2] for line in path.read_text().splitlines() if "=" in line)
    return dict(pairs)


def opened(folder: Path, options: dict[str, str], cache_bytes: int = 1 << 20) -> tuple[list[str], dict[str, str]]:
    store = RocksDbStore(folder, engine_options=options, cache_bytes=cache_bytes)
    store.close()
    return store.unknown_options, options_file(folder)


def test_options_known_reach_the_engine(tmp_path: Path) -> None:
    """Numbers with and without units, flags, compressions, irregular names and table options."""
    unknown, effective = opened(
        tmp_path,
        {
            "write_buffer_size": "8M",
            "max_background_jobs": "3",
            "level0_slowdown_writes_trigger": "33",
            "optimize_filters_for_hits": "true",
            "compression": "kZSTD",
            "block_size": "16K",
        },
    )
    assert unknown == []
    assert effective["write_buffer_size"] == str(8 << 20)
    assert effective["max_background_jobs"] == "3"
    assert effective["level0_slowdown_writes_trigger"] == "33"
    assert effective["optimize_filters_for_hits"] == "true"
    assert effective["compression"] == "kZSTD"
    assert effective["block_size"] == str(16 << 10)


def test_options_unknown_or_about_durability_are_reported_not_applied(tmp_path: Path) -> None:
    """The original's sample file must not switch our history off, nor a typo pass for an option."""
    unknown, effective = opened(tmp_path, {"WAL_ttl_seconds": "0", "wal_dir": "/elsewhere", "writ_buffer": "1"})
    assert unknown == ["WAL_ttl_seconds", "wal_dir", "writ_buffer"]
    assert "/elsewhere" not in effective.values()


@pytest.mark.parametrize(
    ("name", "text"),
    [("write_buffer_size", "many"), ("write_buffer_size", "-1"), ("compression", "kZip"), ("use_direct_reads", "aye")],
)
def test_options_impossible_value_is_refused_with_name_and_value(tmp_path: Path, name: str, text: str) -> None:
    """The text says which option, and nothing was created."""
    with pytest.raises(InvalidRequest, match=f"{name}: '{text}'"):
        RocksDbStore(tmp_path / "rows", engine_options={name: text})
    assert not (tmp_path / "rows").exists()


def test_every_known_option_has_its_setter() -> None:
    """The tables name methods as text; each must exist and take its parsed value."""
    for table in (known._ENGINE_OPTIONS, known._TABLE_OPTIONS):
        for name, (_, parse) in table.items():
            text = {"_number": "7", "_flag": "true", "_compression": "kZSTD", "float": "8"}[parse.__name__]
            assert known.engine_setup(1 << 20, 1 << 20, {name: text}).unknown == []


def test_block_cache_takes_effect(tmp_path: Path) -> None:
    """0: none at all; otherwise used by reads and not beyond its size."""
    _, without = opened(tmp_path / "without", {}, cache_bytes=0)
    assert without["no_block_cache"] == "true"
    _, with_cache = opened(tmp_path / "with", {})
    assert with_cache["no_block_cache"] == "false"
    assert with_cache["cache_index_and_filter_blocks"] == "true"


def test_info_logs_and_bloom_filter_are_bounded_and_on(tmp_path: Path) -> None:
    """What the defaults promise."""
    _, effective = opened(tmp_path, {})
    assert effective["keep_log_file_num"] == "3"
    assert effective["compression"] == "kLZ4Compression"
    assert effective["whole_key_filtering"] == "true"
    assert effective["filter_policy"] == "bloomfilter"
    assert effective["wal_recovery_mode"] == "kPointInTimeRecovery"


def test_files_full_of_deletions_are_compacted_at_once(tmp_path: Path) -> None:
    """A scan does not walk over a deleted range for long: the file that holds its deletions goes, and the rows'."""
    store = RocksDbStore(tmp_path / "data")
    keys = [b"\0\0\0\4%06d" % number for number in range(20_000)]
    store.write(RowBatch([(key, b"\0value") for key in keys]))
    store.flush()
    store.write(RowBatch([(key, None) for key in keys]))
    store.flush()
    deadline = time.monotonic() + 30
    while store.stats()["engine_files_bytes"] > 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.close()


def test_cache_keeps_the_filter_of_a_large_compacted_file(tmp_path: Path) -> None:
    """It is one block, larger than a shard of an LRU cache of this size would be, which lets go of it at once."""
    rows = 1_000_000
    keys = [b"\0\0\0\4%08d" % number for number in range(rows)]
    store = RocksDbStore(tmp_path, cache_bytes=8 << 20)
    try:
        for part in (keys[::2], keys[1::2]):  # two files that overlap: they are written anew as one, not just moved
            for start in range(0, len(part), 10_000):
                store.write(RowBatch([(key, b"\0") for key in part[start : start + 10_000]]))
            store.flush()
        store.request_compaction(keys[0], keys[-1] + b"\0")
        until = time.monotonic() + 30
        while any(each["level"] == 0 for each in store._database.live_files()):
            assert time.monotonic() < until
            time.sleep(0.05)
        store.get_many(keys[:1])
        assert store.stats()["engine_cache_bytes"] > rows * known._BLOOM_BITS_PER_KEY // 8
    finally:
        store.close()
