"""A restore: from a staged block to the served one, in one batch."""

import pytest
from tests.unit.vbucket.test_replica import START_MS, Vault

from dkv.model.commands import Delete, MultiPut, Put, Restore, Session
from dkv.model.errors import Corrupt, InvariantBroken
from dkv.ports.store import RowBatch
from dkv.vbucket.entry import encode_entry
from dkv.vbucket.replica import Applied, Replica
from dkv.vbucket.rows import block_range, data_range, encode_row, expiry_row_key, fresh_space, prefix, unnamed_ranges
from dkv.vbucket.staging import Staged, decode_staged, encode_staged

ID, SUM, HISTORY = b"i" * 16, b"c" * 32, b"n" * 16
RESTORE = Restore(ID, SUM, HISTORY, 5, START_MS)


def stage(vault: Vault, pairs: dict[bytes, bytes], expiring: dict[bytes, tuple[bytes, int]] | None = None) -> int:
    """Fills a fresh block as a job would, and says so."""
    space = fresh_space([vault.replica.space])
    rows: list[tuple[bytes, bytes | None]] = [(prefix(space) + key, b"\0" + value) for key, value in pairs.items()]
    for key, (value, expires_at) in (expiring or {}).items():
        rows += [(prefix(space) + key, encode_row(value, expires_at)), (expiry_row_key(space, expires_at, key), b"")]
    vault.write(Applied(RowBatch(rows), []))
    earliest = min((expires_at for _, expires_at in (expiring or {}).values()), default=None)
    vault.write(Applied(vault.replica.stage(Staged(ID, space, SUM, earliest, 1)), []))
    return space


def test_restore_replaces_every_row_at_once_and_drops_the_old_block() -> None:
    """What was there is gone, what was staged is there, and one batch did it."""
    vault = Vault()
    vault.do(Put(b"old", b"1"), Put(b"both", b"1"))
    old = vault.replica.space
    stage(vault, {b"new": b"2", b"both": b"2"})
    assert vault.get(b"old") == b"1"
    vault.do(RESTORE)
    assert [vault.get(key) for key in (b"old", b"both", b"new")] == [None, b"2", b"2"]
    assert vault.between(*data_range(old)) == []


@pytest.mark.parametrize(("theirs", "taken"), [(1, 4), (3, 4), (70, 71)])
def test_restore_takes_one_number_above_both_histories_and_keeps_none(theirs: int, taken: int) -> None:
    """Numbers never go back; the one that is taken is below the oldest that is kept."""
    vault = Vault()
    vault.do(Put(b"a", b"1"), Put(b"b", b"1"), Delete(b"a"))
    stage(vault, {})
    assert vault.do(RESTORE._replace(change_number=theirs))[0].change_number == taken
    assert (vault.replica.change_number, vault.replica.earliest_change) == (taken, taken + 1)
    assert vault.replica.history_id == HISTORY
    assert vault.do(Put(b"c", b"1"))[0].change_number == taken + 1


@pytest.mark.parametrize(("entry", "backup"), [(START_MS, START_MS + 9), (START_MS + 9, START_MS)])
def test_restore_keeps_the_later_log_time(entry: int, backup: int) -> None:
    """Neither the log nor what is restored falls back in time."""
    vault = Vault()
    stage(vault, {})
    vault.do(RESTORE._replace(log_time=backup), at_ms=entry)
    assert vault.replica.log_time == START_MS + 9
    assert vault.replica.clock.last == START_MS + 9


def test_restore_drops_sessions() -> None:
    """A retry from before the restore is not applied: its outcome is unknown (INVARIANTS 15)."""
    vault = Vault()
    vault.do(Put(b"a", b"1", 0, Session(b"s", 1, 0)))
    stage(vault, {})
    vault.do(RESTORE)
    outcome = vault.do(Put(b"a", b"1", 0, Session(b"s", 1, 1)))[0]
    assert not outcome.took_effect
    assert outcome.error
    assert vault.get(b"a") is None


def test_restore_of_expiring_rows_knows_where_the_index_begins() -> None:
    """The sweep goes on in the new block; what was due at the log time is not seen."""
    vault = Vault()
    stage(vault, {}, {b"due": (b"1", START_MS - 1), b"later": (b"2", START_MS + 50)})
    vault.do(RESTORE)
    assert (vault.get(b"due"), vault.get(b"later")) == (None, b"2")
    assert vault.replica.earliest_expiry == START_MS - 1
    assert vault.replica.sweep_due()


def test_restore_that_is_not_staged_stops_the_replica_unchanged() -> None:
    """Without its rows a replica cannot follow the log; it says so and has changed nothing."""
    vault = Vault()
    vault.do(Put(b"a", b"1"))
    before = vault.replica.metadata()
    with pytest.raises(Corrupt, match="not staged here"):
        vault.do(RESTORE)
    stage(vault, {})
    for wrong in (RESTORE._replace(checksum=b"x" * 32), RESTORE._replace(restore_id=b"x" * 16)):
        vault.replica = vault.reopen()
        with pytest.raises(Corrupt, match="not staged here"):
            vault.do(wrong)
    assert vault.replica.metadata() == before


