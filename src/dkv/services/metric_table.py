"""The metrics that are one number or one histogram each: where it stands among the stats, its name, its meaning.

`docs/usage/operations.md` has the same names; a test compares it with what a server answers. What has labels stands in
`metrics`.
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from dkv.services.histogram import Histogram


class Kind(Enum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    key: str
    """Among the stats of its part."""
    name: str
    """A counter gets `_total` behind it."""
    kind: Kind
    text: str


_GAUGE, _COUNTER, _HISTOGRAM = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

NODE = (
    Family("turns", "dkv_turns", _COUNTER, "Turns of the node."),
    Family("turn_seconds", "dkv_turn_seconds", _HISTOGRAM, "Work of a turn, waiting for news not included."),
    Family("turn_calls", "dkv_turn_calls", _HISTOGRAM, "Calls taken in a turn that took any."),
    Family("entry_commands", "dkv_entry_commands", _HISTOGRAM, "Commands in an entry proposed."),
    Family("entry_seconds", "dkv_entry_seconds", _HISTOGRAM, "From the proposal of an entry to its application."),
    Family("rows_swept", "dkv_expired_rows_swept", _COUNTER, "Expired rows that a sweep was proposed for."),
    Family("sweep_backlog", "dkv_sweep_backlog_seconds", _GAUGE, "How long the oldest row due has been due."),
    Family("earliest_expiry", "dkv_earliest_expiry_timestamp_seconds", _GAUGE, "The next expiry; 0: none is known."),
    Family("readable", "dkv_is_readable", _GAUGE, "1 when calls are answered."),
    Family("term", "dkv_term", _GAUGE, "Raft term, the latest of all vBuckets."),
    Family("applied_index", "dkv_applied_index", _GAUGE, "Last entry applied, of all vBuckets added up."),
    Family("commit_index", "dkv_commit_index", _GAUGE, "Last entry committed, added up."),
    Family("first_index", "dkv_log_first_index", _GAUGE, "First entry in memory, added up."),
    Family("last_index", "dkv_log_last_index", _GAUGE, "Last entry, added up."),
    Family("change_number", "dkv_change_number", _GAUGE, "Latest change, of all vBuckets added up."),
    Family("oldest_change", "dkv_history_oldest_change_number", _GAUGE, "Oldest change kept: one more than are gone."),
    Family("changes_kept_min", "dkv_history_changes_kept_min", _GAUGE, "Changes kept where the fewest are."),
    Family("history_bytes", "dkv_history_bytes", _GAUGE, "Bytes of the log that hold the changes kept."),
    Family("log_time_age", "dkv_log_time_age_seconds", _GAUGE, "Age of the time in the last entry, the oldest."),
    Family("clock_disbelieved", "dkv_clock_disbelieved_seconds", _GAUGE, "How far the clock is ahead of log time."),
    Family("sessions", "dkv_sessions", _GAUGE, "Sessions whose outcomes are kept."),
    Family("iterates_open", "dkv_iterates_open", _GAUGE, "Iterates that pin a view of the engine."),
    Family("history_readers_open", "dkv_history_readers_open", _GAUGE, "Readers of the history: feeds, GetChanges."),
    Family("job_running", "dkv_backup_running", _GAUGE, "1 while a backup or restore runs."),
    Family("backups_taken", "dkv_backups", _COUNTER, "Backups taken since the start."),
    Family("restores_done", "dkv_restores", _COUNTER, "Restores since the start."),
    Family("jobs_failed", "dkv_backup_failures", _COUNTER, "Backups and restores that failed since the start."),
    Family("last_backup", "dkv_last_backup_timestamp_seconds", _GAUGE, "The last backup; 0: none since the start."),
    Family("entries_waiting", "dkv_entries_waiting", _GAUGE, "Entries proposed here and not applied yet."),
    Family("entries_unapplied", "dkv_entries_unapplied", _GAUGE, "Entries committed that wait for the engine."),
    Family("entries_unapplied_max", "dkv_entries_unapplied_max", _GAUGE, "Of them, the most in one vBucket."),
    Family("engine_stopped", "dkv_engine_writes_stopped", _GAUGE, "1 while the engine takes no writes."),
    Family("engine_delayed", "dkv_engine_delayed_write_bytes_per_second", _GAUGE, "Rate the engine asks for; 0: any."),
    Family("disk_free", "dkv_disk_free_bytes", _GAUGE, "Free space on the disk of the data."),
    Family("disk_free_min", "dkv_disk_free_bytes_min", _GAUGE, "Below this much free space writes are refused."),
)
EDGE = (
    Family("connections", "dkv_edge_connections", _GAUGE, "Open gRPC connections."),
    Family("streams", "dkv_edge_streams", _GAUGE, "Open reply streams."),
    Family("inbox_calls", "dkv_edge_inbox_calls", _GAUGE, "Calls that wait for a turn."),
    Family("inbox_bytes", "dkv_edge_inbox_bytes", _GAUGE, "Bytes of requests that wait for a turn."),
    Family("unread_bytes", "dkv_edge_unread_bytes", _GAUGE, "Bytes of replies that are not read yet, tiny ones aside."),
    Family("overloaded", "dkv_edge_overloaded", _COUNTER, "Calls and connections refused for want of room."),
)
LOG = (
    Family("appends", "dkv_log_appends", _COUNTER, "Batches of entries written."),
    Family("syncs", "dkv_log_syncs", _COUNTER, "Syncs of the log."),
    Family("save", "dkv_log_sync_seconds", _HISTOGRAM, "Write and sync of a batch."),
    Family("sync_seconds_max", "dkv_log_sync_seconds_max", _GAUGE, "The longest sync since the start."),
    Family("append_bytes", "dkv_log_append_bytes", _COUNTER, "Bytes written to the log."),
    Family("queued_bytes", "dkv_log_queued_bytes", _GAUGE, "Bytes handed to the log and not durable yet."),
    Family("disk_bytes", "dkv_log_disk_bytes", _GAUGE, "Bytes of the log's files."),
)
STORE = (
    Family("engine_memtable_bytes", "dkv_storage_engine_memtable_bytes", _GAUGE, "Memtables in memory."),
    Family("engine_memtable_bytes", "dkv_rocksdb_memory_usage_memtable_total", _GAUGE, "The same."),
    Family("engine_unflushed_bytes", "dkv_rocksdb_memory_usage_memtable_unflushed", _GAUGE, "Memtables not flushed."),
    Family("engine_cache_bytes", "dkv_storage_engine_cache_bytes", _GAUGE, "Block cache in use."),
    Family("engine_cache_bytes", "dkv_rocksdb_memory_usage_cache_total", _GAUGE, "The same."),
    Family("engine_table_reader_bytes", "dkv_storage_engine_table_reader_bytes", _GAUGE, "Indexes outside the cache."),
    Family("engine_table_reader_bytes", "dkv_rocksdb_memory_usage_memtable_readers_total", _GAUGE, "The same."),
    Family("engine_live_bytes", "dkv_storage_engine_live_bytes", _GAUGE, "Data without what is overwritten."),
    Family("engine_files_bytes", "dkv_storage_engine_files_bytes", _GAUGE, "Files of rows."),
    Family("engine_rows_estimate", "dkv_storage_engine_rows_estimate", _GAUGE, "Rows, roughly."),
    Family("engine_pending_compaction_bytes", "dkv_storage_engine_pending_compaction_bytes", _GAUGE, "To compact."),
    Family("engine_compactions_running", "dkv_storage_engine_compactions_running", _GAUGE, "Compactions now."),
    Family("engine_flushes_running", "dkv_storage_engine_flushes_running", _GAUGE, "Flushes now."),
    Family("engine_background_errors", "dkv_storage_engine_background_errors", _GAUGE, "Failed flushes, compactions."),
)


def families(table: Sequence[Family], stats: Mapping[str, object]) -> Iterator[Metric]:
    """Those of the table that the stats have a number for."""
    for family in table:
        if family.key in stats:
            yield metric(family, stats[family.key])


def metric(family: Family, value: object) -> Metric:
    if family.kind is Kind.HISTOGRAM:
        seen = cast(Histogram, value)
        return HistogramMetricFamily(family.name, family.text, list(seen.cumulative()), seen.total)
    made = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    return made(family.name, family.text, value=cast(float, value))
