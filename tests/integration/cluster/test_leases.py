"""Leases and FAST writes on real processes: both are off unless the operator wants them."""

import os
import signal
from collections.abc import Iterator
from urllib.request import urlopen

import grpc
import pytest
from tests.integration.cluster.nodes import LINEARIZABLE, Cluster, eventually
from tests.integration.conftest import Server, Wire

FAST = 2


@pytest.fixture(scope="module")
def leased(tmp_path_factory: pytest.TempPathFactory, wire: Wire) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("leased"), wire, "--nexus-lease-based-reads", "--fast-writes")
    try:
        yield made.form()
    finally:
        made.close()


def lease_answers(server: Server) -> float:
    assert server.process is not None
    arguments = server.process.args
    assert isinstance(arguments, list)
    address = arguments[arguments.index("--http-listen-addr") + 1]
    with urlopen(f"http://{address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    (line,) = [line for line in lines if line.startswith("dkv_raft_lease_answers_total")]
    return float(line.split()[-1])


def test_leader_answers_from_leases_while_it_is_read(leased: Cluster) -> None:
    """Its own callers, and those of followers."""
    leader, (follower, _) = leased.leader_and_followers()
    leased.client(leader)("Put", key=b"k", value=b"v")
    for server in (leader, follower):
        before = lease_answers(leader)
        client = leased.client(server)
        for _ in range(50):
            assert client("Get", key=b"k", readConsistency=LINEARIZABLE).value == b"v"
        assert lease_answers(leader) > before


def test_leader_that_stood_still_does_not_answer_from_its_lease(leased: Cluster) -> None:
    """Others have led and written meanwhile; what is asked of it before it hears of that is answered as of now."""
    leader, others = leased.leader_and_followers()
    client = leased.client(leader)
    for _ in range(10):
        client("Get", key=b"k", readConsistency=LINEARIZABLE)
    assert leader.process is not None
    os.kill(leader.process.pid, signal.SIGSTOP)
    try:
        early = [client.stream("Get", key=b"k", readConsistency=LINEARIZABLE) for _ in range(20)]
        newer = leased.leader(among=others)
        leased.client(newer)("Put", key=b"k", value=b"newer")
        late = [client.stream("Get", key=b"k", readConsistency=LINEARIZABLE) for _ in range(20)]
    finally:
        os.kill(leader.process.pid, signal.SIGCONT)
    assert {client.parse("Get", reply).value for call in late for reply in call} == {b"newer"}
    assert {client.parse("Get", reply).value for call in early for reply in call} <= {b"v", b"newer"}
    leased.settle()


def test_fast_write_is_answered_without_a_number_and_comes_to_be_there(leased: Cluster) -> None:
    """On any node; what it may not be used for is refused."""
    for at, server in enumerate(leased.servers):
        value = b"fast %d" % at
        assert leased.client(server)("Put", key=b"f", value=value, acknowledgement=FAST).changeNumber == 0
        eventually(lambda: leased.client(server)("Get", key=b"f").value, value.__eq__)  # noqa: B023
    code, text = leased.client(leased.servers[0]).refused("MultiPut", putRequest=[], acknowledgement=FAST)
    assert (code, text) == (grpc.StatusCode.INVALID_ARGUMENT, "only Put and Delete can be acknowledged FAST")


def test_cluster_without_the_options_has_neither(cluster: Cluster) -> None:
    """Leaders ask, and FAST is refused."""
    leader = cluster.leader()
    client = cluster.client(leader)
    for _ in range(5):
        client("Get", key=b"settled", readConsistency=LINEARIZABLE)
    assert lease_answers(leader) == 0
    code, text = client.refused("Put", key=b"f", value=b"v", acknowledgement=FAST)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert "--fast-writes" in text
