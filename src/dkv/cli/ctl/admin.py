"""The commands on a server or cluster: backup, restore, members and where things are."""

from dkv.cli.ctl.invocation import Session
from dkv.wire import messages as pb

BACKUP_PATH = "/dkv.serverpb.DKVBackupRestore/Backup"
RESTORE_PATH = "/dkv.serverpb.DKVBackupRestore/Restore"
ADD_NODE_PATH = "/dkv.serverpb.DKVCluster/AddNode"
REMOVE_NODE_PATH = "/dkv.serverpb.DKVCluster/RemoveNode"
LIST_NODES_PATH = "/dkv.serverpb.DKVCluster/ListNodes"
GET_CLUSTER_INFO_PATH = "/dkv.serverpb.DKVDiscovery/GetClusterInfo"

_NODE_STATUS = ("LEADER", "CANDIDATE", "FOLLOWER", "OFFLINE", "UNKNOWN")


def backup(session: Session, words: list[bytes]) -> None:
    request = pb.BackupRequest(backupPath=_text(words[0]))
    session.channel.call(BACKUP_PATH, request.SerializeToString())
    session.print("Successfully backed up")


def restore(session: Session, words: list[bytes]) -> None:
    request = pb.RestoreRequest(restorePath=_text(words[0]))
    session.channel.call(RESTORE_PATH, request.SerializeToString())
    session.print("Successfully restored")


def add_node(session: Session, words: list[bytes]) -> None:
    session.channel.call(ADD_NODE_PATH, pb.AddNodeRequest(nodeUrl=_text(words[0])).SerializeToString())


def remove_node(session: Session, words: list[bytes]) -> None:
    session.channel.call(REMOVE_NODE_PATH, pb.RemoveNodeRequest(nodeUrl=_text(words[0])).SerializeToString())


def list_nodes(session: Session, words: list[bytes]) -> None:
    reply = pb.ListNodesResponse.FromString(session.channel.call(LIST_NODES_PATH, b""))
    if reply.leader == 0:
        session.print("WARNING: DKV Cluster unhealthy, leader unknown")
    session.print("Current DKV cluster members:")
    for node_id, node in sorted(reply.nodes.items()):
        status = _NODE_STATUS[node.status] if 0 <= node.status < len(_NODE_STATUS) else str(node.status)
        session.print(f"{node_id:x} => {node.nodeUrl} ({status}) ")


def cluster_info(session: Session, words: list[bytes]) -> None:
    """Filters are data centre, database and vBucket; all three are always sent, as by the original."""
    dc_id, database, vbucket = [_text(word) for word in [*words, b"", b"", b""][:3]]
    request = pb.GetClusterInfoRequest(dcID=dc_id, database=database, vBucket=vbucket)
    reply = pb.GetClusterInfoResponse.FromString(
        session.channel.call(GET_CLUSTER_INFO_PATH, request.SerializeToString())
    )
    if not reply.regionInfos:
        session.print("Found no nodes with the provided filters")
        return
    session.print("Current DKV cluster nodes:")
    for region in reply.regionInfos:
        session.print(" ".join(str(region).splitlines()))


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
