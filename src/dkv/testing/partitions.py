"""Shapes of broken networks: which directed pairs of nodes do not reach each other.

Each shape is one that has cost some system its data or its leader. Nodes are any numbers; a cut is (from, to).
"""

from collections.abc import Callable, Sequence
from random import Random

Cuts = frozenset[tuple[int, int]]


def between(some: Sequence[int], others: Sequence[int]) -> Cuts:
    """Both ways, each of `some` and each of `others`."""
    return frozenset(pair for one in some for other in others for pair in ((one, other), (other, one)))


def halves(nodes: Sequence[int], rng: Random) -> Cuts:
    """Two sides, of any size."""
    mixed = rng.sample(nodes, len(nodes))
    at = rng.randint(1, len(nodes) - 1)
    return between(mixed[:at], mixed[at:])


def single(nodes: Sequence[int], rng: Random) -> Cuts:
    """One node alone."""
    one = rng.choice(nodes)
    return between([one], [other for other in nodes if other != one])


def one_way(nodes: Sequence[int], rng: Random) -> Cuts:
    """One node hears the others and is not heard, or is heard and hears nobody."""
    one = rng.choice(nodes)
    is_mute = rng.random() < 0.5
    return frozenset((one, other) if is_mute else (other, one) for other in nodes if other != one)


def one_link(nodes: Sequence[int], rng: Random) -> Cuts:
    """Two nodes do not reach each other; everybody else reaches both."""
    one, other = rng.sample(nodes, 2)
    return between([one], [other])


def ring(nodes: Sequence[int], rng: Random) -> Cuts:
    """In a circle each node reaches a bare majority, itself included, and no two nodes the same one. Nothing is cut
    between three, where a bare majority is one neighbour and a circle has two."""
    mixed = rng.sample(nodes, len(nodes))
    count, reach = len(nodes), (len(nodes) // 2 + 1) // 2
    near = {(i, (i + step) % count) for i in range(count) for step in range(-reach, reach + 1)}
    return frozenset((mixed[i], mixed[j]) for i in range(count) for j in range(count) if (i, j) not in near)


def bridge(nodes: Sequence[int], rng: Random) -> Cuts:
    """Two sides that reach each other only through one node, which reaches all."""
    mixed = rng.sample(nodes, len(nodes))
    middle = (len(nodes) + 1) // 2
    return between(mixed[1:middle], mixed[middle:])


SHAPES: dict[str, Callable[[Sequence[int], Random], Cuts]] = {
    each.__name__: each for each in (halves, single, one_way, one_link, ring, bridge)
}
