"""Faults at random, one or two at a time, each healed after a while: what a seed draws, applied to a real cluster.

A seed gives the same faults in the same order; what happens then is the business of real processes, so it does not give
the same run.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import cast

import grpc
from tests.integration.cluster.network import Network, NetworkServer
from tests.integration.cluster.nodes import CLUSTER, Cluster, paused
from tests.integration.cluster.workload import Workload
from tests.integration.conftest import Server

FAULT_SECONDS_MAX = 2.5
"""Longer than an election, by far; and less, often."""
STEPS_BETWEEN = 10
"""What every client that knows all nodes gets done between two faults."""

LOST = "member lost and added again"

Fault = Callable[[Server], AbstractContextManager[None]]


class Faults:
    """Owns what is broken now. After `strike` nothing is."""

    def __init__(self, cluster: Cluster, load: Workload, seed: int, network: Network | None = None) -> None:
        self._cluster, self._load, self._network = cluster, load, network
        self._chance = random.Random(seed)
        self.struck: Counter[str] = Counter()
        self._faults: dict[str, Fault] = {
            "kill -9": self._killed,
            "stop in order": self._stopped,
            "pause": paused,
            "transfer": self._transferred,
            LOST: self._wiped,
        }
        if network is not None:
            self._faults |= {"cable": self._unplugged, "mute": self._mute, "deaf": self._deaf, "one link": self._link}

    def strike(self) -> None:
        """One fault, or two that overlap, on nodes of any role."""
        names = self._chance.choices(list(self._faults), k=self._chance.choice((1, 1, 2)))
        names.sort(key=lambda name: name != LOST)  # what is first is healed last: it takes a majority
        if names.count(LOST) > 1:
            names.pop()
        victims = self._chance.sample(self._cluster.servers, k=len(names))
        with ExitStack() as healed:
            for name, victim in zip(names, victims, strict=True):
                self.struck[name] += 1
                print(time.strftime("%H:%M:%S"), name, victim.member_address, flush=True)  # seen if the test fails
                healed.enter_context(self._faults[name](victim))
                time.sleep(self._chance.uniform(0, FAULT_SECONDS_MAX))
        self._load.go_on(STEPS_BETWEEN)
        self._load.turn_page()

    @contextmanager
    def _killed(self, server: Server) -> Iterator[None]:
        server.kill()
        yield
        server.start()

    @contextmanager
    def _stopped(self, server: Server) -> Iterator[None]:
        assert server.stop() == 0, server.output()
        yield
        server.start()

    @contextmanager
    def _transferred(self, server: Server) -> Iterator[None]:
        """It is asked to lead, at itself; others may be away."""
        with suppress(grpc.RpcError):
            self._cluster.client(server)("TransferLeadership", on=CLUSTER, node=server.member_address, timeout=2)
        yield

    @contextmanager
    def _wiped(self, server: Server) -> Iterator[None]:
        """Its folder is lost. Once all others are well again it is removed, and added with an empty one."""
        server.kill()
        yield
        others = [each for each in self._cluster.servers if each is not server]
        by = self._cluster.leader(among=others)
        self._cluster.wipe(server)
        self._cluster.remove(server, by=by)
        self._cluster.join_again(server, by=by)

    # The network's

    def _unplugged(self, server: Server) -> AbstractContextManager[None]:
        assert self._network is not None
        return self._network.unplugged(cast(NetworkServer, server))

    def _cut(self, *pairs: tuple[Server, Server]) -> AbstractContextManager[None]:
        assert self._network is not None
        return self._network.deaf(*cast(list[tuple[NetworkServer, NetworkServer]], list(pairs)))

    def _others(self, server: Server) -> list[Server]:
        return [each for each in self._cluster.servers if each is not server]

    def _mute(self, server: Server) -> AbstractContextManager[None]:
        return self._cut(*((server, other) for other in self._others(server)))

    def _deaf(self, server: Server) -> AbstractContextManager[None]:
        return self._cut(*((other, server) for other in self._others(server)))

    def _link(self, server: Server) -> AbstractContextManager[None]:
        other = self._chance.choice(self._others(server))
        return self._cut((server, other), (other, server))
