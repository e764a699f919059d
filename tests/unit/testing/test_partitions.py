"""What each shape of a broken network leaves connected."""

from random import Random

import pytest

from dkv.testing.partitions import SHAPES, Cuts, bridge, halves, one_link, one_way, ring, single

FIVE = (1, 2, 3, 4, 5)


def reached(cuts: Cuts, node: int) -> set[int]:
    """Who hears `node`, itself included."""
    return {other for other in FIVE if (node, other) not in cuts}


def is_symmetric(cuts: Cuts) -> bool:
    return all((other, one) in cuts for one, other in cuts)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("nodes", [(7, 9), (1, 2, 3), FIVE])
def test_shape_cuts_only_pairs_of_the_nodes(name: str, nodes: tuple[int, ...]) -> None:
    """No node is cut off from itself, and no other node is named; equal seeds give equal cuts."""
    for seed in range(20):
        cuts = SHAPES[name](nodes, Random(seed))
        assert all(one != other and {one, other} <= set(nodes) for one, other in cuts)
        assert cuts == SHAPES[name](nodes, Random(seed))


@pytest.mark.parametrize("seed", range(10))
def test_halves_are_two_sides_that_each_hang_together(seed: int) -> None:
    """Whoever reaches somebody is on the same side."""
    cuts = halves(FIVE, Random(seed))
    sides = {frozenset(reached(cuts, node)) for node in FIVE}
    assert len(sides) == 2
    assert set.union(*map(set, sides)) == set(FIVE)


def test_single_node_is_alone_and_the_others_are_not() -> None:
    """One reaches itself only, four reach each other."""
    cuts = single(FIVE, Random(1))
    assert sorted(len(reached(cuts, node)) for node in FIVE) == [1, 4, 4, 4, 4]


def test_one_way_cuts_one_direction_of_one_node() -> None:
    """Of each pair at most one direction is cut, and all cuts share a node."""
    shapes = [one_way(FIVE, Random(seed)) for seed in range(20)]
    assert all(len(cuts) == 4 and not is_symmetric(cuts) for cuts in shapes)
    assert {len({one for one, _ in cuts}) for cuts in shapes} == {1, 4}, "mute in some, deaf in others"


def test_one_link_leaves_a_way_around() -> None:
    """Two nodes miss each other and nobody else."""
    cuts = one_link(FIVE, Random(1))
    assert len(cuts) == 2
    assert is_symmetric(cuts)


def test_ring_gives_every_node_another_bare_majority() -> None:
    """Each of five reaches three, and no two the same three."""
    cuts = ring(FIVE, Random(1))
    majorities = {frozenset(reached(cuts, node)) for node in FIVE}
    assert len(majorities) == 5
    assert {len(each) for each in majorities} == {3}
    assert is_symmetric(cuts)
    assert not ring((1, 2, 3), Random(1))


def test_bridge_joins_two_sides_by_one_node() -> None:
    """One reaches all; each other reaches its own side and that one."""
    cuts = bridge(FIVE, Random(1))
    assert sorted(len(reached(cuts, node)) for node in FIVE) == [3, 3, 3, 3, 5]
