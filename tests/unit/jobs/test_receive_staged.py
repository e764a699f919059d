"""What a leader has staged, on its way in: only what was sent is taken, in order, and the row says when it is whole."""

import pytest

from dkv.jobs.install_snapshot import Receiving
from dkv.jobs.receive_staged import ReceivingStaged, parse_staged
from dkv.jobs.send_snapshot import Sending
from dkv.jobs.stage import named_spaces
from dkv.model.errors import InvalidRequest
from dkv.ports.clock import Now
from dkv.ports.store import RowBatch
from dkv.storage.memory import MemoryStore
from dkv.vbucket.metadata import encode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.rows import data_range, expiry_row_key, prefix
from dkv.vbucket.staging import Staged, decode_staged, encode_staged, staging_key
from dkv.wire.peer import Kind
from dkv.wire.snapshot import FIRST_DIGEST, Chunk, Offer, Received, digest_after, parse_chunk, parse_offer, rows_of

VBUCKET, SPACE = 1, 1 << 31
STAGED = Staged(b"r" * 16, SPACE, b"c" * 32, 9, 3)
NOW = Now(0, 0)


def made() -> tuple[MemoryStore, Replica]:
    store = MemoryStore(auto_sync=True)
    store.write(Replica.first_rows(VBUCKET, 7, b"h" * 16, ([7, 8], [], [], [], False), 1_000))
    row = store.get_many([Replica.metadata_key(VBUCKET)])[0]
    assert row is not None
    return store, Replica.open(VBUCKET, row, [], [], [])


def sent() -> tuple[Offer, list[bytes]]:
    """What a leader sends of three rows."""
    store, _ = made()
    rows: list[tuple[bytes, bytes | None]] = [(prefix(SPACE) + key, b"\0v") for key in (b"a", b"b")]
    store.write(RowBatch([*rows, (expiry_row_key(SPACE, 9, b"b"), b"")]))
    sending, bodies = Sending(STAGED.restore_id, VBUCKET, 8, store, NOW, STAGED), []

    def send(kind: Kind, body: bytes) -> bool:
        bodies.append(body)
        return True

    sending.step(send, 1 << 20, NOW)
    sending.heard(Received(STAGED.restore_id, 0, True), NOW)
    sending.step(send, 1 << 20, NOW)
    sending.close()
    return parse_offer(bodies[0]), bodies[1:]


def test_staged_rows_arrive_in_a_block_of_their_own_and_then_say_so() -> None:
    """Named from the first moment on, whole only at the end."""
    offer, chunks = sent()
    _, theirs = parse_staged(offer, VBUCKET)
    assert theirs == STAGED
    store, replica = made()
    receiving = ReceivingStaged(theirs, replica, store)
    assert receiving.staged.space in named_spaces(store)
    for body in chunks:
        assert replica.staged is None
        assert receiving.add(parse_chunk(body), rows_of(body))
    assert receiving.is_whole
    assert replica.staged == STAGED._replace(space=receiving.staged.space)
    scan = store.scan(*data_range(receiving.staged.space))
    assert [(key[4:], row) for key, row in scan.take(10, 1_000)] == [(b"a", b"\0v"), (b"b", b"\0v")]
    row = store.get_many([staging_key(VBUCKET)])[0]
    assert row is not None
    assert decode_staged(row) == replica.staged


def test_chunk_that_is_not_the_next_or_not_what_was_sent_changes_nothing() -> None:
    """Out of order, changed on the way, or behind the end."""
    offer, chunks = sent()
    store, replica = made()
    receiving = ReceivingStaged(parse_staged(offer, VBUCKET)[1], replica, store)
    before = store.unsynced_batches
    first, second = map(parse_chunk, chunks[:2])
    assert not receiving.add(second, rows_of(chunks[1]))
    assert not receiving.add(first, rows_of(chunks[0])[:-1] + b"x")
    assert store.unsynced_batches == before
    for body in chunks:
        assert receiving.add(parse_chunk(body), rows_of(body))
    assert not receiving.add(parse_chunk(chunks[-1]), rows_of(chunks[-1]))


def test_rows_outside_of_the_block_are_refused() -> None:
    """No sender of ours has such."""
    offer, _ = sent()
    store, replica = made()
    receiving = ReceivingStaged(parse_staged(offer, VBUCKET)[1], replica, store)
    bad = Chunk(STAGED.restore_id, 0, b"", [(b"\x09key", b"row")])
    with pytest.raises(InvalidRequest):
        receiving.add(bad._replace(digest=digest_after(FIRST_DIGEST, b"")), b"")


def test_second_restore_takes_the_place_of_the_first() -> None:
    """Its rows are gone with it."""
    offer, chunks = sent()
    _, theirs = parse_staged(offer, VBUCKET)
    store, replica = made()
    first = ReceivingStaged(theirs, replica, store)
    for body in chunks:
        first.add(parse_chunk(body), rows_of(body))
    second = ReceivingStaged(theirs._replace(restore_id=b"s" * 16), replica, store)
    assert replica.staged is None
    assert second.staged.space != first.staged.space
    scan = store.scan(*data_range(first.staged.space))
    assert scan.take(10, 1_000) == []


@pytest.mark.parametrize(("term", "stays"), [(STAGED.term, True), (STAGED.term + 1, False)])
def test_snapshot_takes_away_only_what_is_staged_for_a_command_that_cannot_come(term: int, stays: bool) -> None:
    """The leader of that term counts on it, and may propose behind the snapshot."""
    offer, chunks = sent()
    store, replica = made()
    staging = ReceivingStaged(parse_staged(offer, VBUCKET)[1], replica, store)
    for body in chunks:
        staging.add(parse_chunk(body), rows_of(body))
    metadata = encode_metadata(replica.metadata()._replace(applied_index=9, applied_term=term))
    receiving = Receiving(Offer(b"s" * 16, 7, metadata, []), VBUCKET, store)
    assert receiving.space != staging.staged.space
    receiving.flip(7)
    assert (store.get_many([staging_key(VBUCKET)]) != [None]) is stays
    scan = store.scan(*data_range(staging.staged.space))
    assert bool(scan.take(10, 1_000)) is stays


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(staging_key(2), encode_staged(STAGED))],
        [(staging_key(VBUCKET), b"?")],
        [(staging_key(VBUCKET), encode_staged(STAGED._replace(is_whole=False)))],
        [(staging_key(VBUCKET), encode_staged(STAGED._replace(restore_id=b"s" * 16)))],
    ],
)
def test_offer_that_does_not_fit_what_it_names_is_refused(rows: list[tuple[bytes, bytes]]) -> None:
    """Other rows, another vBucket, damage, what is not whole, another id."""
    offer, _ = sent()
    with pytest.raises(InvalidRequest):
        parse_staged(offer._replace(rows=rows), VBUCKET)
