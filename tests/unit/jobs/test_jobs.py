"""Sweeping and iterating."""

import pytest

from dkv.jobs.iterate import IterateJob
from dkv.jobs.sweep import sweep_command
from dkv.model.commands import Sweep
from dkv.model.errors import Corrupt
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import encode_row, expiry_row_key

LOG_TIME = 1_000


def replica() -> Replica:
    row = Replica.first_rows(3, 7, b"h" * 16, ([7], [], [], [], False), LOG_TIME).operations[0][1]
    assert row is not None
    return Replica.open(3, row, [], [(expiry_row_key(12, 900, b"a"), b"")], [])


def test_sweep_takes_what_is_due_and_nothing_later() -> None:
    """Rows come in order of expiry; the first that is not due ends the command."""
    mine = replica()
    rows = [(expiry_row_key(12, at, key), b"") for at, key in ((900, b"a"), (1_000, b"b"), (1_001, b"c"))]
    assert mine.sweep_due()
    assert sweep_command(mine, rows) == Sweep(((900, b"a"), (1_000, b"b")))
    assert mine.sweep_due()


@pytest.mark.parametrize(("rows", "earliest"), [([], None), ([(expiry_row_key(12, 1_001, b"c"), b"")], 1_001)])
def test_sweep_with_nothing_due_notes_where_the_index_begins(
    rows: list[tuple[bytes, bytes]], earliest: int | None
) -> None:
    """So that the replica knows when the next tick is due."""
    mine = replica()
    assert sweep_command(mine, rows) is None
    assert mine.earliest_expiry == earliest
    assert not mine.sweep_due()


def encode(key: bytes, value: bytes, expires_at: int) -> bytes:
    return b"%b=%b@%d" % (key, value, expires_at)


def row(key: bytes, value: bytes, expires_at: int = 0) -> tuple[bytes, bytes]:
    return b"\0\0\0\x0c" + key, encode_row(value, expires_at)


def test_iterate_makes_messages_of_live_rows() -> None:
    """Expired rows are passed over, empty values are values."""
    job = IterateJob(encode, LOG_TIME, 0)
    rows = [row(b"a", b"1"), row(b"b", b"2", LOG_TIME), row(b"c", b"", LOG_TIME + 1), row(b"d", b"9", 5)]
    assert job.slice(rows) == [b"a=1@0", b"c=@1001"]
    assert (job.done, job.resume_key) == (False, b"d")
    assert job.slice([]) == []
    assert job.resume_key == b"d"


def test_iterate_with_a_limit_ends_with_its_last_message() -> None:
    """Over slices; expired rows do not count."""
    job = IterateJob(encode, LOG_TIME, 2)
    assert job.slice([row(b"a", b"1", 1), row(b"b", b"2")]) == [b"b=2@0"]
    assert not job.done
    assert job.slice([row(b"c", b"3"), row(b"d", b"4")]) == [b"c=3@0"]
    assert (job.done, job.resume_key) == (True, b"c")


def test_iterate_over_a_damaged_row_raises_corrupt() -> None:
    """Never a silent early end."""
    with pytest.raises(Corrupt):
        IterateJob(encode, LOG_TIME, 0).slice([(b"\0\0\0\x0ca", b"\x09")])
