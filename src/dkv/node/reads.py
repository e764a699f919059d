"""Point reads of one vBucket: what they have to wait for, and the rows that answer them.

What waits is in `barriers`, what a leader may know without asking in `lease`; here is who asks whom. A question goes to
the quorum where this replica leads, and to the leader's node elsewhere; the answer comes back the same way.

Invariant kept here: nothing is read before the first entry of the own term (leader) or the first read index since the
start (follower) is applied (5).
"""

from collections.abc import Callable, Iterator
from struct import Struct

from dkv.model.errors import Corrupt
from dkv.node.barriers import Barriers
from dkv.node.lease import Lease
from dkv.node.meter import Meter
from dkv.node.peering import Peering
from dkv.node.role import NOBODY, Role
from dkv.ports.clock import Now
from dkv.ports.consensus import Consensus, Ready
from dkv.ports.store import Store
from dkv.services.calls import fail
from dkv.services.turn import SEQUENTIAL, PointRead, Turn, View
from dkv.wire.peer import Kind, pack_number, pack_numbers

READ_KEYS = 32
"""Rows that are read at once: few enough to fit into memory whatever they weigh, enough to share a crossing."""
EMIT_BYTES = 8 << 20
"""Replies of so many bytes do not wait for the end of the turn."""
STALENESS_UNKNOWN = (1 << 64) - 1
_CONTEXT = Struct(">QQ")
"""Of a read index: the node that asks, 0 for this one, and its request id."""


