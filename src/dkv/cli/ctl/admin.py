"""The commands on a cluster: its members, and where things are."""

from dkv.cli.ctl.invocation import Session
from dkv.wire import messages as pb
from dkv.wire.fields import to_fields
from dkv.wire.methods import ADD_NODE_PATH, LIST_NODES_PATH, REMOVE_NODE_PATH

GET_CLUSTER_INFO_PATH = "/dkv.serverpb.DKVDiscovery/GetClusterInfo"

_NODE_STATUS = ("LEADER", "CANDIDATE", "FOLLOWER", "OFFLINE", "UNKNOWN")


def add_node(session: Session, words: list[bytes]) -> None:
    session.client.call(ADD_NODE_PATH, pb.AddNodeRequest(nodeUrl=_text(words[0])).SerializeToString())
    session.result({"ok": True})


def remove_node(session: Session, words: list[bytes]) -> None:
    session.client.call(REMOVE_NODE_PATH, pb.RemoveNodeRequest(nodeUrl=_text(words[0])).SerializeToString())
    session.result({"ok": True})


def list_nodes(session: Session, words: list[bytes]) -> None:
    reply = pb.ListNodesResponse.FromString(session.client.call(LIST_NODES_PATH, b""))
    nodes = [(f"{node_id:x}", node.nodeUrl, _status_text(node.status)) for node_id, node in sorted(reply.nodes.items())]
    if session.options.json:
        members = [{"nodeId": node_id, "nodeUrl": url, "status": status} for node_id, url, status in nodes]
        session.result({"leader": f"{reply.leader:x}" if reply.leader else None, "nodes": members})
        return
    if reply.leader == 0:
        session.print("WARNING: DKV Cluster unhealthy, leader unknown")
    session.print("Current DKV cluster members:")
    for node_id, url, status in nodes:
        session.print(f"{node_id} => {url} ({status}) ")


def cluster_info(session: Session, words: list[bytes]) -> None:
    """Filters are data centre, database and vBucket; all three are always sent, as by the original."""
    dc_id, database, vbucket = [_text(word) for word in [*words, b"", b"", b""][:3]]
    request = pb.GetClusterInfoRequest(dcID=dc_id, database=database, vBucket=vbucket)
    reply = pb.GetClusterInfoResponse.FromString(
        session.client.call(GET_CLUSTER_INFO_PATH, request.SerializeToString())
    )
    if session.options.json:
        session.result({"nodes": [to_fields(region) for region in reply.regionInfos]})
        return
    if not reply.regionInfos:
        session.print("Found no nodes with the provided filters")
        return
    session.print("Current DKV cluster nodes:")
    for region in reply.regionInfos:
        session.print(" ".join(str(region).splitlines()))


def _status_text(status: int) -> str:
    return _NODE_STATUS[status] if 0 <= status < len(_NODE_STATUS) else str(status)


def _text(word: bytes) -> str:
    return word.decode(errors="replace")
