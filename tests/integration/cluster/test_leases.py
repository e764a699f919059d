"""Leases, FAST writes and those that all voters have, on real processes. The first two are off unless wanted."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from tests.integration.cluster.nodes import LINEARIZABLE, Cluster, eventually, paused
from tests.integration.conftest import Server, Wire

import dkv
import dkv.aio

FAST = 2
Calling = Callable[..., Any]
"""An operation of a client by its name, with its arguments."""


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


@pytest.fixture(params=["sync", "asyncio"])
def calling(request: pytest.FixtureRequest, leased: Cluster) -> Iterator[Calling]:
    """A client of all nodes that has learned who leads."""
    url = f"dkv://{','.join(leased.addresses)}?timeout=4s"
    if request.param == "sync":
        with dkv.connect(url) as client:
            client.put("warm", "")
            yield lambda name, *words, **options: getattr(client, name)(*words, **options)
        return
    with asyncio.Runner() as runner:
        awaited = dkv.aio.connect(url)

        def call(name: str, *words: Any, **options: Any) -> Any:
            return runner.run(getattr(awaited, name)(*words, **options))

        call("put", "warm", "")
        yield call
        call("close")


def test_client_writes_fast_and_finds_it_soon(leased: Cluster, calling: Calling) -> None:
    """A put and a delete. They have no numbers, and those of its other writes are seen all the same."""
    calling("put", "own", "seen")
    assert calling("put", "fast", "1", acknowledgement="fast") is True
    assert calling("get", "own", level="read_your_writes") == b"seen"
    eventually(lambda: calling("get", "fast") == b"1")
    calling("delete", "fast", acknowledgement="fast")
    eventually(lambda: calling("get", "fast") is None)
    with pytest.raises(dkv.InvalidRequest, match="only put, without if_absent, and delete can be acknowledged fast"):
        calling("put", "fast", "1", if_absent=True, acknowledgement="fast")
    assert calling("get", "fast") is None


def test_fast_write_to_a_leader_that_stands_still_is_tried_once_and_of_unknown_outcome(
    leased: Cluster, calling: Calling
) -> None:
    """Another node is up and would have taken a second attempt; a put with a session goes there and is answered."""
    leader, others = leased.leader_and_followers()
    with paused(leader):
        with pytest.raises(dkv.OutcomeUnknown) as caught:
            calling("put", "stood", "fast", acknowledgement="fast")
        assert caught.value.may_have_happened
        leased.leader(among=others)
        assert calling("put", "stood", "quorum") is True
        assert calling("get", "stood") == b"quorum"
    leased.settle()


def test_write_that_all_must_have_waits_for_all(leased: Cluster, calling: Calling) -> None:
    """Every kind of write. While one voter stands still the outcome is unknown, and it is there in the end."""
    assert calling("put", "all", "1", acknowledgement="all") is True
    calling("put_many", {"all/1": "a", "all/2": "b"}, acknowledgement="all")
    assert calling("compare_and_set", "all", "1", "2", acknowledgement="all") is True
    assert calling("incr", "count", acknowledgement="all") == 1
    assert calling("decr", "count", acknowledgement="all") == 0
    assert calling("touch", "all", 100, acknowledgement="all") is True
    assert calling("persist", "all", acknowledgement="all") is True
    calling("delete", "count", acknowledgement="all")
    calling("delete_range", "all/", "all0", acknowledgement="all")
    _, (follower, _) = leased.leader_and_followers()
    with paused(follower):
        assert calling("put", "most", "1") is True
        with pytest.raises(dkv.OutcomeUnknown):
            calling("put", "all", "3", acknowledgement="all")
    eventually(lambda: calling("get", "all") == b"3")
    leased.settle()


def test_dkvctl_asks_for_an_acknowledgement(leased: Cluster, cluster: Cluster) -> None:
    """Of set and del any, of others not FAST; a server that does not permit FAST says so."""

    def dkvctl(of: Cluster, *words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", ",".join(of.addresses), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + (done.stderr if done.returncode == 2 else "")

    assert dkvctl(leased, "--set", "ctl", "1", "--ack", "all") == (0, "OK\n")
    assert dkvctl(leased, "--ack=FAST", "set", "ctl", "2") == (0, "OK\n")
    eventually(lambda: leased.client(leased.servers[0])("Get", key=b"ctl").value, b"2".__eq__)
    assert dkvctl(leased, "del", "ctl", "--acknowledgement", "fast") == (0, "OK\n")
    code, said = dkvctl(leased, "mput", "a", "1", "--ack", "fast")
    assert (code, "only set and del can be acknowledged fast" in said) == (2, True)
    code, said = dkvctl(cluster, "set", "a", "1", "--ack", "fast")
    assert code == 1
    assert said.startswith("Unable to perform SET. Error: rpc error: code = InvalidArgument desc = FAST writes are not")
