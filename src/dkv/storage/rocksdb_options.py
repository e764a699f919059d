"""How RocksDB is set up, and which options of a user's ini file it honours.

The defaults aim at a small idle process, a fast open and steady writes on one writing thread. A user's options come
over them, by RocksDB's own names (`write_buffer_size = 64M`). What is not in the table is reported, never guessed.

What a newcomer breaks first: an option that touches durability (`WAL_ttl_seconds`, `disable_wal`, `use_fsync`, recovery
modes, directories) must stay out of the table: the node's promises rest on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rocksdict import BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, DBRecoveryMode, Options

from dkv.model.errors import InvalidRequest

MIB = 1 << 20
CACHE_BYTES_DEFAULT = 64 * MIB
WRITE_BUFFER_BYTES_DEFAULT = 64 * MIB

_BLOOM_BITS_PER_KEY = 10
"""1 % of look-ups of absent keys read a block; RocksDB's own recommendation."""
_BLOCK_BYTES = 8 * 1024
"""Between point reads (small) and scans and index memory (large)."""
_ENTRY_BYTES_UNKNOWN = 0
"""Blocks are of many sizes: the cache sees for itself."""
_OPEN_FILES_MAX = 512
"""Half of the usual limit of 1,024 descriptors: the rest is for connections. Also bounds what an open has to load."""
_DELETIONS_WINDOW, _DELETIONS_MAX, _DELETIONS_SHARE = 10_000, 5_000, 0.5
"""A file with so many deletions among so many neighbours, or of so large a share, is compacted at once: scans walk over
deleted rows, 0.2 s for a million (measured), until a compaction drops them."""
_INFO_LOG_BYTES_MAX = 4 * MIB
_INFO_LOG_FILES_MAX = 3

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_COMPRESSIONS = {
    "kNoCompression": DBCompressionType.none,
    "kSnappyCompression": DBCompressionType.snappy,
    "kBZip2Compression": DBCompressionType.bz2,
    "kLZ4Compression": DBCompressionType.lz4,
    "kLZ4HCCompression": DBCompressionType.lz4hc,
    "kZSTD": DBCompressionType.zstd,
}


@dataclass(slots=True)
class EngineSetup:
    """The two objects that rocksdict wants, and the names in the user's options that nobody knew."""

    options: Options
    unknown: list[str]


def engine_setup(cache_bytes: int, write_buffer_bytes: int, overrides: Mapping[str, str]) -> EngineSetup:
    """Options for opening. Raises InvalidRequest for a known option with an impossible value."""
    options = _defaults(write_buffer_bytes)
    table = _table_defaults(cache_bytes)
    unknown = []
    for name, text in overrides.items():
        if name in _ENGINE_OPTIONS:
            method, parse = _ENGINE_OPTIONS[name]
            getattr(options, method)(_parsed(name, text, parse))
        elif name in _TABLE_OPTIONS:
            method, parse = _TABLE_OPTIONS[name]
            getattr(table, method)(_parsed(name, text, parse))
        else:
            unknown.append(name)
    options.set_block_based_table_factory(table)
    return EngineSetup(options, unknown)


def _defaults(write_buffer_bytes: int) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_write_buffer_size(write_buffer_bytes)
    options.set_max_write_buffer_number(3)
    options.set_compaction_style(DBCompactionStyle.level())
    options.set_level_compaction_dynamic_level_bytes(True)
    options.add_compact_on_deletion_collector_factory(_DELETIONS_WINDOW, _DELETIONS_MAX, _DELETIONS_SHARE)
    options.set_max_background_jobs(2)
    options.set_bytes_per_sync(MIB)
    options.set_allow_concurrent_memtable_write(False)
    options.set_enable_write_thread_adaptive_yield(False)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_paranoid_checks(True)
    options.set_max_open_files(_OPEN_FILES_MAX)
    options.set_skip_stats_update_on_db_open(True)
    options.set_avoid_unnecessary_blocking_io(True)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_max_log_file_size(_INFO_LOG_BYTES_MAX)
    options.set_keep_log_file_num(_INFO_LOG_FILES_MAX)
    options.set_max_manifest_file_size(16 * MIB)
    return options


def _table_defaults(cache_bytes: int) -> BlockBasedOptions:
    table = BlockBasedOptions()
    table.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    table.set_block_size(_BLOCK_BYTES)
    table.set_format_version(5)
    if cache_bytes == 0:
        table.disable_cache()
        return table
    # Not the LRU cache: it divides 64 MiB into 64 shards, and the filter of a large file, which is larger than a shard,
    # was read and checked anew by every look-up (0.35 ms for a file of a million keys).
    table.set_block_cache(Cache.new_hyper_clock_cache(cache_bytes, _ENTRY_BYTES_UNKNOWN))
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    return table


def _number(text: str) -> int:
    unit = _UNITS.get(text[-1:].upper(), 0)
    number = int(text[:-1]) * unit if unit else int(text)
    if number < 0:
        raise ValueError(text)
    return number


def _flag(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _compression(text: str) -> DBCompressionType:
    return _COMPRESSIONS[text]()


def _parsed(name: str, text: str, parse: Callable[[str], object]) -> object:
    try:
        return parse(text.strip())
    except (ValueError, KeyError, OverflowError) as error:
        raise InvalidRequest(f"engine option {name}: {text!r} is not a value it can have") from error


_ENGINE_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    **{
        name: (f"set_{name}", _number)
        for name in (
            "arena_block_size",
            "bytes_per_sync",
            "compaction_readahead_size",
            "db_write_buffer_size",
            "hard_pending_compaction_bytes_limit",
            "keep_log_file_num",
            "log_file_time_to_roll",
            "max_background_jobs",
            "max_bytes_for_level_base",
            "max_compaction_bytes",
            "max_log_file_size",
            "max_manifest_file_size",
            "max_open_files",
            "max_sequential_skip_in_iterations",
            "max_subcompactions",
            "max_total_wal_size",
            "max_write_buffer_number",
            "min_write_buffer_number_to_merge",
            "num_levels",
            "soft_pending_compaction_bytes_limit",
            "stats_dump_period_sec",
            "target_file_size_base",
            "target_file_size_multiplier",
            "wal_bytes_per_sync",
            "writable_file_max_buffer_size",
            "write_buffer_size",
        )
    },
    **{
        name: (f"set_{name}", _flag)
        for name in (
            "allow_mmap_reads",
            "level_compaction_dynamic_level_bytes",
            "optimize_filters_for_hits",
            "use_direct_io_for_flush_and_compaction",
            "use_direct_reads",
        )
    },
    "max_bytes_for_level_multiplier": ("set_max_bytes_for_level_multiplier", float),
    "level0_file_num_compaction_trigger": ("set_level_zero_file_num_compaction_trigger", _number),
    "level0_slowdown_writes_trigger": ("set_level_zero_slowdown_writes_trigger", _number),
    "level0_stop_writes_trigger": ("set_level_zero_stop_writes_trigger", _number),
    "compression": ("set_compression_type", _compression),
    "bottommost_compression": ("set_bottommost_compression_type", _compression),
}

_TABLE_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "block_size": ("set_block_size", _number),
    "block_restart_interval": ("set_block_restart_interval", _number),
    "cache_index_and_filter_blocks": ("set_cache_index_and_filter_blocks", _flag),
    "pin_l0_filter_and_index_blocks_in_cache": ("set_pin_l0_filter_and_index_blocks_in_cache", _flag),
    "metadata_block_size": ("set_metadata_block_size", _number),
}
