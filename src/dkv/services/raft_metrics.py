"""The metrics of Raft and of the other nodes. `docs/usage/operations.md` has the same names; a test compares them."""

from collections.abc import Iterator, Mapping
from typing import cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from dkv.services.metric_table import Family, Kind, families

_GAUGE, _COUNTER = Kind.GAUGE, Kind.COUNTER

RAFT = (
    Family("groups", "dkv_raft_groups", _GAUGE, "Raft groups with a replica here, one a vBucket."),
    Family("awake", "dkv_raft_groups_awake", _GAUGE, "Of them, those that do not sleep."),
    Family("led", "dkv_raft_groups_led", _GAUGE, "Of them, those led here."),
    Family("leaderless", "dkv_raft_groups_without_leader", _GAUGE, "Of them, those that know of no leader."),
    Family("lagging", "dkv_raft_groups_lagging", _GAUGE, "Of those led here, those with a replica far behind."),
    Family("stuck", "dkv_raft_groups_needing_snapshot", _GAUGE, "Groups that lack what a restore has brought."),
    Family("elections", "dkv_raft_elections", _COUNTER, "Elections begun here."),
    Family("leader_changes", "dkv_raft_leader_changes", _COUNTER, "Times that a group here got another leader."),
    Family("proposals", "dkv_raft_proposals", _COUNTER, "Entries proposed here."),
    Family("committed", "dkv_raft_entries_committed", _COUNTER, "Entries that became known as committed."),
    Family("reads_waiting", "dkv_raft_reads_waiting", _GAUGE, "Questions up to where reads must see, unanswered."),
    Family("lease_answers", "dkv_raft_lease_answers", _COUNTER, "Such questions that a lease has answered."),
    Family("unreadable", "dkv_peer_messages_unreadable", _COUNTER, "Messages of other nodes that were passed over."),
    Family("handed_over", "dkv_calls_handed_over", _COUNTER, "Calls handed over to leaders."),
    Family("handed_over_now", "dkv_calls_handed_over_waiting", _GAUGE, "Of them, those not answered yet."),
    Family("taken", "dkv_calls_taken_over", _COUNTER, "Calls of other nodes taken over as the leader."),
    Family("taken_now", "dkv_calls_taken_over_waiting", _GAUGE, "Of them, those not answered yet."),
    Family("snapshots_sent", "dkv_snapshots_sent", _COUNTER, "Snapshots sent that were installed."),
    Family("snapshots_installed", "dkv_snapshots_installed", _COUNTER, "Snapshots installed here."),
    Family("snapshots_failed", "dkv_snapshots_failed", _COUNTER, "Snapshots from here that came to nothing."),
    Family("snapshots_outgoing", "dkv_snapshots_outgoing", _GAUGE, "Snapshots on their way from here."),
    Family("snapshots_incoming", "dkv_snapshots_incoming", _GAUGE, "Snapshots on their way in."),
    Family("snapshot_bytes_sent", "dkv_snapshot_bytes_sent", _COUNTER, "Bytes of snapshots sent."),
    Family("snapshot_bytes_received", "dkv_snapshot_bytes_received", _COUNTER, "Bytes of snapshots taken in."),
)
PEER = (
    Family("up", "dkv_peer_link_up", _GAUGE, "1 while the node is in touch."),
    Family("queued_bytes", "dkv_peer_queued_bytes", _GAUGE, "Bytes for the node that have not left."),
    Family("lag", "dkv_peer_lag_entries", _GAUGE, "Entries that its replica furthest behind lacks, if led here."),
    Family("dropped", "dkv_peer_messages_dropped", _COUNTER, "Messages for the node that never left."),
)
MESSAGES = (
    Family("sent", "dkv_raft_messages_sent", _COUNTER, "Messages of Raft sent."),
    Family("received", "dkv_raft_messages_received", _COUNTER, "Messages of Raft received."),
)


def raft_families(stats: Mapping[str, object]) -> Iterator[Metric]:
    """Those that there are numbers for: a server that stands alone has none of other nodes."""
    yield from families(RAFT, stats)
    if "peers" not in stats:
        return
    for family in MESSAGES:
        counter = CounterMetricFamily(family.name, family.text, labels=("kind",))
        for kind, count in sorted(cast("Mapping[str, int]", stats[family.key]).items()):
            counter.add_metric((kind,), count)
        yield counter
    peers = cast("Mapping[str, Mapping[str, int]]", stats["peers"])  # of which the families have numbers only
    for family in PEER:
        made = CounterMetricFamily if family.kind is _COUNTER else GaugeMetricFamily
        metric = made(family.name, family.text, labels=("node",))
        for address, numbers in sorted(peers.items()):
            metric.add_metric((address,), numbers[family.key])
        yield metric
