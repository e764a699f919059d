"""Puts of many keys, each sent to the node that leads its vBucket, as a client that knows the map would.

h2load sends one request over and over, so this generator is ours: the client's native half, driven in batches.
"""

import selectors
import socket
import time
from collections import Counter
from itertools import cycle, islice

import bodies
from load import LoadFailed
from trios import DkvTrio

from dkv.edge import EdgeLoopClient
from dkv.vbucket.routing import vbucket_of

TIMEOUT_MS = 30_000
REPLY_BYTES_MAX = 1 << 20
WARM_UP_SECONDS = 0.5


class Lane:
    """One connection to one node, and the Puts that are to be sent on it, round and round."""

    def __init__(self, address: str, path: str, messages: list[bytes]) -> None:
        self.bell, self._rung = socket.socketpair()
        self.bell.setblocking(False)
        self._client = EdgeLoopClient(address, self._rung.fileno(), reply_bytes_max=REPLY_BYTES_MAX)
        self._path, self._messages, self._last_id = path, cycle(messages), 0

    def send(self, count: int) -> None:
        calls = []
        for message in islice(self._messages, count):
            self._last_id += 1
            calls.append((self._last_id, self._path, message, TIMEOUT_MS))
        self._client.send(calls)

    def take(self) -> int:
        """How many have been acknowledged. Raises LoadFailed."""
        self.bell.recv(4_096)
        ids, _, failed, _ = self._client.take()
        if failed:
            raise LoadFailed(f"{len(failed)} Puts failed: {failed[0][2]}")
        return len(ids)

    def close(self) -> None:
        self._client.close()
        self.bell.close()
        self._rung.close()


def leaders(trio: DkvTrio) -> dict[int, int]:
    """The place among the nodes of the leader of each vBucket; waits until all have one."""
    place_of = {node.address: place for place, node in enumerate(trio.nodes)}
    until = time.monotonic() + TIMEOUT_MS / 1000
    while time.monotonic() < until:
        members = trio.nodes[0].members()
        places = {each.node: place_of[each.address] for each in members.nodes}
        found = {group.vBucket: places[group.leader] for group in members.groups if group.leader}
        if len(found) == trio.vbuckets:
            return found
        time.sleep(0.2)
    raise LoadFailed(f"{len(found)} of {trio.vbuckets} vBuckets have a leader")


def puts_per_second(trio: DkvTrio, keys: int, in_flight: int, seconds: float) -> float:
    """Put of `keys` keys in turn, so many in flight; every node gets the share of them that it leads."""
    place_of = leaders(trio)
    messages: list[list[bytes]] = [[] for _ in trio.nodes]
    for number in range(keys):
        messages[place_of[vbucket_of(bodies.key(number), trio.vbuckets)]].append(bodies.pair(number))
    shares = Counter({place: len(each) for place, each in enumerate(messages) if each})
    path = trio.nodes[0].calls["put"].path
    lanes = {place: Lane(trio.nodes[place].address, path, messages[place]) for place in shares}
    try:
        with selectors.DefaultSelector() as ready:
            for place, lane in lanes.items():
                ready.register(lane.bell, selectors.EVENT_READ, lane)
                lane.send(in_flight * shares[place] // keys)
            _run(ready, WARM_UP_SECONDS)
            return _run(ready, seconds)
    finally:
        for lane in lanes.values():
            lane.close()


def _run(ready: selectors.BaseSelector, seconds: float) -> float:
    """Puts a second; for each that comes back another one leaves."""
    done, begun = 0, time.monotonic()
    while (lasted := time.monotonic() - begun) < seconds:
        for key, _ in ready.select(1):
            count = key.data.take()
            done += count
            key.data.send(count)
    return done / lasted
