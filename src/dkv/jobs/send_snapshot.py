"""Sending a snapshot: the rows of one view of the engine, in chunks, as fast as the receiver makes them safe.

The view is pinned by open scans in the same step that reads the metadata row, so index, term, members and number are of
exactly those rows (INVARIANTS 21). Writers go on. What the receiver has not made safe is kept, up to a window, and sent
again when something was lost; so neither a broken link nor a restart of the receiver begins from the start.
"""

from collections import deque
from collections.abc import Callable

from dkv.jobs.stage import rows_between
from dkv.ports.clock import Now
from dkv.ports.store import Scan, Store
from dkv.vbucket import rows
from dkv.vbucket.metadata import Metadata, decode_metadata
from dkv.vbucket.staging import Staged, encode_staged, staging_key
from dkv.wire.peer import Kind
from dkv.wire.snapshot import FIRST_DIGEST, Offer, Received, Row, pack_chunk, pack_offer

CHUNK_ROWS_MAX = 2_000
CHUNK_BYTES_MAX = 256 << 10
WINDOW_BYTES = 16 << 20
OFFER_AGAIN_MS = 3_000
"""Without a word of the receiver the transfer is opened again: its offer or its last chunks may be lost."""
GIVE_UP_MS = 30_000
_SPACE_BYTES = 4


class Sending:
    """One snapshot on its way to one replica. Owned by the node's thread."""

    def __init__(
        self, snapshot_id: bytes, vbucket: int, replica: int, store: Store, now: Now, staged: Staged | None = None
    ) -> None:
        """Pins the state of this moment; or what is staged here, which is sent as a snapshot is."""
        self.vbucket: int = vbucket
        self.replica: int = replica
        row = store.get_many([rows.metadata_key(vbucket)])[0]
        assert row is not None, "only a vBucket that is here is sent"
        self.metadata: Metadata = decode_metadata(row)
        if staged is None:
            space = self.metadata.space
            own_rows = rows_between(store, *rows.slaves_range(vbucket)) + rows_between(
                store, *rows.members_range(vbucket)
            )
        else:
            space, own_rows = staged.space, [(staging_key(vbucket), encode_staged(staged))]
        self.space: int = space
        self.offer: bytes = pack_offer(Offer(snapshot_id, replica, row, own_rows))
        self.snapshot_id: bytes = snapshot_id
        self._scans: deque[Scan] = deque(
            store.scan(*span) for span in (rows.data_range(space), rows.expiry_range(space), rows.session_range(space))
        )
        self._kept: deque[tuple[int, bytes]] = deque()
        """(number, body) of chunks that the receiver has not made safe."""
        self._kept_bytes = 0
        self._at = 0
        """The first of `_kept` that has not left since the transfer was opened (again)."""
        self._next_number, self._digest, self._is_read = 0, FIRST_DIGEST, False
        self._is_offered = self._is_open = False
        self.is_broken: bool = False
        """The receiver has lost what it had, and wants what is gone."""
        self._heard_ms = self._offered_ms = now.monotonic_ms
        self.bytes_sent: int = 0
        self.begun_ms: int = now.monotonic_ms

    def step(self, send: Callable[[Kind, bytes], bool], allowed_bytes: int, now: Now) -> int:
        """Sends what there is room for; `send` says whether it had room. Returns the bytes that were sent."""
        if now.monotonic_ms - max(self._heard_ms, self._offered_ms) >= OFFER_AGAIN_MS:
            self._is_offered = self._is_open = False  # the receiver will say where to go on
        if not self._is_offered and send(Kind.SNAPSHOT_OFFER, self.offer):
            self._is_offered, self._offered_ms = True, now.monotonic_ms
        sent = 0
        while self._is_open and sent < allowed_bytes and (self._at < len(self._kept) or self._read_chunk()):
            body = self._kept[self._at][1]
            if not send(Kind.SNAPSHOT_CHUNK, body):
                break
            self._at += 1
            sent += len(body)
        self.bytes_sent += sent
        return sent

    def heard(self, received: Received, now: Now) -> None:
        """The receiver has everything before `next_chunk` on its disk."""
        self._heard_ms, self._is_open = now.monotonic_ms, True
        first_kept = self._kept[0][0] if self._kept else self._next_number
        if not first_kept <= received.next_chunk <= self._next_number and received.must_repeat:
            self.is_broken = True
        while self._kept and self._kept[0][0] < received.next_chunk:
            self._kept_bytes -= len(self._kept.popleft()[1])
            self._at = max(0, self._at - 1)
        if received.must_repeat:
            self._at = 0

    def is_lost(self, now: Now) -> bool:
        """The receiver has been silent for too long, or wants what is gone."""
        return self.is_broken or now.monotonic_ms - self._heard_ms >= GIVE_UP_MS

    @property
    def has_room(self) -> bool:
        """There is something to send, as far as the receiver is concerned."""
        return not self._is_offered or (self._is_open and (self._at < len(self._kept) or self._may_read))

    @property
    def _may_read(self) -> bool:
        return not self._is_read and self._kept_bytes < WINDOW_BYTES

    def _read_chunk(self) -> bool:
        """The next rows of the view; after the last of them a chunk without any."""
        if not self._may_read:
            return False
        taken: list[tuple[bytes, bytes]] = []
        while self._scans and not taken:
            taken = self._scans[0].take(CHUNK_ROWS_MAX, CHUNK_BYTES_MAX)
            if not taken:
                self._scans.popleft().close()
        self._is_read = not taken
        first = self.space
        moved: list[Row] = [
            (bytes((int.from_bytes(key[:_SPACE_BYTES], "big") - first,)) + key[_SPACE_BYTES:], row)
            for key, row in taken
        ]
        body, self._digest = pack_chunk(self.snapshot_id, self._next_number, self._digest, moved)
        self._kept.append((self._next_number, body))
        self._kept_bytes += len(body)
        self._next_number += 1
        return True

    def close(self) -> None:
        """Lets the view go. Idempotent."""
        while self._scans:
            self._scans.popleft().close()
