"""AddReplica, RemoveReplica and GetReplicas: the registry of slaves, as the original's clients see it.

What the wire calls a replica is the address of a slave. It is state of the vBucket (`dkv.vbucket.slaves`), so it is
changed by commands; where the original shows it among the user's keys, ours does not.
"""

import re
from collections.abc import Sequence
from functools import partial

from dkv.model.commands import AddSlave, Outcome, RemoveSlave
from dkv.model.errors import InvalidRequest, LimitExceeded, NoLeader
from dkv.services.calls import Accept, fail, parse_each
from dkv.services.turn import PointRead, Slices, Turn, View
from dkv.vbucket.slaves import SLAVES_MAX
from dkv.wire import messages as wire
from dkv.wire import methods

NAME_BYTES_MAX = 255
"""Of a host, as in DNS, and of a zone."""
PORT_MAX = 65_535
OK = wire.Status().SerializeToString()


class SlaveRegistry:
    """Stateless. Never raises for what a caller sent."""

    def __init__(self) -> None:
        self.accepts: dict[int, Accept] = {
            methods.ADD_REPLICA: self.add,
            methods.REMOVE_REPLICA: self.remove,
            methods.GET_REPLICAS: self.get,
        }
        """By method number."""

    def add(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Replica, to be known from now on."""
        ids, addresses = parse_each(parse, call_ids, messages, turn)
        turn.commands += map(AddSlave, addresses)
        turn.command_calls += ids
        turn.command_answers += [answer_changes] * len(ids)

    def remove(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """Replica, to be forgotten; well also when it is not known."""
        ids, addresses = parse_each(parse, call_ids, messages, turn)
        turn.commands += map(RemoveSlave, addresses)
        turn.command_calls += ids
        turn.command_answers += [answer_changes] * len(ids)

    def get(self, call_ids: Sequence[int], messages: Sequence[bytes], turn: Turn) -> None:
        """GetReplicasRequest."""
        ids, requests = parse_each(wire.GetReplicasRequest.FromString, call_ids, messages, turn)
        for call_id, request in zip(ids, requests, strict=True):
            turn.reads.append(PointRead([], partial(answer_get, call_id, request)))


def parse(message: bytes) -> bytes:
    """The address that is kept. Raises InvalidRequest."""
    replica = wire.Replica.FromString(message)
    zone, host = replica.zone.strip(), replica.hostname
    for kind, name in (("zone", zone), ("hostname", host)):
        if len(name.encode()) > NAME_BYTES_MAX:
            raise LimitExceeded(f"{kind} bytes", NAME_BYTES_MAX, len(name.encode()))
    if not host or re.search(r"[\s@]", host):
        raise InvalidRequest(f"invalid hostname {host!r}: must be a name or an address")
    if not 0 < replica.port <= PORT_MAX:
        raise InvalidRequest(f"invalid port {replica.port}: must be 1 to {PORT_MAX}")
    return f"{zone}@{host}:{replica.port}".encode() if zone else f"{host}:{replica.port}".encode()


def unparse(address: bytes) -> wire.Replica:
    """A zone may contain anything, a host no @, and a host in IPv6 colons."""
    zone, _, place = address.decode().rpartition("@")
    host, _, port = place.rpartition(":")
    return wire.Replica(zone=zone, hostname=host, port=int(port))


def answer_changes(turn: Turn, call_ids: Sequence[int], outcomes: Sequence[Outcome], log_time: int) -> None:
    """Status, of additions and removals."""
    for call_id, outcome in zip(call_ids, outcomes, strict=True):
        if outcome.took_effect:
            turn.reply_ids.append(call_id)
            turn.replies.append(OK)
        else:
            fail(turn, call_id, LimitExceeded("replicas", SLAVES_MAX, SLAVES_MAX + 1))


def answer_get(call_id: int, request: wire.GetReplicasRequest, turn: Turn, rows: Slices, view: View) -> None:
    """Those of one zone; an empty one stands for those without; all when asked for."""
    if not view.is_readable:
        fail(turn, call_id, NoLeader("no leader is known for this vBucket, try again"))
        return
    known = map(unparse, view.slaves())
    zone = request.zone.strip()
    wanted = [each for each in known if request.allZones or each.zone == zone]
    turn.reply_ids.append(call_id)
    turn.replies.append(wire.GetReplicasResponse(replicas=wanted).SerializeToString())
