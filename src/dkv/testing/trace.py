"""What happened, as lines and as one hash: equal seeds must give equal hashes, or a failure could not be replayed."""

import hashlib
from collections import deque

LINES_KEPT_MAX = 200
"""Enough to see what led to a failure; a whole run would only hide it."""


class Trace:
    """Owned by one simulated world."""

    def __init__(self, lines_max: int = LINES_KEPT_MAX) -> None:
        self._hash = hashlib.sha256()
        self._count = 0
        self.lines: deque[str] = deque(maxlen=lines_max)

    def add(self, line: str) -> None:
        self._hash.update(line.encode() + b"\n")
        self._count += 1
        self.lines.append(f"{self._count:6} {line}")

    def digest(self) -> str:
        """The hash of all lines so far."""
        return self._hash.hexdigest()
