"""Real processes whose wall clocks are hours ahead: what expires by them, and what does not (INVARIANTS 7).

Everywhere are keys that expire in a second, in half an hour and in three hours, written while all clocks were right. A
clock that is two hours ahead and believed has the second one expire, and the third one stay.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from tests.integration.cluster.nodes import CLUSTER, LINEARIZABLE, Cluster, eventually
from tests.integration.conftest import ROOT, Client, Server, Wire

SHIFTED = ROOT / "tests" / "integration" / "shifted_dkvsrv.py"
AHEAD_SECONDS = 2 * 3_600
SETTLE_SECONDS = 2.0
"""Four times what it takes to ask the other clocks: whoever would believe a wrong one has done so by then."""
EXPIRIES = {b"soon": 1_800, b"late": 3 * 3_600}
ALL, LATE = [b"late", b"soon"], [b"late"]


class Clock:
    """Of one server: set it."""

    def __init__(self, server: Server) -> None:
        self._file = server.folder.with_name(server.folder.name + ".clock")
        server.program = (str(SHIFTED), str(self._file))
        self.set(0)

    def set(self, ahead_seconds: int) -> None:
        """At once for a server that runs: it reads the old number or the new one."""
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(str(ahead_seconds))
        fresh.replace(self._file)


class Clocked(Cluster):
    """Each server has a clock of its own."""

    def __init__(self, folder: Path, wire: Wire, *flags: str) -> None:
        super().__init__(folder, wire, *flags)
        self.clocks: dict[str, Clock] = {}

    def form(self, count: int = 3, make: object = None) -> "Clocked":
        super().form(count, self._made_server)
        return self

    def _made_server(self, folder: Path) -> Server:
        server = Server(folder)
        self.clocks[server.address] = Clock(server)
        return server

    def restart(self, servers: Sequence[Server], ahead_seconds: int) -> None:
        """All of them are down at once, and come up with the time that they have now."""
        for server in servers:
            assert server.stop() == 0, server.output()
        for server in servers:
            self.clocks[server.address].set(ahead_seconds)
            server.launch()
        for server in servers:
            server.wait_for("serves gRPC on")

    def lead(self, server: Server) -> None:
        """It leads every vBucket."""
        name = server.member_address
        eventually(lambda: self.client(server)("TransferLeadership", on=CLUSTER, node=name, timeout=10))


@pytest.fixture
def cluster(tmp_path: Path, wire: Wire) -> Iterator[Clocked]:
    made = Clocked(tmp_path, wire, "--vbuckets", "3")
    try:
        made.form()
        write(made.client(made.servers[0]))
        yield made
    finally:
        made.close()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[tuple[Server, Clock]]:
    server = Server(tmp_path / "db")
    clock = Clock(server)
    yield server, clock
    server.kill()


def write(client: Client) -> None:
    now = int(time.time())
    for key, seconds in EXPIRIES.items():
        eventually(lambda: client("Put", key=key, value=b"v", expireTS=now + seconds))  # noqa: B023


def keys(client: Client) -> list[bytes]:
    """Of those above that are there, for a read that must see everything."""
    reply = client("MultiGet", keys=sorted(EXPIRIES), readConsistency=LINEARIZABLE, timeout=5)
    return [pair.key for pair in reply.keyValues]


def expires_by_itself(client: Client) -> None:
    """Time goes on: what is written now for a second is gone a little later."""
    eventually(lambda: client("Put", key=b"a second", value=b"v", ttlMs=1_000))
    eventually(lambda: not client("Get", key=b"a second", readConsistency=LINEARIZABLE, timeout=5).found)


def test_one_clock_of_three_that_is_ahead_has_nothing_expire(cluster: Clocked) -> None:
    """Its node leads everything, asks the others, and goes by their time: what is due by that does expire."""
    wrong, *_ = cluster.servers
    cluster.restart([wrong], AHEAD_SECONDS)
    cluster.lead(wrong)
    for server in cluster.servers:
        expires_by_itself(cluster.client(server))
        assert keys(cluster.client(server)) == ALL
    wrong.wait_for("the clock of this node is ahead of most others' by more than an hour: set it")
    cluster.clocks[wrong.address].set(0)
    wrong.wait_for("agrees with most others' again")


def test_two_clocks_of_three_that_are_ahead_settle_what_time_it_is(cluster: Clocked) -> None:
    """After a restart of all: a majority of clocks is believed, if it is hours ahead."""
    right, *ahead = cluster.servers
    cluster.restart(cluster.servers, 0)
    cluster.restart(ahead, AHEAD_SECONDS)
    cluster.lead(ahead[0])
    for server in cluster.servers:
        eventually(lambda: keys(cluster.client(server)), lambda found: found == LATE)  # noqa: B023
    cluster.lead(right)  # log time never goes back
    assert keys(cluster.client(right)) == LATE


def test_leader_with_the_right_clock_is_not_dragged_along_by_the_others(cluster: Clocked) -> None:
    """Nobody is asked where nothing is in doubt."""
    right, *ahead = cluster.servers
    cluster.lead(right)
    for server in ahead:
        cluster.restart([server], AHEAD_SECONDS)
    cluster.lead(right)
    time.sleep(SETTLE_SECONDS)
    for server in cluster.servers:
        assert keys(cluster.client(server)) == ALL
    expires_by_itself(cluster.client(right))


def test_clock_of_a_leader_that_jumps_while_it_leads_moves_nothing(cluster: Clocked) -> None:
    """The monotonic clock sets the pace; who leads next goes on from there."""
    leader, *others = cluster.servers
    cluster.lead(leader)
    cluster.clocks[leader.address].set(AHEAD_SECONDS)
    expires_by_itself(cluster.client(leader))
    time.sleep(SETTLE_SECONDS)
    assert keys(cluster.client(leader)) == ALL
    cluster.lead(others[0])
    assert keys(cluster.client(others[0])) == ALL


@pytest.mark.parametrize("flags", [(), ("--cluster", "one")], ids=["alone", "cluster of one"])
def test_server_on_its_own_expires_nothing_until_its_clock_is_confirmed(
    alone: tuple[Server, Clock], flags: tuple[str, ...], wire: Wire
) -> None:
    """There is nobody to ask but the operator."""
    server, clock = alone
    server.flags = flags
    client = Client(wire, server.start().address)
    write(client)
    assert server.stop() == 0
    clock.set(AHEAD_SECONDS)
    server.start()
    eventually(lambda: keys(client), lambda found: found == ALL)
    time.sleep(SETTLE_SECONDS)
    assert keys(client) == ALL
    assert "no key expires" in server.output()
    assert server.stop() == 0
    server.flags = (*flags, "--confirm-clock")
    server.start()
    eventually(lambda: keys(client), lambda found: found == LATE)
    client.close()


def test_server_on_its_own_believes_less_than_an_hour(alone: tuple[Server, Clock], wire: Wire) -> None:
    """A night without it is no doubt: whoever stopped it for 50 minutes is asked nothing."""
    server, clock = alone
    client = Client(wire, server.start().address)
    write(client)
    assert server.stop() == 0
    clock.set(50 * 60)
    server.start()
    eventually(lambda: keys(client), lambda found: found == LATE)
    client.close()
