"""Makes writes durable off the turn: one thread that does nothing but wait natively.

A sync takes from half a millisecond to seconds, and nobody may wait for it in a turn. The thread sleeps on a condition,
calls the engine's sync, which releases the interpreter lock, and rings: so it takes no turns from the node (INVARIANTS
16, 17). A failed sync is never retried: what the kernel dropped once it reports as clean the next time (INVARIANTS 6).

What a newcomer breaks first: the mark is read *before* the sync starts. Read afterwards it would vouch for writes that
came while the disk was busy.
"""

import threading
from collections.abc import Callable

from dkv.model.errors import StorageFailed


class SyncThread:
    """Owns the requests and the thread. One caller's thread uses it; the thread itself only syncs."""

    def __init__(self, sync: Callable[[], None], on_synced: Callable[[], None] | None) -> None:
        self._sync = sync
        self._on_synced = on_synced
        self._changed = threading.Condition()
        self._wanted: int | None = None
        self._done: int | None = None
        self._failure: StorageFailed | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dkv-store-sync", daemon=True)
        self._thread.start()

    def request(self, mark: int) -> None:
        """Sync once more, and report `mark`. Replaces an older mark that no sync has started for."""
        with self._changed:
            self._wanted = mark
            self._changed.notify()

    def take(self) -> int | None:
        """The newest mark synced since the last call. Raises StorageFailed once a sync has failed."""
        if self._failure is not None:
            raise self._failure
        with self._changed:
            mark, self._done = self._done, None
        return mark

    def stop(self) -> None:
        """Wait for the sync under way, then end. Requests that have not started are dropped. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (mark := self._next()) is not None:
            try:
                self._sync()
            except StorageFailed as failure:
                self._failure = failure
            with self._changed:
                if self._failure is None:
                    self._done = mark
            if self._on_synced is not None:
                self._on_synced()

    def _next(self) -> int | None:
        with self._changed:
            while self._wanted is None and not self._stopping:
                self._changed.wait()
            if self._stopping or self._failure is not None:
                return None
            mark, self._wanted = self._wanted, None
            return mark
