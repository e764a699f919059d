"""One ordered walk over the data of several vBuckets: the rows of each, as of one moment, merged by the user's key."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

from dkv.node.hosted import Hosted
from dkv.ports.store import Scan, Store
from dkv.services.turn import ScanRequest
from dkv.vbucket.rows import visible

SPACE_BYTES = 4
AHEAD_ROWS, AHEAD_BYTES = 2_000, 1 << 20
Row = tuple[bytes, bytes]


class MergedScan:
    """A `Scan` whose row keys begin with the spaces they lie in. A row that has expired by the log time of its own
    vBucket is left out; nobody else could tell."""

    def __init__(self, scans: Sequence[tuple[Scan, int]], *, reverse: bool) -> None:
        """`scans`: with the log time of each."""
        self._scans = [scan for scan, _ in scans]
        # A scan of many reads a little of each ahead: the bounds are for all together.
        share = max(1, AHEAD_ROWS // len(scans)), max(1, AHEAD_BYTES // len(scans))
        walks = [_walk(scan, log_time, *share) for scan, log_time in scans]
        self._rows = merge(*walks, key=_user_key, reverse=reverse)

    def take(self, rows_max: int, bytes_max: int) -> list[Row]:
        """The next rows, [] at the end. Raises Corrupt."""
        taken: list[Row] = []
        left = bytes_max
        for row in islice(self._rows, max(rows_max, 1)):
            taken.append(row)
            left -= len(row[0]) + len(row[1])
            if left <= 0:
                break
        return taken

    def close(self) -> None:
        """Lets go of all of them. Idempotent."""
        for scan in self._scans:
            scan.close()


def merged_rows(store: Store, vbuckets: Iterable[Hosted], request: ScanRequest) -> tuple[Scan, int]:
    """Of all of them, and the log time by which to judge what comes: what has expired is left out already."""
    scans = []
    for hosted in vbuckets:
        start, end = hosted.replica.data_range(request.start, request.end)
        scans.append((store.scan(start, end, reverse=request.reverse), hosted.replica.log_time))
    return MergedScan(scans, reverse=request.reverse), 0


def _walk(scan: Scan, log_time: int, rows_max: int, bytes_max: int) -> Iterator[Row]:
    while rows := scan.take(rows_max, bytes_max):
        yield from (row for row in rows if visible(row[1], log_time) is not None)


def _user_key(row: Row) -> bytes:
    return row[0][SPACE_BYTES:]
