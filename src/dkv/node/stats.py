"""The numbers of a node for /metrics, read when somebody asks: nothing here runs in a turn.

Of several vBuckets there is one number each all the same, so that a thousand of them are no thousand series: a sum,
where rates are taken of it, or the one that an operator has to look at. With one vBucket each is that one's.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from dkv.node.hosted import Hosted
from dkv.node.node import Node


def node_stats(node: Node) -> dict[str, object]:
    """Keys as in `services.metric_table.NODE`. Times are seconds."""
    meter = node.meter
    pressure = node.store.pressure()
    return {
        **turn_stats(node),
        "entry_commands": meter.entry_commands,
        "entry_seconds": meter.entry_seconds,
        "storage": meter.storage,
        "rows_swept": meter.rows_swept,
        **_vbuckets(node),
        "history_readers_open": node.readers.count,
        "job_running": int(node.jobs.is_running),
        "backups_taken": node.jobs.backups_taken,
        "restores_done": node.jobs.restores_done,
        "jobs_failed": node.jobs.jobs_failed,
        "last_backup": node.jobs.last_backup_ms / 1000,
        "engine_stopped": int(pressure.stopped),
        "engine_delayed": pressure.delayed_bytes_per_s,
        "disk_free": node.store.free_bytes(),
        "disk_free_min": node.disk.free_bytes_min,
    }


def turn_stats(node: Node) -> dict[str, object]:
    """Those of the node's thread, which cost the same however many vBuckets there are."""
    meter = node.meter
    return {
        "turns": meter.turns,
        "turn_seconds": meter.turn_seconds,
        "turn_calls": meter.turn_calls,
        "iterates_open": sum(each.scans.count for each in node.vbuckets.values()),
    }


def _vbuckets(node: Node) -> dict[str, object]:
    """What each vBucket has a number of."""
    hosted = list(node.vbuckets.values())
    replicas = [each.replica for each in hosted]
    rafts = [cast("Mapping[str, int]", node.consensus.status(number)) for number in node.vbuckets]
    return {
        **_times(node, hosted),
        "readable": int(all(each.is_readable for each in hosted)),
        "term": max(raft["term"] for raft in rafts),
        "applied_index": sum(each.applied_index for each in replicas),
        "commit_index": sum(raft["commit"] for raft in rafts),
        "last_index": sum(raft["last_index"] for raft in rafts),
        "first_index": sum(raft["first_index"] for raft in rafts),
        "change_number": sum(each.change_number for each in replicas),
        "oldest_change": sum(each.earliest_change for each in replicas) - len(replicas) + 1,
        "changes_kept_min": _changes_kept_min(node),
        "history_bytes": sum(each.history_bytes for each in replicas),
        "sessions": sum(len(each.sessions) for each in replicas),
        "entries_waiting": sum(each.writes.waiting_entries for each in hosted),
        "entries_unapplied": sum(len(each.unapplied) for each in hosted),
        "entries_unapplied_max": max(len(each.unapplied) for each in hosted),
    }


def _times(node: Node, hosted: Sequence[Hosted]) -> dict[str, float]:
    """The worst of all."""
    now = node.clock.now()
    replicas = [each.replica for each in hosted]
    expiring = [(each.log_time, each.earliest_expiry) for each in replicas if each.earliest_expiry is not None]
    disbelieved_ms = [each.replica.clock.behind_ms(now) for each in hosted if each.is_leader]
    return {
        "sweep_backlog": max([0, *(log_time - due for log_time, due in expiring)]) / 1000,
        "earliest_expiry": min((due for _, due in expiring), default=0) / 1000,
        "log_time_age": max([0, *(now.wall_ms - each.log_time for each in replicas)]) / 1000,
        "clock_disbelieved": max(disbelieved_ms, default=0) / 1000,
    }


def _changes_kept_min(node: Node) -> int:
    """Of the vBucket that keeps the fewest, among those that have let any go; of all together while none has."""
    kept = [each.replica.change_number - each.replica.earliest_change + 1 for each in node.vbuckets.values()]
    purged = [each.replica.earliest_change > 1 for each in node.vbuckets.values()]
    return min((count for count, has_purged in zip(kept, purged, strict=True) if has_purged), default=sum(kept))
