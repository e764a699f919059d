"""Hello on the wire: standings and charters as messages, and back."""

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from dkv.cluster.charter import Charter
from dkv.cluster.formation import Standing
from dkv.model.errors import BadReply, Corrupt, InvalidRequest
from dkv.model.members import Member
from dkv.wire import messages as wire

ID_BYTES = 16


def hello_request(standing: Standing) -> wire.HelloRequest:
    return wire.HelloRequest(
        node=standing.node,
        address=standing.address,
        url=standing.url,
        name=standing.name,
        addresses=standing.addresses,
        vBuckets=standing.vbuckets,
    )


def hello_response(standing: Standing) -> wire.HelloResponse:
    charter = None if standing.charter is None else charter_message(standing.charter)
    return wire.HelloResponse(
        standing=hello_request(standing),
        charter=charter,
        replicas=replicas_message(standing.replicas),
        members=map(member_message, standing.members),
    )


def replicas_message(replicas: Mapping[int, int]) -> list[wire.HeldReplica]:
    return [wire.HeldReplica(vBucket=vbucket, replica=replica) for vbucket, replica in replicas.items()]


def standing_of_request(message: bytes) -> Standing:
    """Raises InvalidRequest."""
    try:
        return _standing(wire.HelloRequest.FromString(message))
    except DecodeError:
        raise InvalidRequest("malformed request") from None


def standing_of_response(message: bytes) -> Standing:
    """Raises BadReply."""
    try:
        response = wire.HelloResponse.FromString(message)
        charter = charter_of(response.charter) if response.HasField("charter") else None
    except (DecodeError, Corrupt) as damage:
        raise BadReply(f"an answer to Hello that is none: {damage}") from damage
    return _standing(response.standing)._replace(
        charter=charter,
        replicas={each.vBucket: each.replica for each in response.replicas},
        members=tuple(map(_member, response.members)),
    )


def _standing(request: wire.HelloRequest) -> Standing:
    return Standing(
        request.node, request.address, request.url, request.name, tuple(request.addresses), request.vBuckets
    )


def charter_message(charter: Charter) -> wire.Charter:
    return wire.Charter(
        clusterId=charter.cluster_id,
        name=charter.name,
        vBuckets=charter.vbuckets,
        formedMs=charter.formed_ms,
        firstHistoryId=charter.first_history_id,
        members=map(member_message, charter.members),
    )


def charter_of(message: wire.Charter) -> Charter:
    """Raises Corrupt."""
    sizes = len(message.clusterId), len(message.firstHistoryId)
    if sizes != (ID_BYTES, ID_BYTES) or not message.members:
        raise Corrupt(f"charter: ids of {sizes} bytes, {len(message.members)} members")
    members = tuple(map(_member, message.members))
    return Charter(message.clusterId, message.name, message.vBuckets, message.formedMs, message.firstHistoryId, members)


def _member(message: wire.Member) -> Member:
    return Member(message.replica, message.node, message.address, message.url)


def member_message(member: Member) -> wire.Member:
    return wire.Member(replica=member.replica, node=member.node, address=member.address, url=member.url)
