"""The directory of a vBucket."""

import pytest

from dkv.model.errors import Corrupt
from dkv.model.members import Member, decode_members, encode_members
from dkv.ports.consensus import Conf
from dkv.vbucket.directory import ConfChanged, Directory, first_members
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import member_key, members_range

A, B, C = (Member(n, 10 + n, f"{name}:1", f"http://{name}:1") for n, name in ((1, "a"), (2, "b"), (3, "c")))
ONE: Conf = ([1], [], [], [], False)


def reopened(rows: dict[bytes, bytes | None]) -> list[Member]:
    directory = Directory(3)
    directory.load((key, row) for key, row in rows.items() if row is not None)
    return directory.members()


def test_directory_follows_rafts_members() -> None:
    """Whom they do not name is gone; who leaves a joint state is there until it is left."""
    directory, rows = Directory(3), dict[bytes, bytes | None](first_members(3, [A]))
    directory.load([(key, row) for key, row in rows.items() if row is not None])
    steps: list[tuple[Conf, list[Member], list[Member]]] = [
        (([1], [2], [], [], False), [B], [A, B]),
        (([1, 2], [], [], [], False), [], [A, B]),
        (([1, 3], [], [1, 2], [], True), [C], [A, B, C]),
        (([1, 3], [], [], [], False), [], [A, C]),
    ]
    for conf, added, members in steps:
        directory.change(conf, added, rows)
        assert directory.members() == members == reopened(rows)


def test_directory_takes_another_address_and_no_strangers() -> None:
    """A member that is told of again is replaced; one that Raft does not name is not noted."""
    directory, rows = Directory(3), dict[bytes, bytes | None]()
    directory.change(ONE, [A], rows)
    moved = A._replace(address="other:1")
    directory.change(ONE, [moved, B], rows)
    assert directory.members() == reopened(rows) == [moved]


def test_directory_of_one_vbucket_is_apart_from_others() -> None:
    """The highest replica id does not reach into the range of the next."""
    start, end = members_range(3)
    assert start < member_key(3, (1 << 64) - 1) < end <= member_key(4, 0)


def test_member_has_the_golden_bytes() -> None:
    """Persisted: docs/formats/rows.md."""
    assert member_key(3, 1).hex() == "000000000400000003" + "0000000000000001"
    assert encode_members([A]).hex() == "010001" + "0000000000000001" + "000000000000000b" + "0003000a" + (
        b"a:1http://a:1".hex()
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\2\0\0",
        b"\1\0\1",
        encode_members([A])[:-1],
        encode_members([A]) + b"x",
        encode_members([A])[:-1] + b"\xff",
    ],
)
def test_members_that_are_none_raise_corrupt(data: bytes) -> None:
    """Another version, an early end, a late one, no text."""
    with pytest.raises(Corrupt):
        decode_members(data)


@pytest.mark.parametrize("row", [(member_key(3, 2), encode_members([A])), (member_key(3, 1), encode_members([A, B]))])
def test_directory_with_a_row_of_another_raises_corrupt(row: tuple[bytes, bytes]) -> None:
    """A row under another key, or with two members."""
    with pytest.raises(Corrupt, match="directory of vBucket 3"):
        Directory(3).load([row])


def test_apply_writes_members_and_directory_in_one_batch() -> None:
    """A change of members and what it carries are of one entry."""
    first = Replica.first_rows(3, 1, b"h" * 16, ONE, 0, members=[A])
    rows = {key: row for key, row in first.operations if row is not None}
    metadata = rows[Replica.metadata_key(3)]
    member_rows = [(key, row) for key, row in rows.items() if key != Replica.metadata_key(3)]
    replica = Replica.open(3, metadata, [], [], [], member_rows=member_rows)
    changed = ConfChanged(([1], [2], [], [], False), encode_members([B]))
    applied = replica.apply([(2, 1, 2, b"as raft has it")], [], {2: changed})
    assert replica.directory.members() == [A, B]
    assert [key for key, _ in applied.batch.operations] == [member_key(3, 2), Replica.metadata_key(3)]
    assert replica.members == changed.conf


def test_apply_of_a_damaged_context_changes_nothing() -> None:
    """Every check comes before the first change."""
    row = Replica.first_rows(3, 1, b"h" * 16, ONE, 0).operations[0][1]
    assert row is not None
    replica = Replica.open(3, row, [], [], [])
    with pytest.raises(Corrupt):
        replica.apply([(2, 1, 2, b"")], [], {2: ConfChanged(ONE, b"damaged")})
    assert replica.applied_index == 1
