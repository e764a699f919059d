"""All nodes of a cluster at once. Who they are is asked of whoever answers, what each does of each.

How far a replica lags is known to its leader alone, so what the nodes say of the groups is put together here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from dkv.cli.ctl.invocation import Session
from dkv.client.sync import Client
from dkv.model.errors import DkvError, Unavailable
from dkv.wire import messages as pb
from dkv.wire import methods

ASKED_AT_ONCE = 16
FIRST_VBUCKET = 1


class NodeLook(NamedTuple):
    """What one node says of itself."""

    node: int
    address: str
    status: pb.GetNodeStatusResponse | None
    """None: it did not answer."""
    why: str = ""
    taken_s: float = 0.0
    """Monotonic."""


class Look(NamedTuple):
    """All of them."""

    cluster: pb.GetMembersResponse
    """As its nodes know it together; of the groups what was asked for."""
    nodes: Sequence[NodeLook]
    """By address."""


class Fleet:
    """Owns a connection to each node; `close` lets go of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._clients: dict[str, Client] = {}
        self._asked: dict[int, str] = {}
        """Under which address each node was reached, or is to be."""
        self._pool = ThreadPoolExecutor(ASKED_AT_ONCE)

    def find(self) -> None:
        """Learns who there is. Raises DkvError, with UNIMPLEMENTED where the server is in no cluster."""
        cluster = members_of(self._session.client, FIRST_VBUCKET)
        self._learn([cluster])
        if "," not in self._session.options.address and cluster.node in self._asked:
            self._asked[cluster.node] = self._session.options.address

    def look(self, vbucket: int = FIRST_VBUCKET) -> Look:
        """At every node; of the groups at one, or at all with 0. Raises DkvError when nobody answers."""
        views: dict[int, pb.GetMembersResponse] = {}
        looks: dict[int, NodeLook] = {}
        while new := {node: address for node, address in self._asked.items() if node not in looks}:
            for node, (look, view) in zip(new, self._ask(new, vbucket), strict=True):
                looks[node] = look
                if view is not None:
                    views[node] = view
            self._learn(views.values())
        if not views:
            reasons = "; ".join(f"{look.address}: {look.why}" for look in looks.values())
            raise Unavailable(f"no node of the cluster answers ({reasons})")
        cluster = merged(views)
        named = {each.node: each.address for each in cluster.nodes}
        nodes = [look._replace(address=named[node]) for node, look in looks.items() if node in named]
        self._asked = {look.node: self._asked[look.node] if look.status else look.address for look in nodes}
        return Look(cluster, sorted(nodes, key=lambda look: look.address))

    def vbuckets(self) -> Sequence[tuple[int, str, list[pb.VBucketStatus] | str]]:
        """(node, address, its vBuckets, or why it does not say), by address."""
        nodes = self.look().nodes
        asked = self._pool.map(self._vbuckets_of, nodes)
        return [(each.node, each.address, answer) for each, answer in zip(nodes, asked, strict=True)]

    def _vbuckets_of(self, look: NodeLook) -> list[pb.VBucketStatus] | str:
        if look.status is None:
            return look.why
        try:
            return vbuckets_of(self._clients[self._asked[look.node]])
        except DkvError as error:
            return str(error)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for client in self._clients.values():
            client.close()

    def _learn(self, views: Iterable[pb.GetMembersResponse]) -> None:
        for view in views:
            for each in view.nodes:
                self._asked.setdefault(each.node, each.address)

    def _ask(self, nodes: Mapping[int, str], vbucket: int) -> Iterable[tuple[NodeLook, pb.GetMembersResponse | None]]:
        for address in nodes.values():
            if address not in self._clients:
                self._clients[address] = self._session.reach(address)
        return self._pool.map(lambda each: self._look_at(each[0], each[1], vbucket), nodes.items())

    def _look_at(self, node: int, address: str, vbucket: int) -> tuple[NodeLook, pb.GetMembersResponse | None]:
        client = self._clients[address]
        try:
            client.wait_until_connected(refused=0)
            status = pb.GetNodeStatusResponse.FromString(client.call(methods.GET_NODE_STATUS_PATH, b""))
            taken_s, view = time.monotonic(), members_of(client, vbucket)
        except DkvError as error:
            why = str(error).removeprefix(f"cannot connect to {address}: ")
            return NodeLook(node, address, None, why), None
        if view.node != node:
            return NodeLook(node, address, None, f"another node is there, {view.node:x}"), None
        return NodeLook(node, address, status, taken_s=taken_s), view


def vbuckets_of(client: Client) -> list[pb.VBucketStatus]:
    """All that a node has, page by page. Raises DkvError."""
    found: list[pb.VBucketStatus] = []
    first = 1
    while first:
        request = pb.GetVBucketsRequest(first=first)
        page = pb.GetVBucketsResponse.FromString(client.call(methods.GET_VBUCKETS_PATH, request.SerializeToString()))
        found += page.vBuckets
        first = page.next
    return found


def members_of(client: Client, vbucket: int) -> pb.GetMembersResponse:
    """As one node knows them; of the groups one, or all with 0. Raises DkvError."""
    request = pb.GetMembersRequest(vBucket=vbucket)
    return pb.GetMembersResponse.FromString(client.call(methods.GET_MEMBERS_PATH, request.SerializeToString()))


def merged(views: Mapping[int, pb.GetMembersResponse]) -> pb.GetMembersResponse:
    """Of each group what its leader says, or else whoever is in the latest term; the members are those of whoever knows
    best of the first group. `views`: by node, at least one."""
    best: dict[int, tuple[tuple[int, bool], int]] = {}
    groups: dict[int, pb.GroupStatus] = {}
    for node, view in views.items():
        for group in view.groups:
            weight = group.term, group.leader == node
            if group.vBucket not in best or weight > best[group.vBucket][0]:
                best[group.vBucket], groups[group.vBucket] = (weight, node), group
    wisest = views[best[min(best)][1]] if best else next(iter(views.values()))
    whole = pb.GetMembersResponse(name=wisest.name, clusterId=wisest.clusterId, node=wisest.node)
    for each in wisest.nodes:
        whole.nodes.append(each)
        if each.node in views:
            whole.nodes[-1].isUp = True
            whole.nodes[-1].leads = next((own.leads for own in views[each.node].nodes if own.node == each.node), 0)
    whole.groups.extend(groups[number] for number in sorted(groups))
    return whole
