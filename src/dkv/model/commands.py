"""What a caller can ask the state machine to do. Each is decided when it is applied, never when it is proposed.

`expires_at` is absolute wall time in milliseconds; 0 means never. A relative time to live is made absolute by the
leader when it proposes (COMPATIBILITY 1.7 `ttlMs`).
"""

from typing import NamedTuple


class Session(NamedTuple):
    """Names one write of one client, so that a retry applies once (INVARIANTS 15)."""

    session: bytes
    """1 to 16 bytes, chosen by the client."""
    sequence: int
    """From 1, one per write of the session."""
    lowest_outstanding: int
    """Results below this sequence are forgotten: the client has seen them."""


class Put(NamedTuple):
    key: bytes
    value: bytes
    expires_at: int = 0
    session: Session | None = None


class Delete(NamedTuple):
    key: bytes
    session: Session | None = None


class DeleteRange(NamedTuple):
    """Deletes every key in [start, end). An empty end means to the last key."""

    start: bytes
    end: bytes
    session: Session | None = None


class CompareAndSet(NamedTuple):
    """Writes `value` when the current value equals `expected`; empty `expected` also matches an absent key."""

    key: bytes
    expected: bytes
    value: bytes
    expires_at: int = 0
    session: Session | None = None


class MultiPut(NamedTuple):
    """All of `puts` (none of them with a session) or nothing, in order; one change number each."""

    puts: tuple[Put, ...]
    session: Session | None = None


class Sweep(NamedTuple):
    """Removes rows that had expired by the entry's log time: (expires_at, key) pairs of the expiry index."""

    candidates: tuple[tuple[int, bytes], ...]


class Tick(NamedTuple):
    """Advances the log time, so that what is due expires on every replica at the same index."""


class Restore(NamedTuple):
    """Replaces every row by those staged under `restore_id` and starts a new history. Alone in its entry.

    Each replica has staged the rows before; `checksum` proves that they are the same ones (INVARIANTS 22). Numbers and
    log time only go forward: the restore takes one number above both histories, which nobody is served (INVARIANTS 12).
    """

    restore_id: bytes
    """16 random bytes."""
    checksum: bytes
    """32 bytes, see `dkv.jobs.restore`."""
    history_id: bytes
    """16 random bytes: the line of numbers that begins here."""
    change_number: int
    """The latest of the staged state, in the history that it came from."""
    log_time: int
    """Of the staged state."""


class AddSlave(NamedTuple):
    """Notes that a slave follows the vBucket: `host:port` or `zone@host:port`, checked. Takes no change number."""

    address: bytes


class RemoveSlave(NamedTuple):
    """Forgets a slave, if it is known. Takes no change number."""

    address: bytes


Command = Put | Delete | DeleteRange | CompareAndSet | MultiPut | Sweep | Tick | Restore | AddSlave | RemoveSlave


class Outcome(NamedTuple):
    """What became of one command."""

    took_effect: bool
    """False for a failed compare-and-set; true for all else that was applied."""
    change_number: int
    """Its (last) change number; of a command without one, the vBucket's latest at that point."""
    error: str = ""
    """Non-empty: not applied, outcome unknown (an unknown or expired session)."""
