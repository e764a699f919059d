"""The commands on a cluster of ours: its members and groups, another leader, another node."""

from __future__ import annotations

from collections.abc import Iterator

from dkv.cli.ctl.invocation import Session, UsageError
from dkv.cluster.group import UNHEARD
from dkv.wire import messages as pb
from dkv.wire import methods
from dkv.wire.fields import to_fields

GROUPS_SHOWN = 20
"""Of those in which nothing is wrong."""


def members(session: Session, words: list[bytes]) -> None:
    """As the nodes see them together: how far a replica lags its leader alone knows."""
    from dkv.cli.ctl.fleet import Fleet  # Loaded by those who look.

    vbucket = parse_vbucket(words[0]) if words else 0
    fleet = Fleet(session)
    try:
        fleet.find()
        cluster = fleet.look(vbucket).cluster
    finally:
        fleet.close()
    if session.options.json:
        session.result({**to_fields(cluster), "clusterId": cluster.clusterId.hex()})
        return
    for line in members_lines(cluster):
        session.print(line)


def leader(session: Session, words: list[bytes]) -> None:
    """leader transfer NODE [VBUCKET]"""
    if words[0] != b"transfer":
        raise UsageError(f"leader: expected transfer, not {words[0].decode(errors='replace')!r}")
    vbucket = parse_vbucket(words[2]) if len(words) > 2 else 0
    request = pb.TransferLeadershipRequest(node=words[1].decode(errors="replace"), vBucket=vbucket)
    session.client.call(methods.TRANSFER_LEADERSHIP_PATH, request.SerializeToString())
    session.result({"ok": True}, "OK")


def replace_node(session: Session, words: list[bytes]) -> None:
    """The one that leaves, the one that comes."""
    old, new = (word.decode(errors="replace") for word in words)
    request = pb.ReplaceNodeRequest(nodeUrl=old, newNodeUrl=new)
    session.client.call(methods.REPLACE_NODE_PATH, request.SerializeToString())
    session.result({"ok": True}, "OK")


def members_lines(cluster: pb.GetMembersResponse) -> Iterator[str]:
    """For people: nodes, then groups, those first that want a look."""
    addresses = {node.node: node.address for node in cluster.nodes}
    yield f"cluster {cluster.name}, vBuckets: {len(cluster.groups)}"
    width = max((len(node.address) for node in cluster.nodes), default=0)
    for node in cluster.nodes:
        state = "up" if node.isUp else f"down{f': {node.refusal}' if node.refusal else ''}"
        yield f"  {node.address:<{width}}  leads {node.leads} of {node.replicas}  {state}"
    settled = 0
    for group in sorted(cluster.groups, key=lambda group: (_is_settled(group), group.vBucket)):
        settled += _is_settled(group)
        if settled <= GROUPS_SHOWN:
            yield _group_line(group, addresses)
    if settled > GROUPS_SHOWN:
        yield f"  and {settled - GROUPS_SHOWN} vBuckets in which nothing is under way (--json has all)"


def unsettled_lines(cluster: pb.GetMembersResponse) -> Iterator[str]:
    """The groups that want a look."""
    addresses = {node.node: node.address for node in cluster.nodes}
    found = [group for group in cluster.groups if not _is_settled(group)]
    yield from (_group_line(group, addresses) for group in found[:GROUPS_SHOWN])
    if len(found) > GROUPS_SHOWN:
        yield f"  and {len(found) - GROUPS_SHOWN} more vBuckets with something under way (--json has all)"


def _is_settled(group: pb.GroupStatus) -> bool:
    is_plain = all(each.role == pb.ReplicaRole.VOTER and not _is_sent(each) for each in group.replicas)
    return group.leader != 0 and is_plain


def _group_line(group: pb.GroupStatus, addresses: dict[int, str]) -> str:
    head = addresses.get(group.leader, "unknown") if group.leader else "unknown"
    others = sorted(_replica_text(each, addresses) for each in group.replicas if each.node != group.leader)
    return f"  vBucket {group.vBucket}: leader {head}, term {group.term}; {', '.join(others) or 'no other replica'}"


def _replica_text(replica: pb.ReplicaStatus, addresses: dict[int, str]) -> str:
    words = [addresses.get(replica.node, f"{replica.node:x}")]
    if replica.role != pb.ReplicaRole.VOTER:
        words.append("learner" if replica.role == pb.ReplicaRole.LEARNER else "leaving")
    if _is_sent(replica):
        words.append(f"is sent a snapshot, {replica.snapshotBytesSent >> 20} MiB so far")
    elif replica.HasField("lagEntries"):
        is_heard = replica.lagEntries < UNHEARD
        words.append(f"{replica.lagEntries} entries behind" if is_heard else "not heard of yet")
    return " ".join(words)


def _is_sent(replica: pb.ReplicaStatus) -> bool:
    return replica.HasField("snapshotBytesSent")


def parse_vbucket(word: bytes) -> int:
    if not word.isdigit() or not 0 < int(word) < 1 << 32:
        raise UsageError(f"a vBucket is a number from 1 on, not {word.decode(errors='replace')!r}")
    return int(word)
