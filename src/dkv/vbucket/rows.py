"""Rows: how keys, values and expiries lie in the engine.

A row's key is `space:u32 BE | key`, so that one engine holds many vBuckets and byte order stays iteration order. Space
0 holds one metadata row per vBucket; a vBucket owns a *block* of four spaces, named by the first:

| space | holds | key after the space | row |
|---|---|---|---|
| block + 0 | data | the user's key | `flags:u8 | expires_at:u64 BE if flagged | value` |
| block + 1 | expiry index | `expires_at:u64 BE | user's key` | empty |
| block + 2 | outcomes | `log index:u64 BE` | see `dkv.vbucket.outcomes` |
| block + 3 | sessions | `length:u8 | session | sequence:u64 BE` | see `dkv.vbucket.sessions` |

INVARIANTS 4: an install fills a block that no metadata row has named before, and flips the metadata row in one batch.
So the numbers come from two halves that never meet: a vBucket that is *formed* has the block `4 * vbucket`, below 2^31;
one that is *installed* takes `fresh_space`, from 2^31 up.

INVARIANTS 9: a row of the expiry index may be stale. It is a hint where to look; the record's own expiry decides.
A record is gone for every reader once `expires_at <= log time` (INVARIANTS 8), whether or not it was swept.
"""

from collections.abc import Iterable
from struct import Struct
from struct import error as struct_error

from dkv.model.errors import Corrupt, InvariantBroken
from dkv.model.times import NEVER_EXPIRES_TS

SPACES_PER_BLOCK = 4  # persisted: do not renumber, as the four offsets below
DATA, EXPIRY, OUTCOMES, SESSIONS = range(SPACES_PER_BLOCK)
INSTALLED_SPACE_MIN = 1 << 31
"""Persisted. Blocks from here on are handed out to installs, one after the other."""
METADATA_KIND = b"\0\0\0\0\1"
"""Persisted. Space 0, kind 1."""
STAGING_KIND = b"\0\0\0\0\2"
"""Persisted. Space 0, kind 2: see `dkv.vbucket.staging`."""
SLAVES_KIND = b"\0\0\0\0\3"
"""Persisted. Space 0, kind 3: see `dkv.vbucket.slaves`."""
MEMBERS_KIND = b"\0\0\0\0\4"
"""Persisted. Space 0, kind 4: see `dkv.vbucket.directory`. Kind 5 is a charter, see `dkv.cluster.charter`."""
INSTALLING_KIND, INSTALLED_KIND = b"\0\0\0\0\6", b"\0\0\0\0\7"
"""Persisted. Space 0, kinds 6 and 7: see `dkv.vbucket.installing`."""
EXPIRES = 1
"""Persisted. The one flag of a row."""

_U32, _U64, _EXPIRING = Struct(">I"), Struct(">Q"), Struct(">BQ")
_VALUE_AT = _EXPIRING.size
_END = b"\xff" * 5
"""Behind every row key: the last space is never handed out."""

Range = tuple[bytes, bytes]
"""[start, end) of row keys."""


def encode_row(value: bytes, expires_at: int) -> bytes:
    """The row of a value; `expires_at` in milliseconds, 0 for never."""
    return _EXPIRING.pack(EXPIRES, expires_at) + value if expires_at else b"\0" + value


def visible(row: bytes | None, log_time: int) -> bytes | None:
    """The value a reader sees at `log_time`, or None: no row, or expired."""
    if row is None:
        return None
    if row[:1] == b"\0":
        return row[1:]
    value, expires_at = decode_row(row)
    return value if expires_at > log_time else None


def decode_row(row: bytes) -> tuple[bytes, int]:
    """(value, expires_at), expired or not; an expiry of 0 means never. Raises Corrupt."""
    flags = row[:1]
    if flags == b"\0":
        return row[1:], 0
    if flags != b"\1":
        raise Corrupt(f"row: unknown flags {flags.hex() or 'missing'} at offset 0")
    try:
        expires_at = _U64.unpack_from(row, 1)[0]
    except struct_error:
        raise Corrupt(f"row: ends at offset {len(row)}, inside the expiry") from None
    if not expires_at:
        raise Corrupt("row: flagged as expiring but without an expiry, at offset 1")
    return row[_VALUE_AT:], expires_at


