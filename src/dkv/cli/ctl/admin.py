"""The commands on a server or cluster: backup, restore, members and where things are."""

from dkv.cli.ctl.invocation import Session
from dkv.wire import messages as pb
from dkv.wire import methods

_NODE_STATUS = ("LEADER", "CANDIDATE", "FOLLOWER", "OFFLINE", "UNKNOWN")


def backup(session: Session, words: list[bytes]) -> None:
    request = pb.BackupRequest(backupPath=_text(words[0]))
    session.channel.call(methods.BACKUP, request.SerializeToString())
    session.print("Successfully backed up")


def restore(session: Session, words: list[bytes]) -> None:
    request = pb.RestoreRequest(restorePath=_text(words[0]))
    session.channel.call(methods.RESTORE, request.SerializeToString())
    session.print("Successfully restored")


def add_node(session: Session, words: list[bytes]) -> None:
    session.channel.call(methods.ADD_NODE, pb.AddNodeRequest(nodeUrl=_text(words[0])).SerializeToString())


def remove_node(session: Session, words: list[bytes]) -> None:
    session.channel.call(methods.REMOVE_NODE, pb.RemoveNodeRequest(nodeUrl=_text(words[0])).SerializeToString())


def list_nodes(session: Session, words: list[bytes]) -> None:
    reply = pb.ListNodesResponse.FromString(session.channel.call(methods.LIST_NODES, b""))
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
        session.channel.call(methods.GET_CLUSTER_INFO, request.SerializeToString())
    )
    if not reply.regionInfos:
        session.print("Found no nodes with the provided filters")
        return
    from google.protobuf import text_format  # Slow to load, and used here only.

    session.print("Current DKV cluster nodes:")
    for region in reply.regionInfos:
        session.print(text_format.MessageToString(region, as_one_line=True))


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
