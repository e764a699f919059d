"""The numbers of a node's Raft groups and of its links to other nodes, read when somebody scrapes: no turn counts them.

What is asked of every group that is led here costs 3 microseconds each, so a thousand of them hold a turn up for 3 ms.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dkv.node.hosted import Hosted
from dkv.node.node import Node
from dkv.node.role import NOBODY
from dkv.ports.consensus import Consensus


def raft_stats(node: Node) -> dict[str, object]:
    """Keys as in `services.raft_metrics`; those of other nodes only where there can be any."""
    hosted = node.vbuckets.values()
    stats: dict[str, object] = {
        **node.consensus.raft_stats(),
        "led": sum(each.is_leader for each in hosted),
        "leaderless": sum(each.leader == NOBODY for each in hosted),
        "reads_waiting": sum(each.reads.barriers.waiting_count for each in hosted),
        "lease_answers": sum(each.reads.lease.answers for each in hosted),
        "unapplied": sum(len(each.unapplied) for each in hosted),
        "applied": sum(each.replica.applied_index for each in hosted),
        "changes": sum(each.replica.change_number for each in hosted),
    }
    if node.peering is None or node.duties is None:
        return stats
    peering, snapshots, membership = node.peering, node.duties.snapshots, node.duties.membership
    forwarding = peering.forwarding
    lags = worst_lags(hosted, node.consensus)
    addresses, nodes = membership.addresses, membership.nodes()
    leader = nodes.get(node.sole.leader_node)
    return stats | {
        "leader": leader.address if leader is not None else "",
        "unreadable": peering.unreadable,
        "handed_over": forwarding.handed_over_ever,
        "handed_over_now": forwarding.handed_over_count,
        "taken": forwarding.taken_ever,
        "taken_now": forwarding.taken_count,
        "snapshots_sent": snapshots.sent,
        "snapshots_installed": snapshots.installed,
        "snapshots_failed": snapshots.failed,
        "snapshots_outgoing": snapshots.outgoing_count,
        "snapshots_incoming": snapshots.incoming_count,
        "snapshot_bytes_sent": snapshots.bytes_sent_ever,
        "snapshot_bytes_received": snapshots.bytes_received_ever,
        "peers": {
            addresses[peer]: {
                "node": peer,
                "up": int(link.is_up),
                "refusal": link.refusal,
                "queued_bytes": link.queued_bytes,
                "dropped": link.dropped,
                "lag": lags.get(peer, 0),
            }
            for peer, link in membership.links().items()
            if peer in addresses
        },
    }


def worst_lags(hosted: Iterable[Hosted], consensus: Consensus) -> Mapping[int, int]:
    """Entries that the replica furthest behind lacks, by its node, of the vBuckets led here. One that has not answered
    yet lacks all."""
    worst: dict[int, int] = {}
    for each in hosted:
        if each.is_leader and not each.is_alone:
            status: Mapping[str, Any] = consensus.status(each.vbucket)
            for replica, (matched, *_) in status["peers"].items():
                peer = each.node_of(replica)
                worst[peer] = max(worst.get(peer, 0), status["last_index"] - matched)
    return worst
