"""The snapshots that a node owes, for all of its vBuckets; those on their way in are `Arrivals`.

Both sides go on serving. The sender is held back by the receiver's disk, by the lane for bulk, and by a rate; the log
behind a snapshot is kept until the receiver has caught up, within a bound (INVARIANTS 21).
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from dkv.jobs.send_snapshot import Sending
from dkv.node.allowance import Allowance
from dkv.node.arrivals import Arrivals
from dkv.node.engine_sync import EngineSync
from dkv.node.hosted import Hosted
from dkv.node.peering import Peering
from dkv.ports.clock import Now, Random
from dkv.ports.consensus import TICK_MS
from dkv.ports.store import Store
from dkv.wire.peer import Kind, pack, parse_numbers
from dkv.wire.snapshot import (
    ID_BYTES,
    Done,
    parse_done,
    parse_received,
)

PAUSE_MS = 1_000
"""Between a snapshot that failed and the next one for the same replica."""
CATCH_UP_MS_MAX = 60_000
"""The log behind an installed snapshot is kept for the receiver for so long at most."""
PATIENCE_MS = 5

logger: logging.Logger = logging.getLogger("dkv.snapshots")


class Place(NamedTuple):
    """Whom a snapshot is for."""

    vbucket: int
    replica: int


class Snapshots:
    """Owned by the node."""

    def __init__(
        self,
        store: Store,
        engine_sync: EngineSync,
        peering: Peering,
        random: Random,
        hosted_of: Callable[[int], Hosted | None],
    ) -> None:
        self._store, self._engine_sync, self._peering, self._random = store, engine_sync, peering, random
        self._hosted_of = hosted_of
        self._sending: dict[Place, Sending] = {}
        self._paused: dict[Place, int] = {}
        """Until when a snapshot that is wanted waits."""
        self._catching_up: dict[Place, tuple[int, int]] = {}
        """(index, until when): the log from there on is kept."""
        self._held: frozenset[int] = frozenset()
        """The vBuckets whose logs are kept for somebody."""
        self.arrivals: Arrivals = Arrivals(store, engine_sync, peering, hosted_of)
        """Those on their way in."""
        self._allowance = Allowance()
        self.sent: int = 0
        self.failed: int = 0
        self.bytes_sent_ever: int = 0

    @property
    def outgoing_count(self) -> int:
        return len(self._sending)

    @property
    def patience_ms(self) -> int:
        """How long the next turn of a cluster's node may wait for news: a tick; less while a snapshot is under way."""
        is_busy = self.arrivals.vbuckets or any(each.has_room for each in self._sending.values())
        return PATIENCE_MS if is_busy else TICK_MS

    def bytes_sent(self) -> dict[tuple[int, int], int]:
        """Of those that are on their way to others, by vBucket and replica."""
        return {place: sending.bytes_sent for place, sending in self._sending.items()}

    def want(self, vbucket: int, replica: int, now: Now) -> None:
        """Raft on the leader has nothing in its log for this replica."""
        self._paused.setdefault(Place(vbucket, replica), now.monotonic_ms)

    def hear(self, node: int, kind: int, vbucket: int, body: bytes, now: Now) -> None:
        """What another node has to say of a snapshot. Raises InvalidRequest."""
        if kind == Kind.SNAPSHOT_OFFER:
            self.arrivals.offered(node, vbucket, body, now)
        elif kind == Kind.SNAPSHOT_CHUNK:
            self.arrivals.got(vbucket, body, now)
        elif kind == Kind.SNAPSHOT_RECEIVED:
            received = parse_received(body)
            for sending in self._sending.values():
                if sending.snapshot_id == received.snapshot_id:
                    sending.heard(received, now)
        elif kind == Kind.SNAPSHOT_DONE:
            self._done(parse_done(body), now)
        elif kind == Kind.SNAPSHOT_WANTED:
            self._asked(vbucket, *parse_numbers(body), now)

    def _asked(self, vbucket: int, replica: int, index: int, now: Now) -> None:
        """A replica lacks what the entry `index` restores; its log has everything."""
        hosted = self._hosted_of(vbucket)
        if hosted is None or not hosted.is_leader or hosted.replica.applied_index < index:
            return
        if Place(vbucket, replica) not in self._sending:
            self.want(vbucket, replica, now)

    def take_turn(self, now: Now) -> None:
        """A slice of everything that is under way."""
        if self._paused or self._sending or self._catching_up or self._held:
            self._begin_due(now)
            self._send(now)
            self._hold_logs(now)
        self.arrivals.take_turn(now)

    # Sending

    def _begin_due(self, now: Now) -> None:
        for place in [place for place, until_ms in self._paused.items() if until_ms <= now.monotonic_ms]:
            hosted = self._hosted_of(place.vbucket)
            if hosted is None or not hosted.is_leader or not hosted.has_member(place.replica):
                del self._paused[place]  # whoever leads now is told by its own Raft, and nobody of who was removed
                continue
            # Whether or not an entry of its own term is committed: without this replica there may be no quorum for it.
            del self._paused[place]
            sending = Sending(self._random.bytes(ID_BYTES), place.vbucket, place.replica, self._store, now)
            self._sending[place] = sending
            logger.info("vBucket %d: replica %d gets a snapshot as of %d", *place, sending.metadata.applied_index)

    def _send(self, now: Now) -> None:
        self._allowance.earn(now)
        for place, sending in list(self._sending.items()):
            hosted = self._hosted_of(place.vbucket)
            if hosted is None or (why := _why_not(hosted, place.replica, sending, now)):
                self._fail(place, why if hosted is not None else "the vBucket is gone", now)
                continue
            node = hosted.node_of(place.replica)

            def send(kind: Kind, body: bytes, node: int = node, vbucket: int = place.vbucket) -> bool:
                return self._peering.peers.send_bulk(node, pack([(kind, vbucket, body)]))

            sent = sending.step(send, self._allowance.bytes_left, now)
            self._allowance.bytes_left -= sent
            self.bytes_sent_ever += sent

    def _done(self, done: Done, now: Now) -> None:
        for place, sending in list(self._sending.items()):
            if sending.snapshot_id == done.snapshot_id:
                if not done.installed_index:
                    self._fail(place, done.reason, now)
                    return
                self._end(place)
                self.sent += 1
                self._catching_up[place] = done.installed_index, now.monotonic_ms + CATCH_UP_MS_MAX
                if (hosted := self._hosted_of(place.vbucket)) is not None:
                    hosted.report_snapshot(place.replica, done.installed_index)
                logger.info("vBucket %d: replica %d has a snapshot as of %d", *place, done.installed_index)

    def _fail(self, place: Place, why: str, now: Now) -> None:
        """Raft is told only after a pause, and then wants it again."""
        self._end(place)
        self.failed += 1
        logger.warning("vBucket %d: the snapshot for replica %d failed: %s", *place, why)
        if (hosted := self._hosted_of(place.vbucket)) is not None and hosted.is_leader:
            self._paused[place] = now.monotonic_ms + PAUSE_MS

    def _end(self, place: Place) -> None:
        self._sending.pop(place).close()

    def _hold_logs(self, now: Now) -> None:
        """Of each vBucket the log is kept from the oldest snapshot on that somebody still catches up from."""
        held = dict.fromkeys(self._held, 0) | {place.vbucket: 0 for place in (*self._sending, *self._catching_up)}
        indexes = {place: each.metadata.applied_index for place, each in self._sending.items()}
        for place, (index, until_ms) in list(self._catching_up.items()):
            if now.monotonic_ms >= until_ms:
                del self._catching_up[place]
            else:
                indexes.setdefault(place, index)
        for place, index in indexes.items():
            held[place.vbucket] = min(held[place.vbucket] or index, index)
        for vbucket, index in held.items():
            if (hosted := self._hosted_of(vbucket)) is not None:
                hosted.upkeep.hold(index or None)
        self._held = frozenset(vbucket for vbucket, index in held.items() if index)

    def close(self) -> None:
        """Lets go of every view. What has come in goes on after the next start."""
        for sending in self._sending.values():
            sending.close()
        self._sending.clear()


def _why_not(hosted: Hosted, replica: int, sending: Sending, now: Now) -> str:
    """Why a snapshot is not sent any further; empty: it is."""
    if not hosted.is_leader:
        return "another node leads now"
    if not hosted.has_member(replica):
        return "its receiver was removed"
    return "its receiver was silent for too long" if sending.is_lost(now) else ""
