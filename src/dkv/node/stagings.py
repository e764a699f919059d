"""What leaders of restores have staged here, and what is cleared away of it: the side of every replica.

A block that comes in is confirmed once it is on disk, and then stays until its command is applied or an entry of a
later term is: see `dkv.vbucket.staging`. What a former life of this node has left is cleared away at the start.
"""

import logging
from collections.abc import Collection, Mapping
from typing import NamedTuple

from dkv.jobs.receive_staged import ReceivingStaged, parse_staged
from dkv.jobs.stage import named_spaces, rows_between
from dkv.node.disk import Disk
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted
from dkv.node.incoming import NOTHING, Incoming
from dkv.node.peering import Peering
from dkv.node.spreading import Spreading
from dkv.ports.clock import Now
from dkv.ports.store import RowBatch, Store
from dkv.vbucket.rows import block_range, unnamed_ranges
from dkv.vbucket.staging import decode_staged, staging_range
from dkv.wire.peer import Kind
from dkv.wire.snapshot import (
    Done,
    pack_done,
    parse_chunk,
    parse_done,
    parse_offer,
    parse_received,
)

TIDY_MS = 1_000
ASK_MS = 10_000
PATIENCE_MS = 5

logger: logging.Logger = logging.getLogger("dkv.stagings")


class Block(Incoming[ReceivingStaged]):
    """One on its way in."""

    told_chunk: int = NOTHING
    """The next one, as the sender knows."""

    def say_received(self, next_chunk: int, *, must_repeat: bool = False) -> None:
        self.told_chunk = next_chunk
        super().say_received(next_chunk, must_repeat=must_repeat)


class Unconfirmed(NamedTuple):
    """A block that is whole and waits for the engine's sync."""

    node: int
    restore_id: bytes
    mark: int