def test_restore_is_repeated_after_a_crash_as_long_as_it_is_not_applied() -> None:
    """A replica that is opened again finds what is staged, and the same entry has the same effect."""
    vault = Vault()
    stage(vault, {b"new": b"2"})
    vault.replica = vault.reopen()
    vault.do(RESTORE)
    assert vault.get(b"new") == b"2"
    vault.replica = vault.reopen()
    assert vault.replica.staged is None
    assert vault.get(b"new") == b"2"


def test_restore_given_up_leaves_nothing() -> None:
    """The staged block and its row go, what is served stays."""
    vault = Vault()
    vault.do(Put(b"a", b"1"))
    before = dict(vault.rows)
    space = stage(vault, {b"new": b"2"})
    vault.write(Applied(vault.replica.unstage([block_range(space)]), []))
    assert vault.rows == before
    assert vault.replica.staged is None


def test_restore_is_applied_alone() -> None:
    """Entries around a restore are cut from it, and handing them over together is our bug."""
    replica = Vault().replica
    put, restore = encode_entry(START_MS, [Put(b"a", b"1")]), encode_entry(START_MS, [RESTORE])
    entries = [(index, 1, 0, data) for index, data in enumerate([put, put, restore, put], 2)]
    assert [replica.applied_together(entries, start, 1 << 20) for start in range(4)] == [2, 2, 3, 4]
    assert replica.applied_together(entries[:2], 0, 1) == 1
    with pytest.raises(InvariantBroken, match="a restore among 4 entries"):
        replica.apply(entries, [])


def test_unnamed_ranges_are_everything_between_the_named_blocks() -> None:
    """From the first block to the end of all spaces, and never a named one."""
    far = 1 << 31
    assert unnamed_ranges([far, 4]) == [(prefix(8), prefix(far)), (prefix(far + 4), b"\xff" * 5)]
    assert unnamed_ranges([8]) == [(prefix(4), prefix(8)), (prefix(12), b"\xff" * 5)]


@pytest.mark.parametrize("earliest", [None, 0, 77])
@pytest.mark.parametrize("is_whole", [False, True])
def test_staging_row_comes_back_equal(earliest: int | None, is_whole: bool) -> None:
    """Decoding gives what was encoded."""
    staged = Staged(ID, 1 << 31, SUM, earliest, 7, is_whole)
    assert decode_staged(encode_staged(staged)) == staged


def test_staging_row_with_damage_is_refused() -> None:
    """Too short, of another version, or with a flag that means nothing."""
    good = encode_staged(Staged(ID, 1 << 31, SUM, None, 7))
    for bad, why in (
        (good[:-1], "row of 70 bytes"),
        (b"\3" + good[1:], "version 3"),
        (good[:53] + b"\2" + good[54:], "has expiry is 2"),
        (good[:61] + b"\1" + good[62:], "has expiry is 0"),
        (good[:-1] + b"\2", "is whole is 2"),
    ):
        with pytest.raises(Corrupt, match=why):
            decode_staged(bad)


def test_staging_row_of_the_first_format_is_whole_and_of_no_term() -> None:
    """An earlier release wrote it when everything was staged."""
    row = b"\1" + ID + (1 << 31).to_bytes(4, "big") + SUM + b"\1" + (77).to_bytes(8, "big")
    assert decode_staged(row) == Staged(ID, 1 << 31, SUM, 77, 0)


def test_replica_knows_a_restore_that_it_cannot_apply() -> None:
    """Only what is staged under this id and checksum will do; what is applied already is nothing to wait for."""
    vault = Vault()
    entry = (vault.replica.applied_index + 1, 1, 0, encode_entry(START_MS, [RESTORE]))
    assert vault.replica.lacks(entry)
    stage(vault, {})
    assert not vault.replica.lacks(entry)
    assert vault.replica.lacks((entry[0], 2, 0, encode_entry(START_MS, [RESTORE._replace(checksum=b"d" * 32)])))
    vault.do(RESTORE)
    assert not vault.replica.lacks(entry)
    assert not vault.replica.lacks((entry[0] + 1, 1, 0, encode_entry(START_MS, [Put(b"\x09", b"\x09")])))


def test_restore_among_commands_of_a_multi_put_is_nothing() -> None:
    """A put of bytes that look like a restore's first byte is a put."""
    vault = Vault()
    vault.do(MultiPut((Put(b"\x09", b"\x09"),)))
    assert vault.get(b"\x09") == b"\x09"
    assert Replica.staging_key(3) not in vault.rows
