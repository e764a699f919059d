"""Restoring, as a generator of small steps: verify, stage, sync, switch.

The node serves what it has until the switch, which is one command of the log (INVARIANTS 4, 22):

1. every file of the backup is compared with its checksum, by another process; nothing was touched when that fails;
2. its rows are written, a slice a turn, into a fresh block of spaces, and digested: data and expiry index only, as
   sessions and outcomes belong to the history that ends; for a point in time the node's own history follows (`replay`);
3. the staging row is written behind them and everything is made durable, so that the command, once it is in the log,
   can be applied now or after any crash;
4. the command is proposed, alone, once. When it is applied reads, feed and health are on the new rows, all at once.

Interrupted before 4 is durable - the generator closed, or the process gone - the old rows are served as if nothing had
been asked; what was staged is removed, by the generator or after the next start.
"""

from collections.abc import Generator
from typing import Generic, NamedTuple

from dkv.jobs.replay import History, P, Replay, check_number
from dkv.jobs.stage import Stage, named_spaces
from dkv.model.backups import BackupFacts, Finished, Phase, Progress, RestoreOrder
from dkv.model.commands import Restore
from dkv.model.errors import BackupDamaged, BackupFailed, Corrupt, DkvError
from dkv.ports.backups import BackupRows, Backups
from dkv.ports.clock import Random
from dkv.ports.store import RowBatch, Store
from dkv.vbucket import rows
from dkv.vbucket.metadata import decode_metadata
from dkv.vbucket.replica import Replica
from dkv.vbucket.staging import Staged


class Propose(NamedTuple):
    """Propose this command, an entry of its own, and send back what it did once applied; None: it never will be."""

    command: Restore


Step = Progress | Propose
Restoring = Generator[Step, Finished | None, Finished]


class Target(NamedTuple, Generic[P]):
    """What a restore needs of the node that it is to change."""

    replica: Replica
    store: Store
    history: History[P]
    random: Random


def restore(order: RestoreOrder, backups: Backups, target: Target[P]) -> Restoring:
    """Raises what is wrong with the path or the point in time, BackupDamaged or BackupFailed: then what was served
    before still is."""
    fetching = backups.fetch(order.path)
    try:
        while not (copied := fetching.poll()).is_done:
            yield Progress(Phase.VERIFY, copied.bytes_done, copied.bytes_total, is_waiting=True)
        facts, source = fetching.facts(), fetching.open()
        try:
            check_facts(facts, source.get(rows.metadata_key(facts.vbucket)))
            check_number(order, facts, target.replica.change_number)
            finished = yield from _replace(order, facts, source, target)
        finally:
            source.close()
    finally:
        fetching.close()
    return finished


def check_facts(facts: BackupFacts, metadata_row: bytes | None) -> None:
    """The rows must be those of the state that the manifest names (INVARIANTS 21). Raises BackupDamaged."""
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


def _replace(order: RestoreOrder, facts: BackupFacts, source: BackupRows, target: Target[P]) -> Restoring:
    """Closing the generator is like a crash: it touches nothing, and what is left is removed after the next start. Only
    who is told that the restore cannot be removes what was staged, and never once the command may be in the log."""
    replica, store = target.replica, target.store
    space = rows.fresh_space(named_spaces(store))
    store.write(RowBatch(ranges=[rows.block_range(space)]))
    try:
        command = yield from _stage(order, facts, source, space, target)
        store.request_flush()
        while not store.has_flushed():
            yield Progress(Phase.SWITCH, is_waiting=True)
        finished = yield Propose(command)  # an error thrown in here says that it was not proposed
    except DkvError:
        store.write(replica.unstage([rows.block_range(space)]))
        raise
    if finished is None:
        store.write(replica.unstage([rows.block_range(space)]))
        raise BackupFailed("another leader took over: nothing was replaced")
    return finished


def _stage(
    order: RestoreOrder, facts: BackupFacts, source: BackupRows, space: int, target: Target[P]
) -> Generator[Progress, None, Restore]:
    """Everything that the command is to serve, and the row that says so; not durable yet."""
    stage = Stage(facts.space, space, source.rows_estimate())
    yield from stage.fill(source, target.store)
    replay, replayed_to = Replay(order, facts, space, stage.earliest_expiry), None
    if order.until_change_number or order.until_time:
        yield from replay.run(target.history, target.store)
        replayed_to = replay.change_number
    staged = Staged(target.random.bytes(16), space, stage.digest(replayed_to), replay.earliest_expiry)
    target.store.write(target.replica.stage(staged))
    return Restore(staged.restore_id, staged.checksum, target.random.bytes(16), replay.change_number, replay.log_time)
