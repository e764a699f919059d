"""Restoring, as a generator of small steps: verify, stage, sync, switch.

The node serves what it has until the switch, which is one command of the log (INVARIANTS 4, 22):

1. every file of the backup is compared with its checksum, by another process; nothing was touched when that fails;
2. its rows are written, a slice a turn, into a fresh block of spaces, and digested: data and expiry index only, as
   sessions and outcomes belong to the history that ends;
3. the staging row is written behind them and everything is made durable, so that the command, once it is in the log,
   can be applied now or after any crash;
4. the command is proposed, alone, once. When it is applied reads, feed and health are on the new rows, all at once.

Interrupted before 4 is durable - the generator closed, or the process gone - the old rows are served as if nothing had
been asked; what was staged is removed, by the generator or after the next start.
"""

from collections.abc import Generator
from hashlib import sha256
from typing import NamedTuple

from dkv.model.backups import BackupFacts, Finished, Phase, Progress, RestoreOrder
from dkv.model.commands import Restore
from dkv.model.errors import BackupDamaged, BackupFailed, Corrupt, DkvError
from dkv.ports.backups import BackupRows, Backups
from dkv.ports.clock import Random
from dkv.ports.store import RowBatch, Scan, Store
from dkv.vbucket import rows
from dkv.vbucket.metadata import decode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.staging import Staged

SLICE_ROWS_MAX = 1_000
SLICE_BYTES_MAX = 256 << 10
"""Written at once, while the interpreter lock is held: 2 ms (INVARIANT 17)."""
_SPACE_BYTES = 4


class Propose(NamedTuple):
    """Propose this command, an entry of its own, and send back what it did once applied; None: it never will be."""

    command: Restore


Step = Progress | Propose
Restoring = Generator[Step, Finished | None, Finished]


def restore(order: RestoreOrder, replica: Replica, store: Store, backups: Backups, random: Random) -> Restoring:
    """Raises what is wrong with the path, BackupDamaged or BackupFailed: then what was served before still is."""
    fetching = backups.fetch(order.path)
    try:
        while not (copied := fetching.poll()).is_done:
            yield Progress(Phase.VERIFY, copied.bytes_done, copied.bytes_total, is_waiting=True)
        facts, source = fetching.facts(), fetching.open()
        try:
            check_facts(facts, source.get(rows.metadata_key(facts.vbucket)))
            finished = yield from _replace(facts, source, replica, store, random)
        finally:
            source.close()
    finally:
        fetching.close()
    return finished


def check_facts(facts: BackupFacts, metadata_row: bytes | None) -> None:
    """The rows must be those of the state that the manifest names (INVARIANT 21). Raises BackupDamaged."""
    if metadata_row is None:
        raise BackupDamaged(f"the backup has no vBucket {facts.vbucket}, which its manifest names")
    try:
        m = decode_metadata(metadata_row)
    except Corrupt as damage:
        raise BackupDamaged(f"the backup's {damage}") from damage
    if (m.space, m.applied_index, m.change_number, m.log_time, m.history_id) != (
        facts.space, facts.applied_index, facts.change_number, facts.log_time, facts.history_id
    ):  # fmt: skip
        raise BackupDamaged("the rows of the backup are not of the state that its manifest names")


def _replace(facts: BackupFacts, source: BackupRows, replica: Replica, store: Store, random: Random) -> Restoring:
    """Closing the generator is like a crash: it touches nothing, and what is left is removed after the next start. Only
    who is told that the restore cannot be removes what was staged, and never once the command may be in the log."""
    space = replica.fresh_space()
    store.write(RowBatch(ranges=[rows.block_range(space)]))
    try:
        stage = _Stage(facts.space, space, source.rows_estimate())
        yield from stage.fill(source, store)
        staged = Staged(random.bytes(16), space, stage.digest.digest(), stage.earliest_expiry)
        store.write(replica.stage(staged))
        store.request_flush()
        while not store.has_flushed():
            yield Progress(Phase.SWITCH, is_waiting=True)
    except DkvError:
        store.write(replica.unstage([rows.block_range(space)]))
        raise
    history_id = random.bytes(16)
    command = Restore(staged.restore_id, staged.checksum, history_id, facts.change_number, facts.log_time)
    finished = yield Propose(command)
    if finished is None:
        store.write(replica.unstage([rows.block_range(space)]))
        raise BackupFailed("another leader took over: nothing was replaced")
    return finished


class _Stage:
    """Rows on their way from the backup's block into a fresh one."""

    def __init__(self, from_space: int, to_space: int, rows_estimate: int) -> None:
        self._from, self._to = from_space, to_space
        self._rows_estimate = rows_estimate
        self._rows = self._bytes = 0
        self.digest = sha256()
        """Of the rows as they are in the fresh block, but for the block's number: the same for every replica."""
        self.earliest_expiry: int | None = None

    def fill(self, source: BackupRows, store: Store) -> Generator[Progress, None, None]:
        """Data, then the expiry index."""
        yield from self._copy(source.scan(*rows.data_range(self._from)), rows.prefix(self._to + rows.DATA), store)
        expiries = source.scan(*rows.expiry_range(self._from))
        yield from self._copy(expiries, rows.prefix(self._to + rows.EXPIRY), store)

    def _copy(self, scan: Scan, prefix: bytes, store: Store) -> Generator[Progress, None, None]:
        try:
            while part := scan.take(SLICE_ROWS_MAX, SLICE_BYTES_MAX):
                self._write([(prefix + key[_SPACE_BYTES:], row) for key, row in part], prefix, store)
                yield self._progress()
        finally:
            scan.close()

    def _write(self, moved: list[tuple[bytes, bytes]], prefix: bytes, store: Store) -> None:
        if self.earliest_expiry is None and prefix == rows.prefix(self._to + rows.EXPIRY):
            self.earliest_expiry = _expires_at(moved[0][0])
        joined = b"".join([key[_SPACE_BYTES:] + row for key, row in moved])
        self.digest.update(joined)
        self._rows += len(moved)
        self._bytes += len(joined)
        store.write(RowBatch(list(moved)))

    def _progress(self) -> Progress:
        """The total is guessed from the rows seen so far."""
        total = self._bytes * self._rows_estimate // self._rows
        return Progress(Phase.STAGE, self._bytes, max(total, self._bytes))


def _expires_at(row_key: bytes) -> int:
    try:
        return rows.decode_expiry_key(row_key)[0]
    except Corrupt as damage:
        raise BackupDamaged(f"the backup's {damage}") from damage
