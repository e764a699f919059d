"""What time it is by a majority of clocks (INVARIANTS 7).

As with a commit index: the time that counts is the latest one that the clocks of a majority have reached. A minority of
clocks that are ahead cannot move it beyond a right one, whichever they are, the leader's own among them; a minority
that is behind, or silent, cannot hold it back. Whoever is not heard of has reached nothing.
"""

from collections.abc import Collection, Iterable, Mapping


def quorum_time(clocks: Mapping[int, int], halves: Iterable[Collection[int]]) -> int | None:
    """The latest wall time that a majority of each half has reached; None: that is not known.

    `clocks`: milliseconds, by node, as far as they are known. `halves`: the nodes of the voters, in a joint state of
    both memberships; empty ones do not count. A single voter has nobody who could confirm it: that is an operator's.
    """
    reached: int | None = None
    for nodes in filter(None, halves):
        told = sorted((clocks[node] for node in nodes if node in clocks), reverse=True)
        majority = len(nodes) // 2 + 1
        if len(nodes) < 2 or len(told) < majority:
            return None
        reached = min(told[majority - 1], told[majority - 1] if reached is None else reached)
    return reached
