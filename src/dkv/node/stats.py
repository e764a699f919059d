"""The numbers of a node for /metrics, read when somebody asks: nothing here runs in a turn."""

from dkv.node.node import Node


def node_stats(node: Node) -> dict[str, object]:
    """Keys as in `services.metric_table.NODE`. Times are seconds."""
    meter, hosted = node.meter, node.sole
    replica = hosted.replica
    now = node.clock.now()
    status = node.consensus.status(replica.vbucket)
    pressure = node.store.pressure()
    everywhere = node.vbuckets.values()
    due_ms = [
        each.replica.log_time - each.replica.earliest_expiry
        for each in everywhere
        if each.replica.earliest_expiry is not None
    ]
    disbelieved_ms = [each.replica.clock.behind_ms(now) for each in everywhere if each.is_leader]
    return {
        "turns": meter.turns,
        "turn_seconds": meter.turn_seconds,
        "turn_calls": meter.turn_calls,
        "entry_commands": meter.entry_commands,
        "entry_seconds": meter.entry_seconds,
        "storage": meter.storage,
        "rows_swept": meter.rows_swept,
        "sweep_backlog": max([0, *due_ms]) / 1000,
        "earliest_expiry": (replica.earliest_expiry or 0) / 1000,
        "readable": int(all(each.is_readable for each in everywhere)),
        "term": status["term"],
        "applied_index": replica.applied_index,
        "commit_index": status["commit"],
        "last_index": status["last_index"],
        "first_index": status["first_index"],
        "change_number": replica.change_number,
        "oldest_change": replica.earliest_change,
        "history_bytes": sum(each.replica.history_bytes for each in everywhere),
        "log_time_age": max(0, now.wall_ms - replica.log_time) / 1000,
        "clock_disbelieved": max(disbelieved_ms, default=0) / 1000,
        "sessions": sum(len(each.replica.sessions) for each in everywhere),
        "iterates_open": sum(each.scans.count for each in everywhere),
        "history_readers_open": node.readers.count,
        "job_running": int(node.jobs.is_running),
        "backups_taken": node.jobs.backups_taken,
        "restores_done": node.jobs.restores_done,
        "jobs_failed": node.jobs.jobs_failed,
        "last_backup": node.jobs.last_backup_ms / 1000,
        "entries_waiting": sum(each.writes.waiting_entries for each in everywhere),
        "entries_unapplied": sum(len(each.unapplied) for each in everywhere),
        "engine_stopped": int(pressure.stopped),
        "engine_delayed": pressure.delayed_bytes_per_s,
        "disk_free": node.store.free_bytes(),
        "disk_free_min": node.disk.free_bytes_min,
    }
