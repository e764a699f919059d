"""A transfer on its way in, whether a snapshot or what a restore has staged: what its sender is told.

The sender keeps what the receiver has not made safe, and sends again from where it is asked to. Where a chunk does not
fit, one is lost or torn: it is asked for once, and not again for every chunk behind it.
"""

from typing import Generic, Protocol, TypeVar

from dkv.node.peering import Peering
from dkv.wire.peer import Kind
from dkv.wire.snapshot import Chunk, Received, pack_received, rows_of

NOTHING = -1


class Transfer(Protocol):
    """The rows and where they go: `jobs.install_snapshot`, `jobs.receive_staged`."""

    vbucket: int

    @property
    def snapshot_id(self) -> bytes:
        """As its messages name it."""

    @property
    def next_chunk(self) -> int: ...
    def add(self, chunk: Chunk, packed_rows: bytes) -> bool:
        """Whether it is the next one; else nothing is done. Raises InvalidRequest."""


T = TypeVar("T", bound=Transfer)


class Incoming(Generic[T]):
    """Owned by who takes it in. `node` is where it comes from."""

    def __init__(self, receiving: T, node: int, peering: Peering, kind: Kind) -> None:
        """`kind`: what the sender's messages of how far it is are."""
        self.receiving: T = receiving
        self.node: int = node
        self._peering, self._kind = peering, kind
        self._asked_for = NOTHING
        """The chunk that the sender was last asked to repeat."""

    def offered_again(self, node: int) -> None:
        """Its sender, or another one, begins anew: what was asked for may be lost."""
        self.node, self._asked_for = node, NOTHING

    def take(self, chunk: Chunk, body: bytes) -> bool:
        """Whether it was the next one."""
        return self.receiving.add(chunk, rows_of(body))

    def has_lost_before(self, chunk: Chunk) -> bool:
        """This one did not fit, and the sender has yet to be asked for what does."""
        next_chunk = self.receiving.next_chunk
        return chunk.number >= next_chunk and self._asked_for != next_chunk

    def ask_to_repeat(self) -> None:
        """From the next one on."""
        self._asked_for = self.receiving.next_chunk
        self.say_received(self._asked_for, must_repeat=True)

    def say_received(self, next_chunk: int, *, must_repeat: bool = False) -> None:
        """The sender may let go of what is before."""
        said = Received(self.receiving.snapshot_id, next_chunk, must_repeat)
        self._peering.tell(self.node, self._kind, self.receiving.vbucket, pack_received(said))
