"""Backups and restores of three real nodes: all have the restored data, whoever was asked and whoever was killed."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.integration.cluster.nodes import Cluster, eventually, paused
from tests.integration.conftest import ROOT, Server, Wire

BACKUPS = "dkv.v1.Backups"
SPREAD = 8
KEYS = 300
SECONDS = 120


@pytest.fixture
def made(tmp_path: Path, wire: Wire) -> Iterator[Cluster]:
    """Its own: everything in it is replaced."""
    cluster = Cluster(tmp_path, wire)
    try:
        yield cluster.form()
    finally:
        cluster.close()


def fill(cluster: Cluster, server: Server, value: bytes) -> None:
    """Six megabytes that do not compress: some dozen chunks."""
    noise, client = random.Random(value), cluster.client(server)
    for at in range(KEYS):
        pair = {"key": b"%03d" % at, "value": value + noise.randbytes(20_000)}
        eventually(lambda: client("Put", timeout=5, **pair))  # noqa: B023


def take(cluster: Cluster, server: Server, path: Path) -> None:
    cluster.client(server).all("Take", on=BACKUPS, path=str(path), timeout=SECONDS)


def restore(cluster: Cluster, server: Server, path: Path) -> Any:
    return cluster.client(server).all("Restore", on=BACKUPS, path=str(path), timeout=SECONDS)[-1]


def kill_while_spreading(cluster: Cluster, server: Server, path: Path, victim: Server) -> None:
    """A restore, asked of `server`; what ends its call is the caller's to judge."""
    client = cluster.client(server)
    for reply in client.stream("Restore", on=BACKUPS, path=str(path), timeout=SECONDS):
        is_running = victim.process is not None and victim.process.poll() is None
        if client.parse("Restore", reply, BACKUPS).phase == SPREAD and is_running:
            victim.kill()
    assert victim.process is None or victim.process.poll() is not None


def values(cluster: Cluster, server: Server) -> set[bytes]:
    return {value[:3] for key, value in cluster.rows(server).items() if key != b"settled"}


def test_restore_asked_of_a_follower_is_on_all_nodes(made: Cluster, tmp_path: Path) -> None:
    """Its own backup; it leads afterwards, and writes go on."""
    _, (follower, _) = made.leader_and_followers()
    fill(made, follower, b"old")
    take(made, follower, tmp_path / "backup")
    fill(made, follower, b"new")
    [(_, number, history_id)] = made.applied(made.leader())
    told = restore(made, follower, tmp_path / "backup")
    assert told.changeNumber == number + 1
    assert told.historyId != history_id
    assert made.leader() is follower
    made.check_equal_at_rest()
    assert [values(made, server) for server in made.servers] == [{b"old"}] * 3
    made.settle()


def test_follower_killed_during_a_restore_comes_back_to_the_restored_data(made: Cluster, tmp_path: Path) -> None:
    """The others are a quorum; what it lacks it fetches."""
    leader, (victim, _) = made.leader_and_followers()
    fill(made, leader, b"old")
    take(made, leader, tmp_path / "backup")
    fill(made, leader, b"new")
    kill_while_spreading(made, leader, tmp_path / "backup", victim)
    made.client(leader)("Put", key=b"behind", value=b"old", timeout=20)
    victim.start()
    made.settle()
    made.check_equal_at_rest()
    assert values(made, victim) == {b"old"}


def test_follower_that_stood_still_during_a_restore_catches_up(made: Cluster, tmp_path: Path) -> None:
    """It comes back while the others' logs still have the restore: it cannot apply that, and fetches a snapshot."""
    leader, (follower, _) = made.leader_and_followers()
    fill(made, leader, b"old")
    take(made, leader, tmp_path / "backup")
    fill(made, leader, b"new")
    with paused(follower):
        restore(made, leader, tmp_path / "backup")
    made.settle()
    made.check_equal_at_rest()
    assert values(made, follower) == {b"old"}


def test_dkvctl_restores_a_cluster(made: Cluster, tmp_path: Path) -> None:
    """Asked of any node, in the words of the original."""
    _, (follower, _) = made.leader_and_followers()
    client = made.client(follower)
    eventually(lambda: client("Put", key=b"k", value=b"old", timeout=5))
    for words, said in (("--backup", "Successfully backed up\n"), ("--restore", "Successfully restored\n")):
        command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", follower.address, words, str(tmp_path / "backup")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT / "src")
        assert (done.returncode, done.stdout) == (0, said), done.stderr
        eventually(lambda: client("Put", key=b"k", value=b"new", timeout=5))
    made.check_equal_at_rest()


def test_node_killed_during_its_restore_leaves_one_state_on_all(made: Cluster, tmp_path: Path) -> None:
    """The old or the restored one; asked again it is done."""
    leader, others = made.leader_and_followers()
    fill(made, leader, b"old")
    take(made, leader, tmp_path / "backup")
    fill(made, leader, b"new")
    with pytest.raises(grpc.RpcError):
        kill_while_spreading(made, leader, tmp_path / "backup", leader)
    made.leader(among=others)
    leader.start()
    made.settle()
    made.check_equal_at_rest()
    assert values(made, leader) in ({b"old"}, {b"new"})
    eventually(lambda: restore(made, leader, tmp_path / "backup"))
    made.check_equal_at_rest()
    assert values(made, others[0]) == {b"old"}


def test_backup_of_several_vbuckets_is_restored_by_another_node(tmp_path: Path, wire: Wire) -> None:
    """All vBuckets are in it, and all come back."""
    cluster = Cluster(tmp_path, wire, "--vbuckets", "4")
    try:
        cluster.form()
        first, second, _ = cluster.servers
        fill(cluster, first, b"old")
        take(cluster, first, tmp_path / "backup")
        fill(cluster, first, b"new")
        restore(cluster, second, tmp_path / "backup")
        for server in cluster.servers:
            eventually(lambda: values(cluster, server), lambda seen: seen == {b"old"})  # noqa: B023
        cluster.settle()
    finally:
        cluster.close()
