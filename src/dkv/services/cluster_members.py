"""What GetMembers tells of nodes and groups."""

from collections.abc import Sequence

from dkv.cluster.group import Group
from dkv.services.cluster_port import ClusterPort
from dkv.wire import messages as wire


def node_statuses(port: ClusterPort, groups: Sequence[Group]) -> list[wire.NodeStatus]:
    """By address."""
    links, statuses = port.links(), []
    for node, member in sorted(port.nodes().items(), key=lambda each: each[1].address):
        held = [(group, each.replica) for group in groups if (each := group.at(node)) is not None]
        link = links.get(node)
        statuses.append(
            wire.NodeStatus(
                node=node,
                address=member.address,
                url=member.url,
                isUp=node == port.node_id or (link is not None and link.is_up),
                refusal=link.refusal if link is not None else "",
                leads=sum(group.leader == replica for group, replica in held),
                replicas=len(held),
            )
        )
    return statuses


def group_status(port: ClusterPort, group: Group) -> wire.GroupStatus:
    """As the node knows it."""
    nodes = {member.replica: member.node for member in group.members}
    snapshots = port.snapshots()
    replicas = []
    for replica, node in sorted(nodes.items()):
        replicas.append(
            wire.ReplicaStatus(
                replica=replica,
                node=node,
                role=_role(group, replica),
                lagEntries=group.lags.get(replica),
                snapshotBytesSent=snapshots.get((group.vbucket, replica)),
            )
        )
    leader = nodes.get(group.leader, 0)
    return wire.GroupStatus(vBucket=group.vbucket, leader=leader, term=group.term, replicas=replicas)


def _role(group: Group, replica: int) -> int:
    if group.is_voter(replica):
        return wire.ReplicaRole.VOTER
    return wire.ReplicaRole.LEARNER if replica in group.conf[1] else wire.ReplicaRole.LEAVING