class Reads:
    """Owned by what hosts the vBucket."""

    def __init__(
        self,
        role: Role,
        *,
        store: Store,
        consensus: Consensus,
        meter: Meter,
        peering: Peering | None,
        lease: Lease,
        first_request_id: int,
    ) -> None:
        self._role, self._store, self._consensus, self._meter = role, store, consensus, meter
        self._peering = peering
        self.barriers: Barriers = Barriers(self._ask_for_index, first_request_id)
        self.lease: Lease = lease

    # What peers say

    def asked_for_index(self, node: int, request_id: int) -> None:
        assert self._peering is not None
        if not self.lease.is_due and (index := self.lease.index()) is not None:
            self._peering.tell(node, Kind.READ_INDEX_REPLY, self._role.vbucket, pack_numbers(request_id, index))
        elif not self._ask_quorum(_CONTEXT.pack(node, request_id)):
            self._peering.tell(node, Kind.READ_INDEX_LOST, self._role.vbucket, pack_number(request_id))

    def told_index(self, request_id: int, index: int) -> None:
        self.barriers.confirmed(request_id, index)

    def told_index_lost(self, request_id: int) -> None:
        self.barriers.lost(request_id)

    def _ask_for_index(self, request_id: int) -> bool:
        if self._role.is_leader:
            return self._ask_quorum(_CONTEXT.pack(NOBODY, request_id))
        node = self._role.leader_node
        if not node or self._peering is None:
            return False
        self._peering.tell(node, Kind.READ_INDEX, self._role.vbucket, pack_number(request_id))
        return True

    def _ask_quorum(self, context: bytes) -> bool:
        self.lease.asks(context)
        is_asked = self._consensus.read_index(self._role.vbucket, context)
        if not is_asked:
            self.lease.lost(context)
        return is_asked

    # The turn

    def hold_back(self, turn: Turn, now: Now) -> None:
        """Takes the reads out of the turn that have to wait, and asks for what they wait for."""
        if not turn.reads and self._role.is_readable:
            return
        barriers = self.barriers
        if self._role.is_removed:
            return  # nothing to wait for: `answer` refuses them
        if any(read.terms is not SEQUENTIAL for read in turn.reads):
            reads, turn.reads, must_confirm = turn.reads, [], []
            for read in reads:
                if self._must_confirm(read, now):
                    must_confirm.append(read)
                elif read.terms.change_number_min > self._role.replica.change_number and self._peering is not None:
                    barriers.wait_for_change(read, now)
                else:
                    turn.reads.append(read)
            if must_confirm:
                self._confirm(must_confirm, now)
        if not self._role.is_readable and not barriers.has_waiting and self._role.leader and not self._role.is_leader:
            barriers.begin([], now)

    def _confirm(self, reads: list[PointRead], now: Now) -> None:
        """These wait until it is known up to where they must see: with a lease it is."""
        if (index := self.lease.index()) is None:
            self.barriers.begin(reads, now)
            return
        self.barriers.begin_at(reads, index, now)
        if self.lease.is_due:
            self.barriers.begin([], now)

    def _must_confirm(self, read: PointRead, now: Now) -> bool:
        """Whether what is applied here may not be new enough, for all that is known without asking."""
        if self._role.is_alone and self._role.is_leading:
            return False
        bound = read.terms.staleness_ms_max
        return read.terms.is_linearizable or (bound > 0 and self._staleness_ms(now) > bound)

    def take(self, ready: Ready) -> None:
        """What consensus has to say of what was asked."""
        for context, index in ready.reads:
            self.lease.confirmed(context)
            node, request_id = _CONTEXT.unpack(context)
            if node and self._peering is not None:
                self._peering.tell(node, Kind.READ_INDEX_REPLY, self._role.vbucket, pack_numbers(request_id, index))
            else:
                self.barriers.confirmed(request_id, index)
        for context in ready.reads_lost:
            self.lease.lost(context)
            node, request_id = _CONTEXT.unpack(context)
            if node and self._peering is not None:
                self._peering.tell(node, Kind.READ_INDEX_LOST, self._role.vbucket, pack_number(request_id))
            else:
                self.barriers.lost(request_id)

    def release(self, turn: Turn, now: Now) -> None:
        """Reads that waited and need not any more join those of the turn."""
        barriers = self.barriers
        if barriers.has_waiting and self._role.is_removed:
            turn.reads += barriers.drop()
        if barriers.has_waiting:
            barriers.ask_again(now)
            turn.reads += barriers.passed(self._role.replica.applied_index, self._role.replica.change_number)
            barriers.give_up(turn, self._role.replica.change_number, self._role.leader_address, now)
            if barriers.confirmed_ms is not None:
                self._role.is_readable = True

    def answer(self, turn: Turn, now: Now, emit: Callable[[Turn], None]) -> None:
        """The point reads of the turn, on the state just applied."""
        if not turn.reads:
            return
        view = self.view(now)
        for read in turn.reads:
            try:
                read.answer(turn, self._slices(read.keys, turn, emit), view)
            except Corrupt as damage:
                for call_id in set(read.call_ids).difference(turn.reply_ids):
                    fail(turn, call_id, damage)
                raise

    def _slices(self, keys: list[bytes], turn: Turn, emit: Callable[[Turn], None]) -> Iterator[list[bytes | None]]:
        """The rows of `keys`, a few at a time: what a turn holds is bounded (INVARIANTS 20), whatever was asked."""
        row_keys, unsent_bytes = self._role.replica.row_keys(keys), 0
        for start in range(0, len(row_keys), READ_KEYS):
            rows = self._look_up(row_keys[start : start + READ_KEYS])
            yield rows
            unsent_bytes += sum(map(len, filter(None, rows)))
            if unsent_bytes > EMIT_BYTES:
                emit(turn)
                unsent_bytes = 0

    def _look_up(self, row_keys: list[bytes]) -> list[bytes | None]:
        began = self._meter.stopwatch()
        rows = self._store.get_many(row_keys)
        self._meter.looked_up(len(row_keys), began)
        return rows

    def view(self, now: Now) -> View:
        """What may be known of the state just applied."""
        replica = self._role.replica
        return View(
            replica.log_time,
            replica.change_number,
            replica.history_id,
            self._role.is_current,
            replica.earliest_change,
            replica.slaves.addresses,
            0 if self._peering is None else self._staleness_ms(now),
        )

    def _staleness_ms(self, now: Now) -> int:
        if self._role.is_alone and self._role.is_leading:
            return 0
        confirmed_ms = self.barriers.confirmed_ms
        return STALENESS_UNKNOWN if confirmed_ms is None else now.monotonic_ms - confirmed_ms
