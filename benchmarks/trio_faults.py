"""What three nodes do when one of them goes, comes back, or has much to do: gaps, false elections, catching up."""

import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import bodies
import grpc
from load import loading
from peers import Load
from trios import DkvNode, DkvTrio, EtcdTrio

ATTEMPT_SECONDS = 1.0
PAUSE_SECONDS = 0.005
"""Before an attempt at the next node."""
BEFORE_SECONDS, AFTER_SECONDS = 0.3, 1.2
"""What is watched around a death: the next leader may falter, too."""
FULL_LOAD = Load(16, 64)
STEADY_LOAD = Load(8, 16)
LARGE_VALUE = random.Random(1).randbytes(100_000)
LARGE_AT_ONCE = 16
WARM_UP_SECONDS, LEVEL_SECONDS, CATCHING_UP_SECONDS_MAX = 1.0, 4.0, 90.0
LEVEL_CHANGES = 5_000
"""About what is on its way under load."""
LOOK_SECONDS = 0.1
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


class RetryingClient:
    """One Put after the other, at the next node when it fails at one. All that a client without a map can do."""

    def __init__(self, trio: DkvTrio | EtcdTrio) -> None:
        call = trio.nodes[0].calls["put"]
        self._message = call.message
        self._channels = [grpc.insecure_channel(node.address, CHANNEL_OPTIONS) for node in trio.nodes]
        self._puts: list[Any] = [channel.unary_unary(call.path) for channel in self._channels]
        self._at = 0

    def put(self) -> None:
        """Returns when it is acknowledged, whatever that takes."""
        while True:
            try:
                self._puts[self._at](self._message, timeout=ATTEMPT_SECONDS)
                return
            except grpc.RpcError:
                self._at = (self._at + 1) % len(self._puts)
                time.sleep(PAUSE_SECONDS)

    def longest_gap(self, seconds: float) -> float:
        """Between two acknowledgements that follow each other, among those of so many seconds and the one behind."""
        last = begun = time.monotonic()
        longest = 0.0
        while last - begun < seconds:
            self.put()
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        return longest

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def gaps(trio: DkvTrio | EtcdTrio, kills: int) -> list[float]:
    """Kills the leader under a client that writes, so many times; each is level again before the next dies."""
    found: list[float] = []
    for _ in range(kills):
        client = RetryingClient(trio)
        client.longest_gap(BEFORE_SECONDS)
        leader = trio.leader()
        client.put()
        leader.kill()
        found.append(client.longest_gap(AFTER_SECONDS))
        client.close()
        leader.launch()
        trio.wait_until_level(leader)  # type: ignore[arg-type]
    return found


def elections(trio: DkvTrio, minutes: float) -> int:
    """Terms that have gone by during full load on the leader. Nobody should have missed it."""
    leader = trio.leader()
    before = leader.standing()
    put, seconds = leader.calls["put"], minutes * 60
    connections, streams = FULL_LOAD
    body = bodies.framed(put.message)
    with loading(leader.address, put.path, body, connections=connections, streams=streams, seconds=int(seconds) + 60):
        time.sleep(seconds)
    return max(node.standing().term for node in trio.nodes) - before.term


class CatchingUp(NamedTuple):
    """Puts a second with all three level, and while one that was away catches up; how long that took."""

    rate_level: float
    rate_beside: float
    seconds: float


def catching_up(trio: DkvTrio, behind_bytes: int) -> CatchingUp:
    """A follower stops, so much is written, and it comes back, all under load but for the writing."""
    leader, follower = trio.leader(), trio.follower()
    put = leader.calls["put"]
    connections, streams = STEADY_LOAD
    seconds = LEVEL_SECONDS + CATCHING_UP_SECONDS_MAX
    body = bodies.framed(put.message)
    with loading(leader.address, put.path, body, connections=connections, streams=streams, seconds=seconds):
        time.sleep(WARM_UP_SECONDS)
        rate_level, _ = rate_until(leader, lambda _: False, LEVEL_SECONDS)
    follower.stop()
    write(leader, behind_bytes)
    with loading(leader.address, put.path, body, connections=connections, streams=streams, seconds=seconds):
        time.sleep(WARM_UP_SECONDS)
        follower.launch()

        def is_level(leader_at: int) -> bool:
            standing = trio.standing_of(follower)
            return standing is not None and standing.applied >= leader_at - LEVEL_CHANGES

        return CatchingUp(rate_level, *rate_until(leader, is_level, CATCHING_UP_SECONDS_MAX))


def rate_until(leader: DkvNode, is_over: Callable[[int], bool], seconds_max: float) -> tuple[float, float]:
    """Changes a second until it is over, and how long that was. `is_over` is told where the leader is."""
    begun, first = time.monotonic(), leader.standing().applied
    while True:
        time.sleep(LOOK_SECONDS)
        changes = leader.standing().applied
        lasted = time.monotonic() - begun
        if is_over(changes) or lasted > seconds_max:
            return (changes - first) / lasted, lasted


def write(leader: DkvNode, size: int) -> None:
    """Puts of large values, until they are so many bytes together; a key each, or a snapshot were only the last."""
    left = -(-size // len(LARGE_VALUE))
    with grpc.insecure_channel(leader.address) as channel:
        put: Any = channel.unary_unary(leader.calls["put"].path)
        while left > 0:
            numbers = range(left - min(left, LARGE_AT_ONCE), left)
            puts = [bodies.data(1, b"large %d" % number) + bodies.data(2, LARGE_VALUE) for number in numbers]
            window = [put.future(each, timeout=60) for each in puts]
            left -= len(window)
            for each in window:
                each.result()
