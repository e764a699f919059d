"""Replicas that are equal, but for what may differ, and replicas that are not."""

import pytest

pytest.importorskip("dkv._native", reason="the native module is not built")

from dkv.cluster.charter import Charter
from dkv.model import members as model
from dkv.model.limits import Limits
from dkv.ports.store import RowBatch
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.replicas import differences
from dkv.testing.machine import VBUCKET
from dkv.testing.network import Network
from dkv.testing.random import stream
from dkv.vbucket.outcomes import EntryOutcomes, encode_outcomes
from dkv.vbucket.rows import DATA, EXPIRY, OUTCOMES, SESSIONS, formed_space, prefix


def two() -> list[Member]:
    """Two members of a new cluster."""
    network = Network(stream(1, "network"))
    members = [Member(number, 1, Limits(), network) for number in (1, 2)]
    for member in members:
        member.found(charter(members, 5))
    return members


def charter(members: list[Member], formed_ms: int) -> Charter:
    named = tuple(model.Member(each.node_id, each.node_id, f"n{each.number}:1", each.url) for each in members)
    return Charter(b"c" * 16, "name", 1, formed_ms, b"h" * 16, named)


def write(member: Member, space: int, key: bytes, row: bytes) -> None:
    member.store.write(RowBatch([(prefix(formed_space(VBUCKET) + space) + key, row)]))


def test_members_of_a_new_cluster_are_equal() -> None:
    """Though each has another replica id."""
    assert list(differences(two())) == []


@pytest.mark.parametrize("space", [DATA, EXPIRY, SESSIONS])
def test_row_that_only_one_has_is_found(space: int) -> None:
    """In any space but that of the history."""
    members = two()
    write(members[1], space, b"key", b"\0v")
    assert len(list(differences(members))) == 1


def test_row_that_differs_is_found() -> None:
    """Also in the history, where both have it."""
    members = two()
    write(members[0], DATA, b"key", b"\0v")
    write(members[1], DATA, b"key", b"\0w")
    write(members[0], OUTCOMES, b"12345678", encode_outcomes(EntryOutcomes(1, 2, 0, 7)))
    write(members[1], OUTCOMES, b"12345678", encode_outcomes(EntryOutcomes(1, 3, 0, 7)))
    assert len(list(differences(members))) == 2


def test_history_may_be_cut_on_one_and_counted_from_elsewhere() -> None:
    """How much is kept is each node's own affair, and a snapshot brings none."""
    members = two()
    write(members[1], OUTCOMES, b"12345678", encode_outcomes(EntryOutcomes(1, 2, 0, 7)))
    write(members[0], OUTCOMES, b"12345679", encode_outcomes(EntryOutcomes(2, 2, 0, 100)))
    write(members[1], OUTCOMES, b"12345679", encode_outcomes(EntryOutcomes(2, 2, 0, 50)))
    assert list(differences(members)) == []


def test_metadata_that_differs_is_found() -> None:
    """Another log time is another state."""
    members = two()
    members[1].wipe()
    members[1].found(charter(members, 6))
    assert "log_time=6" in next(differences(members))
