"""Snapshots on their way in, for all vBuckets of a node: chunks are made safe, and told of; what is whole is installed.

The node goes on serving what it has until then. A sender is told of chunks once the engine has synced them, so that it
may let go of them; what did not fit it is asked to send again.
"""

import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

from dkv.jobs.install_snapshot import Receiving, forget
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted, Installed
from dkv.node.incoming import Incoming
from dkv.node.peering import Peering
from dkv.ports.clock import Now
from dkv.ports.store import Store
from dkv.wire.peer import Kind
from dkv.wire.snapshot import Done, pack_done, parse_chunk, parse_offer

SYNC_BYTES = 8 << 20
SYNC_INTERVAL_MS = 200

logger: logging.Logger = logging.getLogger("dkv.snapshots")


class Unsafe(NamedTuple):
    """Chunks that wait for the engine's sync."""

    mark: int
    next_chunk: int


class Snapshot(Incoming[Receiving]):
    """One on its way in, and what of it is on disk."""

    def __init__(self, receiving: Receiving, node: int, peering: Peering, now: Now) -> None:
        super().__init__(receiving, node, peering, Kind.SNAPSHOT_RECEIVED)
        self.unsafe: list[Unsafe] = []
        self.bytes_unsafe: int = 0
        self.synced_ms: int = now.monotonic_ms


class Arrivals:
    """Owned by the node's snapshots."""

    def __init__(
        self, store: Store, engine_sync: EngineSync, peering: Peering, hosted_of: Callable[[int], Hosted | None]
    ) -> None:
        self._store, self._engine_sync, self._peering, self._hosted_of = store, engine_sync, peering, hosted_of
        self._incoming: dict[int, Snapshot] = {}
        self.installed: int = 0
        self.bytes_received_ever: int = 0

    @property
    def vbuckets(self) -> Collection[int]:
        """Those that a snapshot comes in for, at any time."""
        return self._incoming.keys()

    def offered(self, node: int, vbucket: int, body: bytes, now: Now) -> None:
        offer, hosted = parse_offer(body), self._hosted_of(vbucket)
        if hosted is None or hosted.replica.replica != offer.replica:
            self._say_done(node, vbucket, Done(offer.snapshot_id, 0, f"replica {offer.replica} is not here"))
            return
        incoming = self._incoming.get(vbucket)
        if incoming is None or incoming.receiving.snapshot_id != offer.snapshot_id:
            receiving = Receiving(offer, vbucket, self._store)
            incoming = self._incoming[vbucket] = Snapshot(receiving, node, self._peering, now)
        incoming.offered_again(node)
        metadata = incoming.receiving.metadata
        if hosted.replica.replica not in set().union(*metadata.members[:4]):
            self._refuse(vbucket, "it does not count this replica among its members")
        elif metadata.applied_index <= hosted.replica.applied_index:
            self._refuse(vbucket, "", hosted.replica.applied_index)
        else:
            self._ask_to_repeat(incoming)

    def got(self, vbucket: int, body: bytes, now: Now) -> None:
        chunk, incoming = parse_chunk(body), self._incoming.get(vbucket)
        if incoming is None or incoming.receiving.snapshot_id != chunk.snapshot_id:
            return  # of a transfer that has ended here: the sender will offer it again
        if incoming.take(chunk, body):
            incoming.bytes_unsafe += len(body)
            self.bytes_received_ever += len(body)
            if incoming.receiving.is_whole:
                self._install(vbucket, incoming)
        elif incoming.has_lost_before(chunk):
            self._ask_to_repeat(incoming)

    def _ask_to_repeat(self, incoming: Snapshot) -> None:
        """The sender lets go of everything before what it is asked for: so that is made safe first."""
        self._store.sync()
        incoming.bytes_unsafe, incoming.unsafe = 0, []
        incoming.ask_to_repeat()

    def take_turn(self, now: Now) -> None:
        """Installs what could not be in an earlier turn, and makes safe what comes in."""
        for vbucket, incoming in list(self._incoming.items()):
            if incoming.receiving.is_whole:
                self._install(vbucket, incoming)
        self._make_safe(now)

    def _make_safe(self, now: Now) -> None:
        """Asks for syncs, and tells the senders what is on disk."""
        for incoming in self._incoming.values():
            is_time = now.monotonic_ms - incoming.synced_ms >= SYNC_INTERVAL_MS
            if incoming.bytes_unsafe and (is_time or incoming.bytes_unsafe >= SYNC_BYTES):
                mark = self._engine_sync.request(now)
                incoming.unsafe.append(Unsafe(mark, incoming.receiving.next_chunk))
                incoming.bytes_unsafe, incoming.synced_ms = 0, now.monotonic_ms
            safe = [each for each in incoming.unsafe if each.mark <= self._engine_sync.synced_mark]
            if safe:
                incoming.unsafe = incoming.unsafe[len(safe) :]
                incoming.say_received(safe[-1].next_chunk)

    def _install(self, vbucket: int, incoming: Snapshot) -> None:
        hosted, receiving = self._hosted_of(vbucket), incoming.receiving
        if hosted is None:
            return
        metadata = receiving.metadata
        became = hosted.install(receiving)
        if became is Installed.NOT_NOW:
            return
        if became is Installed.NEEDLESS:
            self._refuse(vbucket, "", hosted.replica.applied_index)
            return
        del self._incoming[vbucket]
        self.installed += 1
        self._say_done(incoming.node, vbucket, Done(receiving.snapshot_id, metadata.applied_index, ""))
        logger.info("vBucket %d: installed a snapshot as of %d", vbucket, metadata.applied_index)

    def _refuse(self, vbucket: int, reason: str, index: int = 0) -> None:
        """It is of no use here; `index`: what the replica has anyway."""
        incoming = self._incoming.pop(vbucket)
        forget(vbucket, self._store)
        self._say_done(incoming.node, vbucket, Done(incoming.receiving.snapshot_id, index, reason))

    def _say_done(self, node: int, vbucket: int, done: Done) -> None:
        self._peering.tell(node, Kind.SNAPSHOT_DONE, vbucket, pack_done(done))
