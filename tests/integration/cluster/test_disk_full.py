"""The disk of one node of three fills up under load, and has room again: nothing acknowledged is lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cluster.nodes import CLUSTER, Cluster, eventually
from tests.integration.cluster.workload import Workload
from tests.integration.conftest import Server, Wire

DISK_MIB, ROOM_MIB = 512, 2
"""The disk has room for all that the load writes on a quick machine, until the test fills it."""
SMALL = ("--write-buffer-size", str(4 << 20), "--block-cache-size", "0")
STEPS = 100
END_SECONDS_MAX = 60


def mount_or_skip(place: Path) -> None:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert "CI" not in os.environ, done.stderr
        pytest.skip(f"needs to mount a tmpfs: {done.stderr.strip()}")


@pytest.fixture
def cluster(tmp_path: Path, wire: Wire) -> Iterator[Cluster]:
    """The first has a small disk."""
    disk = tmp_path / "disk"
    mount_or_skip(disk)
    made = Cluster(tmp_path, wire, *SMALL)

    def make(folder: Path) -> Server:
        is_first = folder.name == "node-1"
        server = Server(disk / "db" if is_first else folder)
        server.flags = ("--min-free-disk-bytes", str(12 << 20) if is_first else "1")
        return server

    try:
        yield made.form(make=make)
    finally:
        made.close()
        subprocess.run(["umount", "-l", disk], check=True)


def fill(server: Server, left_mib: int) -> Path:
    """All but so much."""
    ballast = server.folder.parent / "ballast"
    stat = os.statvfs(server.folder)
    ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - (left_mib << 20))))
    return ballast


def test_disk_of_a_follower_that_fills_up_ends_it_and_nobody_else(cluster: Cluster, load: Workload) -> None:
    """It cannot keep what the others decide, so it ends and says why; with room again it catches up."""
    small, *others = cluster.servers
    lead(cluster, others[0])
    ballast = fill(small, ROOM_MIB)
    client, count = cluster.client(others[0]), 0
    assert small.process is not None
    while small.process.poll() is None:
        client("Put", key=b"large-%d" % (count := count + 1), value=os.urandom(200_000))
        assert count < 1_000, "it never filled up"
    assert small.process.returncode == 1
    assert "No space left" in small.output() or "nospace" in small.output(), small.output()
    load.go_on(STEPS)
    ballast.unlink()
    small.start()
    load.go_on(STEPS, load.workers)


def test_leader_whose_disk_is_nearly_full_has_another_one_lead(cluster: Cluster, load: Workload) -> None:
    """It may not take writes, and the others have room."""
    small, *others = cluster.servers
    lead(cluster, small)
    ballast = fill(small, ROOM_MIB * 2)
    eventually(lambda: cluster.leader_as_seen_by(others[0]) in others)
    load.go_on(STEPS, load.workers)
    ballast.unlink()
    lead(cluster, small)
    load.go_on(STEPS, load.workers)


def lead(cluster: Cluster, server: Server) -> None:
    cluster.client(server)("TransferLeadership", on=CLUSTER, node=server.member_address, timeout=END_SECONDS_MAX)
