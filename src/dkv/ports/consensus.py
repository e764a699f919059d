"""Consensus and its log: entries go in, committed entries come out, once, in order, durable on a quorum."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

TICK_MS = 50
"""What a tick is meant to be: heartbeats every two, and a leader is missed after 11 to 16, which is 0.55 to 0.8 s. A
failover is over within a second then, votes and syncs included, and none comes of a leader's half second of silence."""

ELECTION_TICKS = 10
"""Who has heard of a leader within so many refuses to vote."""
VOW_TICKS = ELECTION_TICKS
"""How long a vow is kept (docs/design/0025): nobody stands for election earlier anyway, so that it delays none."""

Conf = tuple[list[int], list[int], list[int], list[int], bool]
"""(voters, learners, outgoing voters, next learners, auto leave)"""
EntryTuple = tuple[int, int, int, bytes]
"""(index, term, kind, data); kind 0 is a normal entry, empty data the first entry of a leader."""


class Ready(NamedTuple):
    """What one vBucket's group produced in one turn."""

    vbucket: int
    committed: list[EntryTuple]
    messages: Sequence[tuple[int, bytes]]
    """(peer, message) that may leave now."""
    reads: Sequence[tuple[bytes, int]]
    """(context, index): reads that may be served once `index` is applied."""
    reads_lost: Sequence[bytes]
    leadership: tuple[int, int, int] | None
    """(leader, role, term) when it changed; role 0 follower, 1 candidate, 2 leader, 3 pre-candidate."""
    snapshots_wanted: Sequence[int] = ()
    """Replicas that need what the log does not have any more; each is named once until `report_snapshot`."""
    all_matched: int | None = None
    """What all voters have on disk, when it changed and `watch_all` asked for it."""
    transfer: tuple[int, bool] | None = None
    """(to, whether it leads now) when a transfer has ended."""


NOTHING_BUT_ENTRIES = Ready(0, [], (), (), (), None)[2:]
"""What a `Ready` is behind its entries when that is all."""


class LogBounds(NamedTuple):
    """The first and the last entry the log keeps; first = last + 1 when it keeps none."""

    first_index: int
    last_index: int


class Consensus(Protocol):
    def has_group(self, vbucket: int) -> bool:
        """Whether the log knows the group."""

    def create_group(self, vbucket: int, conf: Conf, prev_index: int = 1, prev_term: int = 1) -> None: ...
    def create_empty_group(self, vbucket: int) -> None:
        """Of a replica that has nothing, not even members: whoever leads finds that it needs a snapshot."""

    def open_group(
        self, vbucket: int, replica: int, conf: Conf, applied: int, *, installed_term: int | None = None
    ) -> None:
        """Start a group where the engine stands. `installed_term`: that of `applied`, when the metadata row is, synced,
        the one of a snapshot, and nothing was applied behind it. Raises Corrupt when log and engine cannot belong
        together."""

    def close_group(self, vbucket: int) -> bool:
        """Stop a group; its log stays."""

    def begin_install(self, vbucket: int, index: int, term: int) -> bool:
        """Stop the group, so that the engine can take a snapshot as of (index, term) over. False, and nothing was done:
        it brings nothing that the own log does not."""

    def begin_install_over_log(self, vbucket: int) -> bool:
        """The same for a replica that cannot apply what its log leads to: the log stays as far as it goes. False: not
        now, as it does not follow or something of it is not on disk yet."""

    def report_snapshot(self, vbucket: int, replica: int, index: int | None) -> None:
        """How a snapshot for a follower ended: installed as of an index, or None, and then it is wanted again."""

    def campaign(self, vbucket: int) -> bool: ...
    def tick(self, count: int) -> None:
        """Let time pass, in steps of TICK_MS."""

    def drowsy(self, ticks: int) -> list[tuple[int, int, int]]:
        """(vBucket, term, last index) of leaders here that have had nothing to do for so many ticks and may sleep."""

    def sleep(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        """Put groups to sleep that stand at (vBucket, term, last index), as leader or follower; returns those that have
        more to do. Whatever is new wakes a group."""

    def wake(self, vbuckets: Sequence[int], *, leader_is_lost: bool = False) -> None:
        """Let time pass again. With `leader_is_lost` those that follow stand for election within a few ticks."""

    def step(self, messages: Sequence[tuple[int, bytes]]) -> list[tuple[int, str]]:
        """Messages of peers (vBucket, bytes). Returns those that were ignored: (position, reason)."""

    def propose(self, vbucket: int, data: bytes) -> tuple[int, int] | None:
        """(term, index), or None: not the leader, or not now."""

    def propose_conf_change(
        self, vbucket: int, changes: Sequence[tuple[int, int]], transition: int, context: bytes = b""
    ) -> tuple[int, int] | None:
        """`changes`: (kind, replica) with kind 0 voter, 1 remove, 2 learner; none leaves a joint state. `transition`: 0
        automatic, 1 joint with automatic leave, 2 joint with explicit leave. None: refused."""

    def decode_conf_change(self, data: bytes) -> tuple[list[tuple[int, int]], bytes]:
        """(changes, context) of an entry of kind 2; neither when a joint state is left by it."""

    def apply_conf_change(self, vbucket: int, index: int, data: bytes) -> Conf:
        """For every committed entry of kind 2, once; the members belong into the batch of its index."""

    def read_index(self, vbucket: int, context: bytes) -> bool:
        """Ask the quorum up to where a read must see; the answer comes in `Ready.reads` or `Ready.reads_lost`. False:
        not the leader, or not yet."""

    def lease_place(self, vbucket: int) -> tuple[int, int] | None:
        """(term, commit index) of a replica that may hold a lease if a quorum has vowed: it leads, has committed in its
        term, and has not begun to hand leadership over in it. All that anybody has acknowledged before is at or below
        the index, as long as nobody else leads. None: it may not."""

    def transfer_leader(self, vbucket: int, to: int) -> bool:
        """Start handing leadership over; `Ready.transfer` tells how it ended. Nothing can be proposed meanwhile."""

    def all_matched(self, vbucket: int) -> int:
        """The smallest index that all voters have on disk; 0 when this replica does not lead."""

    def watch_all(self, vbucket: int, is_watched: bool) -> None:
        """Whether `Ready.all_matched` tells when that has changed."""

    def advance(self, *, in_line: bool = False) -> list[Ready]:
        """Acknowledge what became durable, hand new writes to the log, return the groups that have news. With `in_line`
        a little may be written on this thread, where the disk has been quick of late.

        Raises StorageFailed once a write or sync of the log has failed."""

    def be_patient(self, is_patient: bool) -> None:
        """Whether nobody waits for what followers here have to apply, so that it may come a few ms later."""

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

    def raft_stats(self) -> Mapping[str, object]:
        """Numbers of all groups, by name."""

    def close(self) -> None: ...