def metadata_key(vbucket: int) -> bytes:
    """Where the metadata row of a vBucket lies."""
    return METADATA_KIND + _U32.pack(vbucket)


def metadata_range() -> Range:
    """The metadata rows of every vBucket of the folder, by vBucket."""
    return METADATA_KIND, b"\0\0\0\0\2"


def decode_metadata_key(row_key: bytes) -> int:
    """The vBucket of a row of `metadata_range`."""
    return int.from_bytes(row_key[len(METADATA_KIND) :], "big")


def slave_key(vbucket: int, address: bytes) -> bytes:
    """Where the registry of slaves notes an address; its row is empty."""
    return SLAVES_KIND + _U32.pack(vbucket) + address


def slaves_range(vbucket: int) -> Range:
    """The registry of slaves of a vBucket."""
    return SLAVES_KIND + _U32.pack(vbucket), SLAVES_KIND + _U32.pack(vbucket + 1)


def member_key(vbucket: int, replica: int) -> bytes:
    """Where the directory notes a member."""
    return MEMBERS_KIND + _U32.pack(vbucket) + _U64.pack(replica)


def members_range(vbucket: int) -> Range:
    """The directory of a vBucket."""
    return MEMBERS_KIND + _U32.pack(vbucket), MEMBERS_KIND + _U32.pack(vbucket + 1)


def formed_space(vbucket: int) -> int:
    """The block of a vBucket that starts empty."""
    space = vbucket * SPACES_PER_BLOCK
    if not 0 < space < INSTALLED_SPACE_MIN:
        raise InvariantBroken(f"vBucket {vbucket} has no block of spaces")
    return space


def fresh_space(taken: Iterable[int]) -> int:
    """A block for an install, given the blocks named by all metadata rows of the folder and by installs under way.

    The installer deletes the block's range before it fills it: an install that a crash cut short may have left rows.
    """
    return max((space for space in taken if space >= INSTALLED_SPACE_MIN), default=INSTALLED_SPACE_MIN - 4) + 4


def unnamed_ranges(named: Iterable[int]) -> list[Range]:
    """Everything between the blocks that are named, from the first block on: what cut-short installs have left."""
    ranges: list[Range] = []
    start = SPACES_PER_BLOCK
    for block in sorted(named):
        if start < block:
            ranges.append((_U32.pack(start), _U32.pack(block)))
        start = block + SPACES_PER_BLOCK
    return [*ranges, (_U32.pack(start), _END)]


def prefix(space: int) -> bytes:
    """What every row key of a space begins with."""
    return _U32.pack(space)


def block_range(space: int) -> Range:
    """All rows of a vBucket but its metadata row."""
    return _U32.pack(space), _U32.pack(space + SPACES_PER_BLOCK)


def data_range(space: int) -> Range:
    return _U32.pack(space + DATA), _U32.pack(space + DATA + 1)


def expiry_range(space: int) -> Range:
    return _U32.pack(space + EXPIRY), _U32.pack(space + EXPIRY + 1)


def outcomes_range(space: int) -> Range:
    return _U32.pack(space + OUTCOMES), _U32.pack(space + OUTCOMES + 1)


def session_range(space: int) -> Range:
    return _U32.pack(space + SESSIONS), _U32.pack(space + SESSIONS + 1)


def expiry_row_key(space: int, expires_at: int, key: bytes) -> bytes:
    """Where the index notes that `key` may expire."""
    return _U32.pack(space + EXPIRY) + _U64.pack(expires_at) + key


def decode_expiry_key(row_key: bytes) -> tuple[int, bytes]:
    """(expires_at, user's key) of a row of the expiry index. Raises Corrupt."""
    if len(row_key) < 12:
        raise Corrupt(f"expiry index: key of {len(row_key)} bytes ends inside the expiry")
    return int.from_bytes(row_key[4:12], "big"), row_key[12:]


def expires_at_of_ts(expire_ts: int) -> int:
    """Seconds of the wire to milliseconds of a row. Saturates: 2^64-1 seconds, "never" to clients, stays 2^64-1."""
    return min(expire_ts * 1000, NEVER_EXPIRES_TS)


def ts_of_expires_at(expires_at: int) -> int:
    """Milliseconds back to seconds, rounded up: a key is never shown to end before it does."""
    return NEVER_EXPIRES_TS if expires_at == NEVER_EXPIRES_TS else -(-expires_at // 1000)
