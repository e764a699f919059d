"""The rows of a fetched backup, through an engine that is opened to be read only."""

from pathlib import Path

from rocksdict import AccessType, Rdict

from dkv.model.errors import BackupDamaged, StorageFailed
from dkv.storage.engine_errors import translated
from dkv.storage.rocksdb_options import WRITE_BUFFER_BYTES_DEFAULT, engine_setup
from dkv.storage.rocksdb_scan import RocksDbScan

CACHE_BYTES = 8 << 20
"""A backup is walked through once."""


class RocksDbBackupRows:
    """Owns the engine over a folder of a backup's files. Used by the node's thread."""

    def __init__(self, folder: Path) -> None:
        """Raises BackupDamaged when the engine cannot make sense of the files."""
        setup = engine_setup(CACHE_BYTES, WRITE_BUFFER_BYTES_DEFAULT, {})
        setup.options.set_skip_stats_update_on_db_open(False)  # or `rows_estimate` knows nothing
        try:
            self._database = Rdict(str(folder), setup.options, access_type=AccessType.read_only())
        except Exception as error:
            raise _damaged(error, "open the backup") from error
        self._scans: list[BackupScan] = []

    def get(self, key: bytes) -> bytes | None:
        """One row, None where there is none."""
        try:
            row: bytes | None = self._database.get(key)
        except Exception as error:
            raise _damaged(error, "read the backup") from error
        return row

    def scan(self, start: bytes, end: bytes) -> "BackupScan":
        """Rows in [start, end), ascending."""
        scan = BackupScan(RocksDbScan(self._database, start, end, False))
        self._scans.append(scan)
        return scan

    def rows_estimate(self) -> int:
        """As the engine guesses from some of its files."""
        return self._database.property_int_value("rocksdb.estimate-num-keys") or 0

    def close(self) -> None:
        """Close scans and engine."""
        for scan in self._scans:
            scan.close()
        self._database.close()


class BackupScan:
    """A scan whose damage is the backup's, not the node's: it ends the restore and nothing else."""

    def __init__(self, scan: RocksDbScan) -> None:
        self._scan = scan

    def take(self, rows_max: int, bytes_max: int) -> list[tuple[bytes, bytes]]:
        """As `Scan.take`. Raises BackupDamaged."""
        try:
            return self._scan.take(rows_max, bytes_max)
        except StorageFailed as error:
            raise BackupDamaged(str(error)) from error

    def close(self) -> None:
        """Idempotent."""
        self._scan.close()


def _damaged(error: Exception, doing: str) -> Exception:
    failure = translated(error, doing)
    return BackupDamaged(str(failure)) if isinstance(failure, StorageFailed) else failure
