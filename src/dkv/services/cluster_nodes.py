"""dkv.serverpb.DKVCluster: AddNode, RemoveNode and ListNodes as the original's clients know them (COMPATIBILITY 1.5);
and our ReplaceNode.

Nodes are named by URL. A node is added under the id that it said hello with, so it has to be there and say hello; that
is what the original means by a node that answers.
"""

from collections.abc import Sequence

from dkv.cluster.display import display_id, is_called
from dkv.cluster.lobby import Lobby
from dkv.cluster.plans import Added, Removed, Replaced
from dkv.model.errors import InvalidRequest, Unavailable
from dkv.model.members import Member
from dkv.model.node_urls import address_of, checked_address
from dkv.services.calls import Accept, parse_each
from dkv.services.cluster_changes import Changes
from dkv.services.cluster_port import ClusterPort
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

OK = wire.Status().SerializeToString()
REPLACED = wire.ReplaceNodeResponse().SerializeToString()


class NodesService:
    """Never raises for what a caller sent."""

    port: ClusterPort
    """Given by who has made it, before the first call."""

    def __init__(self, lobby: Lobby, changes: Changes) -> None:
        self._lobby, self._changes = lobby, changes
        self.accepts: dict[int, Accept] = {
            methods.ADD_NODE: self.add_node,
            methods.REMOVE_NODE: self.remove_node,
            methods.LIST_NODES: self.list_nodes,
            methods.REPLACE_NODE: self.replace_node,
        }
        """By method number."""

    def add_node(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """AddNodeRequest; answered once the node has a replica of every vBucket, which may still have to catch up."""
        ids, members = parse_each(self._parse_add, call_ids, messages, turn)
        for call_id, member in zip(ids, members, strict=True):
            self._changes.start(self.port, call_id, Added(member), OK)

    def remove_node(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """RemoveNodeRequest; well also when the node is not known."""
        ids, nodes = parse_each(self._parse_remove, call_ids, messages, turn)
        for call_id, node in zip(ids, nodes, strict=True):
            self._changes.start(self.port, call_id, Removed(node), OK)

    def replace_node(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """ReplaceNodeRequest; answered once the newcomer votes and the other is gone."""
        ids, goals = parse_each(self._parse_replace, call_ids, messages, turn)
        for call_id, goal in zip(ids, goals, strict=True):
            self._changes.start(self.port, call_id, goal, REPLACED)

    def list_nodes(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """It takes nothing, so what was sent is not looked at."""
        reply = list_nodes(self.port).SerializeToString()
        turn.reply_ids += call_ids
        turn.replies += [reply] * len(call_ids)

    def _parse_add(self, message: bytes) -> Member:
        return self._newcomer(wire.AddNodeRequest.FromString(message).nodeUrl)

    def _parse_remove(self, message: bytes) -> int:
        return self._node(wire.RemoveNodeRequest.FromString(message).nodeUrl)

    def _parse_replace(self, message: bytes) -> Replaced:
        request = wire.ReplaceNodeRequest.FromString(message)
        return Replaced(self._node(request.nodeUrl), self._newcomer(request.newNodeUrl))

    def _newcomer(self, url: str) -> Member:
        """Who waits at `url`; the member itself, if it is one. Raises InvalidRequest or Unavailable."""
        address = address_of(url)
        held, waiting = self._member(address), self._lobby.at(address, self._changes.now_ms)
        if held is not None:
            if waiting is not None and waiting.node != held.node:
                raise InvalidRequest(f"{url} is a member as another node: if its folder was lost, remove it first")
            return held
        if waiting is None:
            reason = "it has not said hello to this node lately; start it with this node among the nodes it is told"
            raise Unavailable(f"unable to verify RAFT service running at {url}, error: {reason}")
        return Member(0, waiting.node, checked_address(waiting.address), waiting.url)

    def _node(self, url: str) -> int:
        """The id of the node at `url`; 0, which no node has, when there is none. Raises InvalidRequest."""
        held = self._member(address_of(url))
        return held.node if held is not None else 0

    def _member(self, name: str) -> Member | None:
        return next((member for member in self.port.nodes().values() if is_called(member, name)), None)


def list_nodes(port: ClusterPort) -> wire.ListNodesResponse:
    """The members under their displayed ids. Who leads is told of the first vBucket."""
    vbuckets, nodes, links = port.vbuckets(), port.nodes(), port.links()
    group = port.group(vbuckets[0]) if vbuckets else None
    leader = next((each.node for each in group.members if each.replica == group.leader), 0) if group else 0
    reply = wire.ListNodesResponse(status=wire.Status())
    for node, member in nodes.items():
        shown = display_id(member.url)
        if node == leader:
            reply.leader, status = shown, wire.NodeInfo.LEADER
        elif node == port.node_id:
            status = wire.NodeInfo.FOLLOWER if leader else wire.NodeInfo.CANDIDATE
        elif (link := links.get(node)) is None:
            status = wire.NodeInfo.UNKNOWN
        else:
            status = wire.NodeInfo.FOLLOWER if link.is_up else wire.NodeInfo.OFFLINE
        reply.nodes[shown].CopyFrom(wire.NodeInfo(nodeUrl=member.url, nodeId=shown, status=status))
    return reply
