"""What operators see of several vBuckets: dkvctl and /metrics of real processes, with all of them and with one left."""

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from tests.integration.cluster.nodes import Cluster, eventually
from tests.integration.conftest import Server, Wire

import dkv

COUNT = 4
KEYS = 40


@pytest.fixture
def cluster(tmp_path: Path, wire: Wire) -> Iterator[Cluster]:
    made = Cluster(tmp_path, wire, "--vbuckets", str(COUNT))
    try:
        yield made.form()
    finally:
        made.close()


def dkvctl(server: Server, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "dkv.cli.dkvctl", "-a", server.address, *words]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return done.returncode, done.stdout.decode()


def vbuckets(server: Server) -> list[list[dict[str, Any]]]:
    """The replicas of each."""
    code, text = dkvctl(server, "vbuckets", "--json")
    assert code == 0, text
    return [each["replicas"] for each in json.loads(text)["vBuckets"]]


def metric(server: Server, name: str) -> float:
    found = re.search(r"HTTP on (\S+);", server.output())
    assert found is not None
    with urllib.request.urlopen(f"http://{found[1]}/metrics", timeout=20) as page:
        (value,) = re.findall(rf"^{name} (\S+)$", page.read().decode(), re.MULTILINE)
    return float(value)


def test_every_vbucket_is_told_of_with_all_of_its_replicas(cluster: Cluster) -> None:
    """Changes add up to what was written, whichever node is asked, and however the keys are spread."""
    with dkv.connect(f"dkv://{','.join(cluster.addresses)}?timeout=20s") as client:
        for at in range(KEYS):
            client.put(f"key {at}", "v")
    written = KEYS + 3  # those by which the cluster was seen to be ready
    cluster.check_equal_at_rest()
    for server in cluster.servers:
        found = vbuckets(server)
        assert [len(replicas) for replicas in found] == [len(cluster.servers)] * COUNT
        assert sum(replicas[0]["changeNumber"] for replicas in found) == written
        for replicas in found:
            assert sum(each["raftRole"] == "LEADER" for each in replicas) == 1
            assert len({each["leader"] for each in replicas}) == 1
        assert metric(server, "dkv_change_number") == written
        assert metric(server, "dkv_history_changes_kept_min") == written
        assert f"{COUNT} here" in dkvctl(server, "stats")[1]


def test_vbuckets_without_a_leader_are_named_by_the_one_node_that_is_left(cluster: Cluster) -> None:
    """It answers though it does not serve, and is well again when the others are back."""
    left, *others = cluster.servers
    for server in others:
        server.kill()

    def conditions() -> list[list[str]]:
        return [[name for each in replicas for name in each["conditions"]] for replicas in vbuckets(left)]

    eventually(conditions, lambda found: found == [["NO_LEADER"]] * COUNT)
    code, text = dkvctl(left, "status")
    assert code == 1
    assert f"! no leader: all {COUNT} vBuckets" in text
    assert "no leader: vBuckets 1, 2, 3, 4" in dkvctl(left, "stats")[1]
    assert metric(left, "dkv_raft_groups_without_leader") == COUNT
    for server in others:
        server.launch()
    eventually(conditions, lambda found: not any(found))
    assert dkvctl(left, "status")[0] == 0
