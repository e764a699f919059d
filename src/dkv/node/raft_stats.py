"""The numbers of a node's Raft groups and of its links to other nodes, read when somebody scrapes: no turn counts them.

What is asked of every group that is led here costs 3 microseconds each, so a thousand of them hold a turn up for 3 ms.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dkv.cluster.group import FAR_BEHIND_ENTRIES
from dkv.node.hosted import Hosted
from dkv.node.node import Node
from dkv.node.role import NOBODY
from dkv.ports.consensus import Consensus


def raft_stats(node: Node) -> dict[str, object]:
    """Keys as in `services.raft_metrics`; those of other nodes only where there can be any."""
    hosted = node.vbuckets.values()
    lags = list(lags_of(hosted, node.consensus))
    stats: dict[str, object] = {
        **node.consensus.raft_stats(),
        "led": sum(each.is_leader for each in hosted),
        "leaderless": sum(each.leader == NOBODY for each in hosted),
        "stuck": sum(each.is_stuck for each in hosted),
        "lagging": sum(any(lag >= FAR_BEHIND_ENTRIES for lag in each.values()) for each in lags),
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
    behind = worst(lags)
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
        "snapshots_installed": snapshots.arrivals.installed,
        "snapshots_failed": snapshots.failed,
        "snapshots_outgoing": snapshots.outgoing_count,
        "snapshots_incoming": len(snapshots.arrivals.vbuckets),
        "snapshot_bytes_sent": snapshots.bytes_sent_ever,
        "snapshot_bytes_received": snapshots.arrivals.bytes_received_ever,
        "peers": {
            addresses[peer]: {
                "node": peer,
                "up": int(link.is_up),
                "refusal": link.refusal,
                "queued_bytes": link.queued_bytes,
                "dropped": link.dropped,
                "lag": behind.get(peer, 0),
            }
            for peer, link in membership.links().items()
            if peer in addresses
        },
    }


def lags_of(hosted: Iterable[Hosted], consensus: Consensus) -> Iterator[Mapping[int, int]]:
    """Of each vBucket led here: entries that the other replicas lack, by their nodes. One that has not answered yet
    lacks all."""
    for each in hosted:
        if each.is_leader and not each.is_sole_member:
            status: Mapping[str, Any] = consensus.status(each.vbucket)
            own, last = each.replica.replica, status["last_index"]
            yield {
                each.node_of(replica): last - matched
                for replica, (matched, *_) in status["peers"].items()
                if replica != own
            }


def worst(lags: Iterable[Mapping[int, int]]) -> Mapping[int, int]:
    """Of the replica furthest behind, by its node."""
    found: dict[int, int] = {}
    for each in lags:
        for node, lag in each.items():
            found[node] = max(found.get(node, 0), lag)
    return found
