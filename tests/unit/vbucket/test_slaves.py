"""The registry of slaves."""

import pytest

from dkv.model.errors import Corrupt
from dkv.vbucket.rows import slave_key, slaves_range
from dkv.vbucket.slaves import SLAVES_MAX, Slaves


def test_registry_comes_back_from_its_rows() -> None:
    """It has no other state than its rows; adding twice and removing what is unknown are well."""
    slaves, rows = Slaves(3), dict[bytes, bytes | None]()
    for address in (b"b:1", b"a:1", b"zone@c:1", b"b:1"):
        assert slaves.add(address, rows)
    slaves.remove(b"a:1", rows)
    slaves.remove(b"other:1", rows)
    again = Slaves(3)
    again.load((key, row) for key, row in rows.items() if row is not None)
    assert again.addresses() == slaves.addresses() == [b"b:1", b"zone@c:1"]


def test_registry_of_one_vbucket_is_apart_from_others() -> None:
    """Addresses do not reach into the range of the next."""
    start, end = slaves_range(3)
    assert start < slave_key(3, b"\xff" * 300) < end <= slave_key(4, b"")


def test_registry_has_a_limit() -> None:
    """Beyond it a new address is refused, a known one is not."""
    slaves, rows = Slaves(3), dict[bytes, bytes | None]()
    for number in range(SLAVES_MAX):
        assert slaves.add(b"h:%d" % number, rows)
    assert not slaves.add(b"one:more", rows)
    assert slaves.add(b"h:1", rows)
    slaves.remove(b"h:1", rows)
    assert slaves.add(b"one:more", rows)


@pytest.mark.parametrize("row", [(slave_key(3, b""), b""), (slave_key(3, b"h:1"), b"x")])
def test_registry_with_a_row_that_is_none_raises_corrupt(row: tuple[bytes, bytes]) -> None:
    """An address without a name, or a row that says something."""
    with pytest.raises(Corrupt, match="not an address"):
        Slaves(3).load([row])