class Stagings:
    """Owned by the node."""

    def __init__(
        self,
        store: Store,
        engine_sync: EngineSync,
        disk: Disk,
        peering: Peering | None,
        vbuckets: Mapping[int, Hosted],
    ) -> None:
        self._store, self._engine_sync, self._disk, self._peering = store, engine_sync, disk, peering
        self._vbuckets = vbuckets
        self._coming: dict[int, Block] = {}
        self._unconfirmed: dict[int, Unconfirmed] = {}
        self._offers: dict[int, tuple[int, bytes]] = {}
        """(node, body) of those that have to wait, by vBucket."""
        self._is_clean = False
        self._tidied_ms = self._asked_ms = 0
        self.is_restoring_here: bool = False
        """A restore of this node runs, which looks after its own blocks."""
        self.spreading: Spreading | None = None
        """Its sending side."""

    def patience_ms(self, wait_ms: int) -> int:
        """How long a turn may wait for news, as far as this is concerned."""
        has_room = self.spreading is not None and self.spreading.has_room
        is_busy = has_room or self._coming or self._unconfirmed or self._offers
        return min(wait_ms, PATIENCE_MS) if is_busy else wait_ms

    @property
    def vbuckets(self) -> Collection[int]:
        """Those with data of a restore that are not in place yet, or on their way."""
        if self.is_restoring_here:
            return self._vbuckets
        return self._coming.keys() | {number for number, each in self._vbuckets.items() if each.replica.staged}

    def hear(self, node: int, kind: int, vbucket: int, body: bytes, now: Now) -> None:
        """What another node has to say. Raises InvalidRequest."""
        if kind == Kind.STAGE_OFFER:
            parse_staged(parse_offer(body), vbucket)
            self._offers[vbucket] = node, body
        elif kind == Kind.STAGE_CHUNK:
            self._got(vbucket, body, now)
        elif kind == Kind.STAGE_DROP:
            self._told_to_drop(vbucket, parse_done(body))
        elif kind == Kind.STAGE_HELD:
            self._asked_whether_to_drop(node, vbucket, parse_done(body))
        elif self.spreading is not None and kind == Kind.STAGE_RECEIVED:
            self.spreading.received(node, vbucket, parse_received(body), now)
        elif self.spreading is not None and kind == Kind.STAGE_DONE:
            self.spreading.done(node, vbucket, parse_done(body))

    def take_turn(self, now: Now) -> None:
        """A slice of everything that is under way."""
        if not self._is_clean:
            if self._store.pressure().stopped:
                return
            self._clean()
        if self.spreading is not None:
            self.spreading.step(now)
        for vbucket, (node, body) in list(self._offers.items()):
            self._offered(node, vbucket, body, now)
        for coming in self._coming.values():
            if coming.told_chunk != coming.receiving.next_chunk:
                coming.say_received(coming.receiving.next_chunk)
        self._confirm()
        if now.monotonic_ms - self._tidied_ms >= TIDY_MS:
            self._tidied_ms = now.monotonic_ms
            self._tidy()
        if self._peering is not None and now.monotonic_ms - self._asked_ms >= ASK_MS:
            self._asked_ms = now.monotonic_ms
            self._ask_whether_to_drop()

    # Receiving

    def _offered(self, node: int, vbucket: int, body: bytes, now: Now) -> None:
        """Takes an offer, or leaves it for a later turn: the fate of what was staged before must be known."""
        offer, hosted = parse_offer(body), self._vbuckets.get(vbucket)
        metadata, theirs = parse_staged(offer, vbucket)
        if hosted is None or hosted.replica.replica != offer.replica:
            self._refuse(node, vbucket, offer.snapshot_id, f"replica {offer.replica} is not here")
            return
        replica = hosted.replica
        if theirs.term < max(hosted.term, replica.applied_term):
            self._refuse(node, vbucket, offer.snapshot_id, "another node leads now")
            return
        if replica.applied_index < metadata.applied_index or self.is_restoring_here:
            return
        del self._offers[vbucket]
        coming = self._coming.get(vbucket)
        if replica.staged is not None and replica.staged.restore_id == theirs.restore_id:
            self._unconfirmed[vbucket] = Unconfirmed(node, theirs.restore_id, self._engine_sync.request(now))
        elif coming is not None and coming.receiving.snapshot_id == theirs.restore_id:
            coming.node = node
            coming.ask_to_repeat()
        elif (full := self._disk.full(now)) is not None:
            self._refuse(node, vbucket, offer.snapshot_id, str(full))
        else:
            self._unconfirmed.pop(vbucket, None)
            assert self._peering is not None, "an offer comes from a peer"
            receiving = ReceivingStaged(theirs, replica, self._store)
            coming = self._coming[vbucket] = Block(receiving, node, self._peering, Kind.STAGE_RECEIVED)
            coming.ask_to_repeat()

    def _got(self, vbucket: int, body: bytes, now: Now) -> None:
        chunk, coming = parse_chunk(body), self._coming.get(vbucket)
        if coming is None or coming.receiving.snapshot_id != chunk.snapshot_id:
            return
        hosted = self._vbuckets[vbucket]
        if hosted.is_stuck or hosted.replica.applied_term > coming.receiving.staged.term:
            self._forget(vbucket)  # what comes behind its command is let go of already; or it never comes
            return
        receiving = coming.receiving
        if (full := self._disk.full(now)) is not None:
            self._forget(vbucket)
            self._refuse(coming.node, vbucket, chunk.snapshot_id, str(full))
        elif coming.take(chunk, body):
            self._disk.note_applied(len(body))
            if receiving.is_whole:
                del self._coming[vbucket]
                mark = self._engine_sync.request(now)
                self._unconfirmed[vbucket] = Unconfirmed(coming.node, chunk.snapshot_id, mark)
        elif coming.has_lost_before(chunk):
            coming.ask_to_repeat()

    def _confirm(self) -> None:
        for vbucket, (node, restore_id, mark) in list(self._unconfirmed.items()):
            if mark <= self._engine_sync.synced_mark:
                del self._unconfirmed[vbucket]
                self._tell(node, Kind.STAGE_DONE, vbucket, pack_done(Done(restore_id, 1, "")))
                logger.info("vBucket %d: a restore is staged", vbucket)

    def _refuse(self, node: int, vbucket: int, restore_id: bytes, reason: str) -> None:
        self._offers.pop(vbucket, None)
        self._tell(node, Kind.STAGE_DONE, vbucket, pack_done(Done(restore_id, 0, reason)))

    def _tell(self, node: int, kind: Kind, vbucket: int, body: bytes) -> None:
        assert self._peering is not None
        self._peering.tell(node, kind, vbucket, body)

    # Clearing away

    def _told_to_drop(self, vbucket: int, told: Done) -> None:
        """The leader says that no entry behind that index is the command of this restore."""
        hosted, coming = self._vbuckets.get(vbucket), self._coming.get(vbucket)
        if hosted is None or hosted.replica.applied_index < told.installed_index or self.is_restoring_here:
            return
        if coming is not None and coming.receiving.snapshot_id == told.snapshot_id:
            self._forget(vbucket)
        staged = hosted.replica.staged
        if staged is not None and staged.restore_id == told.snapshot_id:
            self._unstage(hosted, staged.space)

    def _asked_whether_to_drop(self, node: int, vbucket: int, asked: Done) -> None:
        """A follower has something staged, perhaps for a restore that is over. Whatever became of one that this leader
        can know of is applied here."""
        hosted = self._vbuckets.get(vbucket)
        if hosted is not None and hosted.is_leading and not self.is_restoring_here:
            told = Done(asked.snapshot_id, hosted.replica.applied_index, "")
            self._tell(node, Kind.STAGE_DROP, vbucket, pack_done(told))

    def _ask_whether_to_drop(self) -> None:
        held = {vbucket: coming.receiving.staged for vbucket, coming in self._coming.items()}
        held |= {vbucket: each.replica.staged for vbucket, each in self._vbuckets.items() if each.replica.staged}
        for vbucket, staged in held.items():
            if node := self._vbuckets[vbucket].leader_node:
                self._tell(node, Kind.STAGE_HELD, vbucket, pack_done(Done(staged.restore_id, 0, "")))

    def _forget(self, vbucket: int) -> None:
        """What is coming in is of no use."""
        coming = self._coming.pop(vbucket)
        row = self._store.get_many([coming.receiving.key])[0]
        if row is not None and decode_staged(row).space == coming.receiving.staged.space:
            self._unstage(self._vbuckets[vbucket], coming.receiving.staged.space)

    def _unstage(self, hosted: Hosted, space: int) -> None:
        self._unconfirmed.pop(hosted.vbucket, None)
        self._store.write(hosted.replica.unstage([block_range(space)]))
        self._store.request_compaction(*block_range(space))
        logger.info("vBucket %d: what a restore had staged is removed", hosted.vbucket)

    def _tidy(self) -> None:
        """An entry of a later term is applied: the leader of the earlier one cannot have its command applied any more.
        Rows of the first format know no term; they are of a single node's, and of a former life."""
        for vbucket, coming in list(self._coming.items()):
            if self._vbuckets[vbucket].replica.applied_term > coming.receiving.staged.term:
                self._forget(vbucket)
        if self.is_restoring_here:
            return
        for hosted in self._vbuckets.values():
            staged = hosted.replica.staged
            if staged is not None and hosted.is_readable and hosted.replica.applied_term > staged.term:
                self._unstage(hosted, staged.space)

    def _clean(self) -> None:
        """Once after a start: blocks that were not whole, and those that no row names."""
        self._is_clean = True
        batch = RowBatch()
        for row_key, row in rows_between(self._store, *staging_range()):
            if not (staged := decode_staged(row)).is_whole:
                batch.operations.append((row_key, None))
                batch.ranges.append(block_range(staged.space))
        named = set(named_spaces(self._store))
        batch.ranges += [each for each in unnamed_ranges(named) if self._has_rows(*each)]
        if batch.ranges:
            self._store.write(batch)
        for each in batch.ranges:
            self._store.request_compaction(*each)

    def _has_rows(self, start: bytes, end: bytes) -> bool:
        scan = self._store.scan(start, end)
        try:
            return bool(scan.take(1, 1))
        finally:
            scan.close()
