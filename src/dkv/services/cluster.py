"""dkv.v1.Cluster: Hello and Join between nodes; members and transfer of leadership for people."""

from collections.abc import Sequence

from dkv.cluster.display import is_called
from dkv.cluster.formation import Standing
from dkv.cluster.lobby import Lobby
from dkv.cluster.plans import Added, Led
from dkv.model.errors import InvalidRequest
from dkv.model.members import Member
from dkv.model.node_urls import checked_address
from dkv.services.calls import Accept, parse_each
from dkv.services.cluster_changes import Changes
from dkv.services.cluster_members import group_status, node_statuses
from dkv.services.cluster_nodes import NodesService
from dkv.services.cluster_port import ClusterPort
from dkv.services.standing import charter_message, hello_request, member_message, replicas_message, standing_of_request
from dkv.services.turn import Turn
from dkv.wire import messages as wire
from dkv.wire import methods

JOINED = wire.JoinResponse().SerializeToString()
TRANSFERRED = wire.TransferLeadershipResponse().SerializeToString()


class ClusterService:
    """What a node of a cluster serves besides. Never raises for what a caller sent."""

    _port: ClusterPort

    def __init__(self, own: Standing) -> None:
        """`own` has the charter."""
        assert own.charter is not None
        self.standing: Standing = own
        self._charter = own.charter
        self._own, self._charter_message = hello_request(own), charter_message(own.charter)
        self._lobby, self._changes = Lobby(), Changes()
        self._nodes = NodesService(self._lobby, self._changes)
        self.accepts: dict[int, Accept] = {
            methods.HELLO: self.hello,
            methods.JOIN: self.join,
            methods.GET_MEMBERS: self.get_members,
            methods.TRANSFER_LEADERSHIP: self.transfer_leadership,
            **self._nodes.accepts,
        }
        """By method number."""

    def observe(self, port: ClusterPort) -> None:
        """The node, before its first turn."""
        self._port = self._nodes.port = port

    def beat(self, turn: Turn, monotonic_ms: int) -> None:
        """Once a turn."""
        self._changes.beat(self._port, turn, monotonic_ms)

    def hello(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Who is here, and whether the asker is a member; who is none may want to be added."""
        ids, askers = parse_each(standing_of_request, call_ids, messages, turn)
        for call_id, asker in zip(ids, askers, strict=True):
            replicas = self._replicas(asker.node)
            if not replicas:
                self._lobby.hello(asker, self._changes.now_ms)
            response = wire.HelloResponse(
                standing=self._own,
                charter=self._charter_message,
                replicas=replicas_message(replicas),
                members=map(member_message, self._port.nodes().values()),
            )
            turn.reply_ids.append(call_id)
            turn.replies.append(response.SerializeToString())

    def join(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """JoinRequest; answered once the node has a replica of every vBucket, which may still have to catch up."""
        ids, members = parse_each(self._parse_join, call_ids, messages, turn)
        for call_id, member in zip(ids, members, strict=True):
            self._changes.start(self._port, call_id, Added(member), JOINED)

    def get_members(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetMembersRequest."""
        ids, requests = parse_each(wire.GetMembersRequest.FromString, call_ids, messages, turn)
        turn.reply_ids += ids
        turn.replies += [self._members(request.vBucket).SerializeToString() for request in requests]

    def transfer_leadership(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """TransferLeadershipRequest; answered once the node leads."""
        ids, wishes = parse_each(self._parse_transfer, call_ids, messages, turn)
        for call_id, (goal, vbucket) in zip(ids, wishes, strict=True):
            self._changes.start(self._port, call_id, goal, TRANSFERRED, vbucket)

    def _replicas(self, node: int) -> dict[int, int]:
        """Ids by vBucket."""
        if node not in self._port.nodes():
            return {}
        held = {vbucket: self._port.group(vbucket).at(node) for vbucket in self._port.vbuckets()}
        return {vbucket: member.replica for vbucket, member in held.items() if member is not None}

    def _parse_join(self, message: bytes) -> Member:
        request = wire.JoinRequest.FromString(message)
        if not request.node or not request.address or not request.url:
            raise InvalidRequest("who joins has a node id, an address and a URL")
        checked_address(request.address)
        known = self._port.nodes()
        if request.node not in known and self._charter.has(request.node):
            raise InvalidRequest("this node was removed from the cluster: it can come back with an empty folder only")
        for member in known.values():
            if member.address == request.address and member.node != request.node:
                raise InvalidRequest(
                    f"{request.address} is a member as another node: if its folder was lost, remove it first "
                    f"(dkvctl --removeNode {member.url})"
                )
        return Member(0, request.node, request.address, request.url)

    def _parse_transfer(self, message: bytes) -> tuple[Led, int]:
        request = wire.TransferLeadershipRequest.FromString(message)
        if request.vBucket and request.vBucket not in self._port.vbuckets():
            raise InvalidRequest(f"there is no vBucket {request.vBucket} here")
        for member in self._port.nodes().values():
            if is_called(member, request.node):
                return Led(member.node), request.vBucket
        raise InvalidRequest(f"no member is called {request.node!r}")

    def _members(self, vbucket: int) -> wire.GetMembersResponse:
        port = self._port
        groups = [port.group(number) for number in port.vbuckets()]
        return wire.GetMembersResponse(
            name=self._charter.name,
            clusterId=self._charter.cluster_id,
            node=port.node_id,
            nodes=node_statuses(port, groups),
            groups=[group_status(port, each) for each in groups if vbucket in (0, each.vbucket)],
        )
