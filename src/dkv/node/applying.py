"""What consensus has committed, for all vBuckets of a turn: one look-up, the answers, one batch to the engine.

A batch is at most 1 MiB, or one entry (INVARIANTS 17). Rows of two vBuckets never meet, so their batches can be one.

Answers leave before the engine has the batch. What they say is decided by the log, which is durable: an engine that
fails to take the batch ends the process, and the next one applies the same entries to the same end. Whoever reads comes
in a turn behind the write, or further down in this one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from dkv.node.hosted import Hosted
from dkv.node.meter import Meter
from dkv.ports.consensus import Consensus, EntryTuple
from dkv.ports.store import RowBatch, Store
from dkv.services.turn import Turn
from dkv.vbucket.replica import EntryResult

BATCH_BYTES_MAX = 1 << 20

Decided = list[tuple[Hosted, list[EntryResult]]]
"""What the entries of a batch did, by vBucket."""


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
        self, committed: Iterable[Hosted], turns: Mapping[int, Turn], emit: Callable[[], None]
    ) -> tuple[list[Applied], dict[int, list[EntryResult]]]:
        """Everything that waits in these; what was applied, and the results by vBucket. `emit` sends what the turns
        have answered."""
        waiting = list(committed)
        done: list[Applied] = []
        results: dict[int, list[EntryResult]] = {}
        while waiting:
            parts = self._next_batch(waiting)
            batch, decided = self._decide(parts)
            for hosted, entry_results in decided:
                if hosted.is_asked:
                    hosted.answer(entry_results, turns[hosted.vbucket])
                if (before := results.setdefault(hosted.vbucket, entry_results)) is not entry_results:
                    before += entry_results
            emit()
            self._write(batch, decided)
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

    def _decide(self, parts: Sequence[Part]) -> tuple[RowBatch, Decided]:
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
        return batch, decided

    def _write(self, batch: RowBatch, decided: Decided) -> None:
        began = self._meter.stopwatch()
        self._store.write(batch)
        self._meter.wrote(sum([len(result.outcomes) for _, results in decided for result in results]), began)
        for hosted, results in decided:
            hosted.applied(results)

    def _look_up(self, keys: list[bytes]) -> list[bytes | None]:
        began = self._meter.stopwatch()
        rows = self._store.get_many(keys)
        self._meter.looked_up(len(keys), began)
        return rows
