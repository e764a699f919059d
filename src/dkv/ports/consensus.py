"""Consensus and its log: entries go in, committed entries come out, once, in order, durable on a quorum."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

Conf = tuple[list[int], list[int], list[int], list[int], bool]
"""(voters, learners, outgoing voters, next learners, auto leave)"""
EntryTuple = tuple[int, int, int, bytes]
"""(index, term, kind, data); kind 0 is a normal entry, empty data the first entry of a leader."""


class Ready(NamedTuple):
    """What one vBucket's group produced in one turn."""

    vbucket: int
    committed: list[EntryTuple]
    messages: list[tuple[int, bytes]]
    """(peer, message) that may leave now."""
    reads: list[tuple[bytes, int]]
    """(context, index): reads that may be served once `index` is applied."""
    reads_lost: list[bytes]
    leadership: tuple[int, int, int] | None
    """(leader, role, term) when it changed; role 0 follower, 1 candidate, 2 leader, 3 pre-candidate."""


class LogBounds(NamedTuple):
    """The first and the last entry the log keeps; first = last + 1 when it keeps none."""

    first_index: int
    last_index: int


class Consensus(Protocol):
    def has_group(self, vbucket: int) -> bool:
        """Whether the log knows the group."""

    def create_group(self, vbucket: int, conf: Conf, prev_index: int = 1, prev_term: int = 1) -> None: ...
    def open_group(self, vbucket: int, replica: int, conf: Conf, applied: int) -> None: ...
    def campaign(self, vbucket: int) -> bool: ...
    def tick(self, count: int) -> None: ...
    def step(self, messages: Sequence[tuple[int, bytes]]) -> list[tuple[int, str]]:
        """Messages of peers (vBucket, bytes). Returns those that were ignored: (position, reason)."""

    def propose(self, vbucket: int, data: bytes) -> tuple[int, int] | None:
        """(term, index), or None: not the leader, or not now."""

    def read_index(self, vbucket: int, context: bytes) -> bool:
        """Ask the quorum up to where a read must see; the answer comes in `Ready.reads` or `Ready.reads_lost`. False:
        not the leader, or not yet."""

    def apply_conf_change(self, vbucket: int, index: int, data: bytes) -> Conf:
        """The members that a committed entry of kind 1 or 2 leads to; they go into its batch."""

    def transfer_leader(self, vbucket: int, to: int) -> bool:
        """Begin to hand leadership to a replica. Proposals are refused until it is done or an election has passed."""

    def advance(self) -> list[Ready]:
        """Acknowledge what became durable, hand new writes to the log, return the groups that have news.

        Raises StorageFailed once a write or sync of the log has failed."""

    def applied(self, marks: list[tuple[int, int]]) -> None:
        """(vBucket, index) applied."""

    def release(self, vbucket: int, index: int) -> None:
        """Raft needs nothing up to `index` in memory any more: the engine has synced it."""

    def cut(self, vbucket: int, index: int) -> None:
        """The log up to `index` is not needed any more, not as history either; never beyond what was released."""

    def log_bounds(self, vbucket: int) -> LogBounds: ...
    def fetch(self, token: int, vbucket: int, low: int, high: int, bytes_max: int) -> None:
        """Read entries [low, high) off the turn, at least one, about `bytes_max`; `fetched` has them later."""

    def fetched(self) -> list[tuple[int, list[EntryTuple] | str]]:
        """(token, entries or why they could not be read) since the last call. A range that is cut cannot be read."""

    def status(self, vbucket: int) -> dict[str, object]: ...
    def stats(self) -> Mapping[str, object]:
        """Numbers of the log, by name."""

    def close(self) -> None: ...
