"""A scan: pages of an Iterate, one after the other, each where the last one stopped.

A page is one stream and one moment of the database; between pages, writes show. That bounds what a reader who takes his
time holds on the server, and makes a lost connection nothing but an early end of a page.

Invariant: every pair comes once and in order. A page begins at the last key that was seen, which is then left out: so
the end of a page needs no arithmetic on keys, in either direction.
"""

from typing import Protocol, TypeVar

from dkv.model.errors import InvalidRequest
from dkv.wire import methods, replies, requests

PAGE_PAIRS = 10_000
"""A page lasts tens of milliseconds for a reader who keeps up."""
MESSAGES_MAX = 512
"""Taken from a stream at once."""


T = TypeVar("T")


class ScanRefused(InvalidRequest):
    """The server does not like the request; what it says is in the text."""


class Cursor(Protocol[T]):
    """The place of one reader in something long that comes as streams, one after the other."""

    path: str
    is_done: bool

    def request(self) -> bytes:
        """The next stream, from where the reader is."""

    def take(self, messages: list[bytes]) -> list[T]:
        """What messages of the stream bring to the reader."""

    def ended(self) -> None:
        """The stream ended well."""


class Scan:
    """The place of one reader of pairs. Decides what to ask for and what to pass on; reads nothing itself."""

    path = methods.ITERATE_PATH

    def __init__(self, prefix: bytes, start: bytes, *, terms: bytes, limit: int | None, reverse: bool) -> None:
        if limit is not None and limit < 0:
            raise InvalidRequest(f"the limit of a scan is not negative: {limit}")
        self._prefix, self._terms, self._reverse = prefix, terms, reverse
        self._start, self._last = start, b""
        self._left = limit
        self._page = 0
        """Pairs that the page under way may still bring."""
        self.is_done: bool = limit == 0

    def request(self) -> bytes:
        """The next page, from where the reader is."""
        again = 1 if self._last else 0
        self._page = (PAGE_PAIRS if self._left is None else min(self._left, PAGE_PAIRS)) + again
        return requests.iterate(
            self._prefix, self._last or self._start, terms=self._terms, limit=self._page, reverse=self._reverse
        )

    def take(self, messages: list[bytes]) -> list[tuple[bytes, bytes]]:
        """The pairs that messages of the page bring to the reader. Raises ScanRefused, or MalformedReply."""
        try:
            pairs = replies.pairs(messages)
        except replies.RequestRefused as refusal:
            raise ScanRefused(str(refusal)) from refusal
        self._page -= len(pairs)
        if pairs and pairs[0][0] == self._last:
            del pairs[0]
        if not pairs:
            return pairs
        if self._left is not None:
            del pairs[self._left :]  # servers of the original do not know limits
            self._left -= len(pairs)
            self.is_done = self._left == 0
        if self._reverse and max(pairs[0][0], pairs[-1][0]) > (self._last or pairs[0][0]):
            raise ScanRefused("this server does not know reverse order")
        self._last = pairs[-1][0]
        return pairs

    def ended(self) -> None:
        """The page ended well: with fewer pairs than it could bring, there are no more."""
        if self._page > 0:
            self.is_done = True
