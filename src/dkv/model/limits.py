"""Every limit a caller can meet (INVARIANTS 20). Servers make one from their settings and hand it to the services."""

from dataclasses import dataclass

KEY_BYTES_MAX = 65_000
"""Persisted format: a key's length is a u16."""

HISTORY_BYTES_MAX = 256 << 20
"""Costs no disk: the log frees no file before it has 512 MiB of them."""
HISTORY_CHANGES_MIN = 1_000
CHANGES_REPLY_BYTES_MAX = 16 << 20
"""Records of a GetChanges reply; slaves of the original receive 50 MiB."""
ENTRY_OVERHEAD_BYTES = 40
"""Tags, lengths, expireTS and ttlMs of an entry of a batch, at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    key_bytes_max: int = KEY_BYTES_MAX
    value_bytes_max: int = 4 << 20
    request_bytes_max: int = 4 << 20
    multi_get_keys_max: int = 10_000
    multi_put_entries_max: int = 10_000
    reply_bytes_max: int = 16 << 20
    """Of a MultiGet, counted while reading."""
    entry_bytes_max: int = 1 << 20
    """Of a log entry, unless it is one command."""
    iterates_open_max: int = 1_000
    iterate_idle_ms_max: int = 60_000
    """An Iterate whose reader makes no progress pins files for no longer than this."""
    history_readers_max: int = 1_000
    """Streams of changes and GetChanges calls, open at once."""
    slice_bytes_max: int = 256 << 10
    """Work on a long reply per turn."""
    sessions_max: int = 10_000
    session_outstanding_max: int = 1_024
    session_idle_ms_max: int = 3_600_000

    @property
    def message_bytes_max(self) -> int:
        """Of an encoded request: the payload and what surrounds it, with room for our typed error to be the answer."""
        return self.request_bytes_max + (64 << 10) + ENTRY_OVERHEAD_BYTES * self.multi_put_entries_max

    @property
    def reply_message_bytes_max(self) -> int:
        """Of an encoded reply: the longest MultiGet or GetChanges, or one pair of an Iterate or one record of a change,
        which has it twice, and what surrounds it."""
        pair, record = self.key_bytes_max + self.value_bytes_max, 2 * self.message_bytes_max
        return max(self.reply_bytes_max, CHANGES_REPLY_BYTES_MAX, pair, record) + (64 << 10)
