"""The disks of both followers take longer for a sync than a leader waits for a word of a quorum."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.cluster.nodes import Cluster
from tests.integration.conftest import Wire

SYNC_MS = 1_200
"""Twice the time of that wait."""
WRITES = 4
"""Each takes a sync of a follower's, or a little less than two."""
PATIENCE_SECONDS = 20.0


@pytest.fixture
def cluster(tmp_path: Path, wire: Wire) -> Iterator[Cluster]:
    made = Cluster(tmp_path, wire)
    try:
        made.form()
        _, followers = made.leader_and_followers()
        for server in followers:
            server.stop()
            server.flags = (*server.flags, "--log-sync-delay", str(SYNC_MS))
            server.start()
        made.settle()
        yield made
    finally:
        made.close()


def test_leader_of_slow_disks_goes_on_leading(cluster: Cluster) -> None:
    """Its followers have nothing to say of their entries for so long, but they say that they hear it."""
    leader, (follower, _) = cluster.leader_and_followers()
    put, term = cluster.client(leader), cluster.members(leader).groups[0].term
    for count in range(WRITES):
        put("Put", key=b"slow", value=b"%d" % count, timeout=PATIENCE_SECONDS)
    assert cluster.leader_as_seen_by(follower) is leader
    assert cluster.members(leader).groups[0].term == term
