"""The table of sessions: a retry of a write applies once (INVARIANTS 15). Rows: docs/formats/rows.md.

A write may carry (session, sequence, lowest outstanding). Results of a session are kept, by sequence, until the client
says through a higher *lowest outstanding* that it has seen them. What becomes of a write:

| session | condition | answer |
|---|---|---|
| known | the result of this sequence is kept | that result again; nothing is applied |
| known | sequence below the session's lowest | outcome unknown; nothing is applied |
| known | otherwise | applied, its result kept |
| unknown | lowest outstanding is 0 | the session opens with this sequence as its lowest; applied, its result kept |
| unknown | lowest outstanding is 1 or more | outcome unknown; nothing is applied |

So a client sends 0 with the *first attempt* of its first write to a vBucket and with nothing else; a retry of that
write, and all later ones, carry at least 1. Why not simply "sequence 1 opens": the retry of sequence 1 after its
session had expired would open it again and apply twice. With the 0 no retry ever looks like an opening, for any
sequence, so forgetting a session is always safe, and every bound here may be kept by forgetting.

The table must be equal on every replica, and equal after it is read back: its bounds are constants of the format, not
settings; a session's last use is a counter in its rows, not a clock; the table has no other state than its rows.
"""

from collections.abc import Iterable
from struct import Struct

from dkv.model.commands import Outcome, Session
from dkv.model.errors import Corrupt
from dkv.vbucket.rows import SESSIONS

SESSIONS_MAX = 10_000
"""Part of the format: replicas forget the same session at the same entry."""
OUTSTANDING_MAX = 1_024
IDLE_MS_MAX = 3_600_000
"""Of log time, since the last write applied."""
EXPIRED_PER_ENTRY_MAX = 64
"""Bounds the rows that one entry removes; what is left goes with the next."""

_KEY, _ROW = Struct(">IB"), Struct(">QQQQB")
_U64 = Struct(">Q")

UNKNOWN = "unknown or expired session: the outcome of an earlier attempt is not known"
SEEN = "sequence is below the lowest outstanding: its result was acknowledged and is forgotten"
TOO_MANY = f"session has {OUTSTANDING_MAX} results outstanding: not applied"


class _Open:
    """One session. `results` is never empty: the newest write's result cannot be below its own lowest. None is below
    the session's lowest."""

    __slots__ = ("log_time", "lowest", "prefix", "results", "use")

    def __init__(self, prefix: bytes, lowest: int) -> None:
        self.prefix = prefix
        """Of its row keys; the sequence follows."""
        self.lowest = lowest
        self.results: dict[int, Outcome] = {}
        self.log_time = 0
        self.use = 0


class Sessions:
    """The open sessions of one vBucket, least recently used first. Owned by the replica; changed only by apply."""

    def __init__(self, space: int) -> None:
        self._space = space
        self._open: dict[bytes, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Fills an empty table from its rows. Raises Corrupt."""
        found: dict[bytes, _Open] = {}
        for row_key, row in rows:
            name, sequence = _decode_key(row_key)
            use, log_time, lowest, change_number, took_effect = _decode_row(row)
            entry = found.setdefault(name, _Open(row_key[:-8], 0))
            entry.results[sequence] = Outcome(bool(took_effect), change_number)
            entry.lowest = max(entry.lowest, lowest)
            if use >= entry.use:
                entry.use, entry.log_time = use, log_time
        self._open = dict(sorted(found.items(), key=lambda item: item[1].use))

    def known(self, session: Session, change_number: int) -> Outcome | None:
        """The answer to a write that must not be applied, or None: apply it, then `keep` what came of it."""
        name, sequence, lowest = session
        entry = self._open.get(name)
        if entry is None:
            return Outcome(False, change_number, UNKNOWN) if lowest else None
        result = entry.results.get(sequence)
        if result is not None:
            return result
        if sequence < max(entry.lowest, lowest):
            return Outcome(False, change_number, SEEN)
        if len(entry.results) >= OUTSTANDING_MAX and min(entry.results) >= lowest:
            return Outcome(False, change_number, TOO_MANY)
        return None

    def keep(self, session: Session, outcome: Outcome, log_time: int, rows: dict[bytes, bytes | None]) -> None:
        """Notes the result of an applied write, forgets what its client has seen, and writes both into `rows`."""
        name, sequence, lowest = session
        last = next(reversed(self._open.values()), None)
        # One more than the last use: derivable from the rows alone, as the last used session is forgotten last.
        use = 0 if last is None else last.use + 1
        entry = self._open.get(name)
        if entry is None:
            entry = _Open(_KEY.pack(self._space + SESSIONS, len(name)) + name, sequence)
            if len(self._open) >= SESSIONS_MAX:
                self._forget(next(iter(self._open)), rows)
            self._open[name] = entry
        elif entry is not last:
            self._open[name] = self._open.pop(name)
        results, key_of = entry.results, _U64.pack
        if lowest > entry.lowest:
            for seen in _seen(entry, lowest):
                del results[seen]
                rows[entry.prefix + key_of(seen)] = None
            entry.lowest = lowest
        results[sequence] = outcome
        entry.log_time, entry.use = log_time, use
        rows[entry.prefix + key_of(sequence)] = _ROW.pack(use, log_time, entry.lowest, outcome[1], outcome[0])

    def expire(self, log_time: int, rows: dict[bytes, bytes | None]) -> None:
        """Forgets sessions without a write for an hour of log time, a bounded number at once."""
        for _ in range(EXPIRED_PER_ENTRY_MAX):
            name = next(iter(self._open), None)
            if name is None or self._open[name].log_time + IDLE_MS_MAX > log_time:
                return
            self._forget(name, rows)

    def _forget(self, name: bytes, rows: dict[bytes, bytes | None]) -> None:
        entry = self._open.pop(name)
        for sequence in entry.results:
            rows[entry.prefix + _U64.pack(sequence)] = None


def _seen(entry: _Open, lowest: int) -> list[int]:
    """The sequences of results below `lowest`: by counting up from the session's own when that is shorter, or the work
    of a write would grow with the number of those beside it."""
    results = entry.results
    if lowest - entry.lowest <= len(results):
        return [old for old in range(entry.lowest, lowest) if old in results]
    return [old for old in results if old < lowest]


def _decode_key(row_key: bytes) -> tuple[bytes, int]:
    if len(row_key) < 13 or len(row_key) != 13 + row_key[4]:
        raise Corrupt(f"sessions: key of {len(row_key)} bytes does not fit its length at offset 4")
    return row_key[5:-8], int.from_bytes(row_key[-8:], "big")


def _decode_row(row: bytes) -> tuple[int, int, int, int, int]:
    if len(row) != _ROW.size:
        raise Corrupt(f"sessions: row of {len(row)} bytes, not {_ROW.size}")
    use, log_time, lowest, change_number, took_effect = _ROW.unpack(row)
    if took_effect > 1:
        raise Corrupt(f"sessions: took effect is {took_effect} at offset {_ROW.size - 1}")
    return use, log_time, lowest, change_number, took_effect
