"""Nodes that stand still for longer than an election, and wake up in a world that has gone on without them.

A node that is stopped keeps its connections: whoever waits for it learns nothing. When it goes on it believes what it
believed, that it leads among it, with calls in its sockets and answers in its hands.
"""

import random
import time

from tests.integration.cluster.nodes import Cluster, paused
from tests.integration.cluster.workload import Workload

BRIEF_SECONDS = 1.2
"""At most, of many pauses: about an election, more or less, so that some end in the middle of one."""


def test_paused_leader_is_replaced_and_wakes_as_a_follower(cluster: Cluster, load: Workload) -> None:
    """Nothing that it answers then is of the past: its clients read on it as soon as it goes on."""
    leader, others = cluster.leader_and_followers()
    with paused(leader):
        load.go_on(200)
        cluster.leader(among=others)
    load.go_on(200, load.workers)


def test_paused_follower_is_not_missed_and_catches_up(cluster: Cluster, load: Workload) -> None:
    """It does not depose the leader either: nobody votes for who has missed everything."""
    leader, (follower, other) = cluster.leader_and_followers()
    term = cluster.members(leader).groups[0].term
    with paused(follower):
        load.go_on(200)
    load.go_on(200, load.workers)
    assert cluster.leader_as_seen_by(other) is leader
    assert cluster.members(leader).groups[0].term == term


def test_leaders_paused_again_and_again_for_about_an_election(cluster: Cluster, load: Workload) -> None:
    """Whoever leads is stopped, for more or less than it takes to miss it."""
    chance = random.Random(7)
    for _ in range(6):
        with paused(cluster.leader()):
            time.sleep(chance.uniform(0.2, BRIEF_SECONDS))
        load.go_on(20)
    load.go_on(100, load.workers)


def test_all_paused_at_once_go_on(cluster: Cluster, load: Workload) -> None:
    """As when a machine sleeps that all of them are on: to each it seems that the others were silent."""
    with paused(*cluster.servers):
        time.sleep(BRIEF_SECONDS)
    load.go_on(100, load.workers)
