"""Staging: the rows of a backup on their way into a fresh block of spaces, a slice a turn.

Data and expiry index only: sessions and outcomes belong to the history that ends. Rows go as they are, so what had
expired stays expired, and the sweep finds it. The digest over all of them goes into the restore command: every replica
that stages the same backup comes to the same one.
"""

from collections.abc import Generator
from hashlib import sha256

from dkv.model.backups import Phase, Progress
from dkv.model.errors import BackupDamaged, Corrupt
from dkv.ports.backups import BackupRows
from dkv.ports.store import RowBatch, Scan, Store
from dkv.vbucket import rows
from dkv.vbucket.installing import decode_installing, installing_range
from dkv.vbucket.metadata import decode_metadata
from dkv.vbucket.staging import decode_staged, staging_range

SLICE_ROWS_MAX = 1_000
SLICE_BYTES_MAX = 256 << 10
"""Written at once, while the interpreter lock is held: 2 ms (INVARIANTS 17)."""
_SPACE_BYTES = 4


def named_spaces(store: Store) -> list[int]:
    """The blocks that are served, filled by a snapshot that is on its way in, or staged, of all vBuckets of the
    folder."""
    served = [decode_metadata(row).space for _, row in rows_between(store, *rows.metadata_range())]
    coming = [decode_installing(row).space for _, row in rows_between(store, *installing_range())]
    return served + coming + [decode_staged(row).space for _, row in rows_between(store, *staging_range())]


def rows_between(store: Store, start: bytes, end: bytes) -> list[tuple[bytes, bytes]]:
    """All of them: for the few that lie in space 0."""
    scan, found = store.scan(start, end), []
    try:
        while part := scan.take(SLICE_ROWS_MAX, SLICE_BYTES_MAX):
            found += part
    finally:
        scan.close()
    return found


class Loading:
    """How much of a backup is loaded, of all its vBuckets together."""

    def __init__(self, rows_estimate: int) -> None:
        self._rows_estimate = rows_estimate
        self._rows = self._bytes = 0

    def add(self, row_count: int, byte_count: int) -> None:
        self._rows += row_count
        self._bytes += byte_count

    def progress(self) -> Progress:
        """The total is guessed from the rows seen so far."""
        total = self._bytes * self._rows_estimate // max(self._rows, 1)
        return Progress(Phase.STAGE, self._bytes, max(total, self._bytes))


class Stage:
    """Rows on their way from the backup's block into a fresh one."""

    def __init__(self, from_space: int, to_space: int, loading: Loading) -> None:
        self._from, self._to, self._loading = from_space, to_space, loading
        self._digest = sha256()
        self.earliest_expiry: int | None = None

    def fill(self, source: BackupRows, store: Store) -> Generator[Progress, None, None]:
        """Data, then the expiry index."""
        yield from self._copy(source.scan(*rows.data_range(self._from)), rows.prefix(self._to + rows.DATA), store)
        expiries = source.scan(*rows.expiry_range(self._from))
        yield from self._copy(expiries, rows.prefix(self._to + rows.EXPIRY), store)

    def digest(self, replayed_to: int | None) -> bytes:
        """Of the rows as they are in the fresh block, but for the block's number, and of the last change that was
        replayed over them: the same for every replica."""
        whole = self._digest.copy()
        if replayed_to is not None:
            whole.update(replayed_to.to_bytes(8, "big"))
        return whole.digest()

    def _copy(self, scan: Scan, prefix: bytes, store: Store) -> Generator[Progress, None, None]:
        try:
            while part := scan.take(SLICE_ROWS_MAX, SLICE_BYTES_MAX):
                self._write([(prefix + key[_SPACE_BYTES:], row) for key, row in part], prefix, store)
                yield self._loading.progress()
        finally:
            scan.close()

    def _write(self, moved: list[tuple[bytes, bytes]], prefix: bytes, store: Store) -> None:
        if self.earliest_expiry is None and prefix == rows.prefix(self._to + rows.EXPIRY):
            self.earliest_expiry = _expires_at(moved[0][0])
        joined = b"".join([key[_SPACE_BYTES:] + row for key, row in moved])
        self._digest.update(joined)
        self._loading.add(len(moved), len(joined))
        store.write(RowBatch(list(moved)))


def _expires_at(row_key: bytes) -> int:
    try:
        return rows.decode_expiry_key(row_key)[0]
    except Corrupt as damage:
        raise BackupDamaged(f"the backup's {damage}") from damage
