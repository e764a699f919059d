"""The charter of a cluster."""

from dataclasses import replace

import pytest

from dkv.cluster.charter import Charter, decode_charter, encode_charter
from dkv.model.errors import Corrupt
from dkv.model.members import Member

MEMBERS = (Member(7, 7, "a:1", "http://a:1"), Member(9, 9, "b:1", "http://b:1"))
CHARTER = Charter(bytes(range(16)), "prod", 3, 1_700_000_000_000, b"h" * 16, MEMBERS)
GOLDEN = (
    "01000102030405060708090a0b0c0d0e0f0000018bcfe5680000000003" + b"h".hex() * 16 + "04" + b"prod".hex() + "010002"
    "000000000000000700000000000000070003000a" + b"a:1http://a:1".hex() + ""
    "000000000000000900000000000000090003000a" + b"b:1http://b:1".hex()
)


def test_charter_has_the_golden_bytes_and_comes_back_equal() -> None:
    """Persisted: docs/formats/charter.md."""
    assert encode_charter(CHARTER).hex() == GOLDEN
    assert decode_charter(bytes.fromhex(GOLDEN)) == CHARTER


@pytest.mark.parametrize("size", range(len(bytes.fromhex(GOLDEN))))
def test_charter_that_ends_early_raises_corrupt(size: int) -> None:
    """Wherever it ends."""
    with pytest.raises(Corrupt):
        decode_charter(bytes.fromhex(GOLDEN)[:size])


@pytest.mark.parametrize(
    "row",
    [b"\2" + encode_charter(CHARTER)[1:], encode_charter(CHARTER) + b"x", encode_charter(replace(CHARTER, vbuckets=0))],
)
def test_charter_that_is_none_raises_corrupt(row: bytes) -> None:
    """Another version, bytes too many, no vBucket."""
    with pytest.raises(Corrupt):
        decode_charter(row)


def test_replicas_of_a_vbucket_have_ids_of_their_own() -> None:
    """In vBucket 1 those of the nodes, as a node on its own has; elsewhere no two alike, on every node the same."""
    ids = [[member.replica for member in CHARTER.members_of(vbucket)] for vbucket in CHARTER.numbers()]
    assert ids[0] == [7, 9]
    assert len({each for pair in ids for each in pair}) == 6
    assert all(0 < each < 1 << 63 for pair in ids for each in pair)
    assert [member.node for member in CHARTER.members_of(3)] == [7, 9]
    assert CHARTER.conf_of(2) == (ids[1], [], [], [], False)


def test_vbuckets_have_histories_of_their_own() -> None:
    """And another cluster has others."""
    other = replace(CHARTER, cluster_id=bytes(16), first_history_id=bytes(16))
    ids = [each.history_id(vbucket) for each in (CHARTER, other) for vbucket in CHARTER.numbers()]
    assert len(set(ids)) == 6
    assert {len(each) for each in ids} == {16}
    assert ids[0] == b"h" * 16


def test_charter_knows_the_nodes_it_began_with() -> None:
    """And no others."""
    assert [CHARTER.has(node) for node in (7, 8, 9)] == [True, False, True]
