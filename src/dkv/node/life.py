"""Before a node's first call and after its last: getting to where reads are safe, and leaving in order."""

from dkv.node.node import WAIT_MS, Node

HAND_OVER_MS_MAX = 3_000
"""What an orderly stop takes for having others lead; without it they would miss the leader first."""
HAND_OVER_AGAIN_MS = 500
CALLS_WAIT_MS = 10
"""Of a turn, while the last calls end."""


def recover(node: Node) -> None:
    """Stand for election (a group of one wins at once) and apply the log until reads are safe. Blocks."""
    for vbucket in node.vbuckets:
        node.consensus.campaign(vbucket)
    while not all(hosted.is_readable for hosted in node.vbuckets.values()):
        node.turn(WAIT_MS)


def drain(node: Node, timeout_ms: int) -> bool:
    """Let others lead, take no new connections, finish the open calls. Returns whether all ended in time."""
    deadline = node.clock.now().monotonic_ms + timeout_ms
    _hand_leadership_over(node, min(timeout_ms, HAND_OVER_MS_MAX))
    node.edge.stop_accepting()
    node.draining = True
    while node.edge.open_calls() > 0:
        if node.clock.now().monotonic_ms >= deadline:
            return False
        node.turn(CALLS_WAIT_MS)
    return True


def _hand_leadership_over(node: Node, timeout_ms: int) -> None:
    """To the voters that lack least, among those in touch. Calls go on being answered meanwhile."""
    if node.duties is None:
        return
    now_ms = node.clock.now().monotonic_ms
    deadline, ask_ms = now_ms + timeout_ms, now_ms
    while (led := node.duties.membership.to_hand_over()) and now_ms < deadline:
        if now_ms >= ask_ms:
            ask_ms = now_ms + HAND_OVER_AGAIN_MS
            for vbucket, heir in led.items():
                node.consensus.transfer_leader(vbucket, heir)
        node.turn(CALLS_WAIT_MS)
        now_ms = node.clock.now().monotonic_ms
