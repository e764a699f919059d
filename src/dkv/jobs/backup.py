"""Backing up, as a generator of small steps: ask for the place, flush, checkpoint, have the files copied.

Writers never wait for it. The flush is native and off the turn; the checkpoint is hard links, made between two turns,
so that it holds the state of exactly one applied index of each vBucket; the copy is another process's work. What the
backup holds is read from the engine in the step that makes the checkpoint, never from memory (INVARIANTS 21).

Interrupted after any step - the generator closed, or the process gone - the backup before it is untouched.
"""

from collections.abc import Generator, Sequence

from dkv.model.backups import BackupFacts, BackupOrder, Finished, Phase, Progress, together
from dkv.model.errors import BackupFailed, InvariantBroken
from dkv.ports.backups import Backups, Keeping
from dkv.ports.store import Store
from dkv.vbucket.metadata import decode_metadata
from dkv.vbucket.rows import metadata_key


def back_up(
    order: BackupOrder, vbuckets: Sequence[int], store: Store, backups: Backups, free_bytes_min: int
) -> Generator[Progress, None, Finished]:
    """`vbuckets`: all that there are, ascending. Raises what is wrong with the path, or BackupFailed; StorageFailed
    when the engine failed.

    Below the low-water mark `free_bytes_min` a backup can still be taken, but not without room for what is in memory:
    a flush that meets a full disk ends the node."""
    if store.free_bytes() < free_bytes_min // 2:
        raise BackupFailed(f"the disk of the data has less than {free_bytes_min // 2 >> 20} MiB left to flush into")
    keeping = backups.keep(order.path)
    try:
        while not keeping.is_ready():
            yield Progress(Phase.CHECKPOINT, is_waiting=True)
        store.request_flush()
        while not store.has_flushed():
            yield Progress(Phase.CHECKPOINT, is_waiting=True)
        rows = store.get_many(list(map(metadata_key, vbuckets)))
        facts = list(map(read_facts, vbuckets, rows))
        store.checkpoint(keeping.checkpoint)
        keeping.begin(facts)
        yield from _copied(keeping)
    finally:
        keeping.close()
    return together([Finished(each.change_number, each.history_id, each.log_time) for each in facts])


def read_facts(vbucket: int, metadata_row: bytes | None) -> BackupFacts:
    """What a metadata row says that a backup has to tell. Raises Corrupt."""
    if metadata_row is None:
        raise InvariantBroken(f"vBucket {vbucket} has no metadata row")
    m = decode_metadata(metadata_row)
    return BackupFacts(vbucket, m.space, m.applied_index, m.applied_term, m.change_number, m.log_time, m.history_id)


def _copied(keeping: Keeping) -> Generator[Progress, None, None]:
    while not (copied := keeping.poll()).is_done:
        yield Progress(Phase.COPY, copied.bytes_done, copied.bytes_total, is_waiting=True)
