"""What consensus has committed, for all vBuckets of a turn: one look-up, one batch to the engine, then the answers.

A batch is at most 1 MiB, or one entry (INVARIANTS 17). Rows of two vBuckets never meet, so their batches can be one.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dkv.node.hosted import Hosted
from dkv.node.meter import Meter
from dkv.ports.consensus import Consensus, EntryTuple
from dkv.ports.store import RowBatch, Store
from dkv.services.turn import Turn
from dkv.vbucket.replica import EntryResult

BATCH_BYTES_MAX = 1 << 20


class Part(NamedTuple):
    """Entries of one vBucket in a batch."""

    hosted: Hosted
    entries: Sequence[EntryTuple]
    keys: list[bytes]
    """The rows that they depend on."""
    size: int


class Applied(NamedTuple):
    """One batch, as far as its bookkeeping is concerned."""

    vbucket: int
    log_index: int
    size: int


class Applying:
    """Owned by the node."""

    def __init__(self, store: Store, consensus: Consensus, meter: Meter) -> None:
        self._store, self._consensus, self._meter = store, consensus, meter

    def apply(
        self, committed: Iterable[Hosted], turns: Mapping[int, Turn]
    ) -> tuple[list[Applied], dict[int, list[EntryResult]]]:
        """Everything that waits in these; what was applied, and the results by vBucket."""
        waiting = list(committed)
        done: list[Applied] = []
        results: dict[int, list[EntryResult]] = {}
        while waiting:
            parts = self._next_batch(waiting)
            for hosted, entry_results in self._write(parts):
                hosted.applied(entry_results, turns[hosted.vbucket])
                results.setdefault(hosted.vbucket, []).extend(entry_results)
            done += [Applied(part.hosted.vbucket, part.entries[-1][0], part.size) for part in parts]
            waiting = [hosted for hosted in waiting if hosted.can_apply]
        self._consensus.applied([(each.vbucket, each.log_index) for each in done])
        return done, results

    @staticmethod
    def _next_batch(waiting: Sequence[Hosted]) -> list[Part]:
        parts: list[Part] = []
        left = BATCH_BYTES_MAX
        for hosted in waiting:
            entries = hosted.take_unapplied(left)
            size = sum([len(entry[3]) for entry in entries])
            parts.append(Part(hosted, entries, hosted.replica.keys_read(entries), size))
            left -= size
            if left <= 0:
                break
        return parts

    def _write(self, parts: Sequence[Part]) -> list[tuple[Hosted, list[EntryResult]]]:
        keys = [key for part in parts for key in part.keys]
        values = self._look_up(keys) if keys else []
        batch, decided, start = RowBatch(), [], 0
        for hosted, entries, part_keys, _ in parts:
            end = start + len(part_keys)
            applied = hosted.decide(entries, values[start:end])
            if len(parts) == 1:
                batch = applied.batch
            else:
                batch.operations += applied.batch.operations
                batch.ranges += applied.batch.ranges
            decided.append((hosted, applied.results))
            start = end
        began = self._meter.stopwatch()
        self._store.write(batch)
        self._meter.wrote(sum([len(result.outcomes) for _, results in decided for result in results]), began)
        return decided

    def _look_up(self, keys: list[bytes]) -> list[bytes | None]:
        began = self._meter.stopwatch()
        rows = self._store.get_many(keys)
        self._meter.looked_up(len(keys), began)
        return rows
