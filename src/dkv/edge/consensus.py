"""Consensus as the node drives it: the Raft groups and the log under them, joined behind one object.

The durability rule is the `Relay`'s to keep: it alone hands to the log, acknowledges and sends, in the node's turns and
where the node waits, so that a turn is taken only for what the node has to decide or apply. Here is the rest: how
groups begin and end, and what is read of the log.

The log may be the native one, or a simulated one with the same methods and those of `RelayLog`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from dkv._native import Raft, Relay
from dkv.model.errors import Corrupt, StorageFailed
from dkv.ports.consensus import NOTHING_BUT_ENTRIES, Conf, EntryTuple, LogBounds, Ready

if TYPE_CHECKING:
    from dkv._native import GroupNews

_READ_BYTES_MAX = 8 << 20
"""Entries read at once when a group is opened."""
_BEHIND_COUNT = 256
_BEHIND_BYTES_MAX = 4 << 20
"""Applied entries that are loaded again, for followers a little behind: this many, or this many bytes."""
_FOLLOWER_BYTES = 1 << 20
"""Entries read at once for a follower: as much as one message carries."""
_FOLLOWER_TOKENS = 1 << 63
"""Reads for followers count from here, those for the history from 1."""
_FOLLOWER = 0
_NO_VOTE = 1, 0, 0
"""(term, vote, commit) of a replica that has nothing: it has voted for nobody yet."""


class LogPort(Protocol):
    """What consensus needs of a log: `dkv._native.Log`, or one that forgets what was not synced."""

    def state(self, group: int) -> tuple[tuple[int, int, int], int, int] | None: ...
    def read(self, group: int, low: int, high: int, bytes_max: int) -> list[EntryTuple]: ...
    def create_group(self, group: int, hard_state: tuple[int, int, int], prev_index: int, prev_term: int) -> None: ...
    def reset_group(self, group: int, hard_state: tuple[int, int, int], prev_index: int, prev_term: int) -> None: ...
    def prev(self, group: int) -> tuple[int, int]: ...
    def cut(self, group: int, index: int) -> None: ...
    def fetch(self, token: int, group: int, low: int, high: int, bytes_max: int) -> None: ...
    def fetched(self) -> list[tuple[int, list[EntryTuple] | str]]: ...
    def stats(self) -> Mapping[str, object]: ...
    def close(self) -> None: ...


class FollowerRead(NamedTuple):
    """What is being read of the log for a follower far behind."""

    vbucket: int
    low: int
    high: int
    prev_term: int | None
    """Of the entry before `low`; None: that entry is read, too."""


class NativeConsensus:
    """Owns a `Raft` and its log. One thread may touch it."""

    def __init__(self, raft: Raft, log: LogPort) -> None:
        self._raft = raft
        self._log = log
        self.relay: Relay = Relay(raft, cast(Any, log))
        """Python receives and sends what there is, until it is told whom to serve."""
        self._applied: dict[int, int] = {}
        self._asked: dict[int, FollowerRead] = {}
        self._token = _FOLLOWER_TOKENS
        self._fetched: list[tuple[int, list[EntryTuple] | str]] = []
        """For others than Raft."""

    def create_group(self, vbucket: int, conf: Conf, prev_index: int = 1, prev_term: int = 1) -> None:
        """Give a new group its first state in the log, synced. Its members are the engine's to keep; `open_group` is
        told them. ValueError when the log has the group already."""
        if not conf[0]:
            raise ValueError(f"vBucket {vbucket} has no voter")
        self._log.create_group(vbucket, (prev_term, 0, prev_index), prev_index, prev_term)

    def create_empty_group(self, vbucket: int) -> None:
        """Give a replica that has nothing, not even members, its first state in the log, synced. Its log ends before
        any other begins, so whoever leads finds that it needs a snapshot. The log of a former replica, which was
        another one to Raft, is dropped. ValueError when the group is open."""
        if vbucket in self._applied:
            raise ValueError(f"the group of vBucket {vbucket} is open")
        if self.has_group(vbucket):
            self._reset(vbucket, _NO_VOTE, 0, 0)
        else:
            self._log.create_group(vbucket, _NO_VOTE, 0, 0)

    def has_group(self, vbucket: int) -> bool:
        """Whether the log knows the group, open or not."""
        return self._log.state(vbucket) is not None

    def open_group(
        self, vbucket: int, replica: int, conf: Conf, applied: int, *, installed_term: int | None = None
    ) -> None:
        """Start a group where the engine stands: `conf` are the members as of `applied`.

        `installed_term` is the term of `applied`, and says that the metadata row is that of a snapshot, synced, with
        nothing applied behind it: only then may the log stand elsewhere, and begins anew there (INVARIANTS 4).
        Otherwise raises Corrupt when the log and the engine cannot belong together (INVARIANTS 2).
        """
        if installed_term is not None:
            self._follow_snapshot(vbucket, applied, installed_term)
        state = self._log.state(vbucket)
        if state is None:
            raise Corrupt(f"vBucket {vbucket} is applied to {applied}, and the log does not know it")
        (term, vote, commit), first, last = state
        if not first - 1 <= applied <= last:
            raise Corrupt(f"vBucket {vbucket} is applied to {applied}, but its log is {first} to {last}")
        has_peers = sum(len(members) for members in conf[:4]) > 1
        (prev_index, prev_term), behind = self._before(vbucket, applied, first, has_peers)
        entries = behind + self._read(vbucket, applied + 1, last + 1)
        hard_state = (term, vote, max(commit, applied))  # the commit index is written lazily
        self._raft.open_group(
            vbucket, replica, conf, applied, hard_state, prev_index, prev_term, entries, log_first=first
        )
        self._applied[vbucket] = applied

    def close_group(self, vbucket: int) -> bool:
        """Stop a group; its log stays."""
        self._applied.pop(vbucket, None)
        is_closed = self._raft.close_group(vbucket)
        self.relay.forget(vbucket)
        return is_closed

    def begin_install(self, vbucket: int, index: int, term: int) -> bool:
        """Stop the group, so that the engine can take a snapshot as of (index, term) over; `open_group` starts it
        again, with `installed_term` once the engine has synced the flip, without when it came to nothing.

        False, and nothing was done: the own log leads there, or beyond.
        """
        if not self._raft.may_install(vbucket, index, term):
            return False
        self.close_group(vbucket)
        return True

    def begin_install_over_log(self, vbucket: int) -> bool:
        """The same for a replica that cannot apply what its log leads to: the log stays as far as it goes.

        False: not now. A group that is opened again takes everything in its log for durable, so it has to be, term and
        vote included: they were written before the last entry, if that is of this term.
        """
        status: Mapping[str, Any] = self._raft.status(vbucket)
        last: int = status["last_index"]
        if status["role"] != _FOLLOWER or status["persisted"] != last:
            return False
        [(_, last_term, _, _)] = self._log.read(vbucket, last, last + 1, 0)
        if last_term != status["term"]:
            return False
        self.close_group(vbucket)
        return True

    def report_snapshot(self, vbucket: int, replica: int, index: int | None) -> None:
        """How a snapshot for a follower ended: installed as of an index, or None. Then `Ready.snapshots_wanted` names
        the follower again, at its next reply at the latest: whoever needs a pause reports late."""
        self._raft.report_snapshot(vbucket, replica, index)

    def campaign(self, vbucket: int) -> bool:
        return self._raft.campaign(vbucket)

    def tick(self, count: int) -> None:
        self._raft.tick(count)

    def drowsy(self, ticks: int) -> list[tuple[int, int, int]]:
        """(vBucket, term, last index) of the leaders here that have had nothing to do for so many ticks and may sleep.
        Not for every turn: it costs as much as the groups that are awake."""
        return self._raft.drowsy(ticks)

    def sleep(self, places: Sequence[tuple[int, int, int]]) -> list[int]:
        """Put groups to sleep that stand at (vBucket, term, last index), as leader or follower. Returns those that have
        more to do. No time passes in a group that sleeps; whatever is new wakes it."""
        return self._raft.sleep(places)

    def wake(self, vbuckets: Sequence[int], *, leader_is_lost: bool = False) -> None:
        """Let time pass again: who follows misses a leader an election timeout from now, if there is none; within a few
        ticks with `leader_is_lost`. Who leads gives up then, when he hears of no quorum."""
        self._raft.wake(vbuckets, leader_is_lost=leader_is_lost)

    def step(self, messages: Sequence[tuple[int, bytes]]) -> list[tuple[int, str]]:
        """Peer messages (vBucket, bytes). Returns those that were ignored: (position, reason)."""
        return self._raft.step(messages)

    def propose(self, vbucket: int, data: bytes) -> tuple[int, int] | None:
        """(term, index), or None: not the leader, or not now."""
        return self._raft.propose(vbucket, data)

    def propose_conf_change(
        self, vbucket: int, changes: Sequence[tuple[int, int]], transition: int, context: bytes = b""
    ) -> tuple[int, int] | None:
        """(term, index), or None: not the leader, not now, not possible, or it would leave out the leader."""
        return self._raft.propose_conf_change(vbucket, changes, transition, context)

    def decode_conf_change(self, data: bytes) -> tuple[list[tuple[int, int]], bytes]:
        """(changes, context) of an entry of kind 2; neither when a joint state is left by it."""
        return self._raft.decode_conf_change(data)

    def apply_conf_change(self, vbucket: int, index: int, data: bytes) -> Conf:
        """The members that belong into the batch of this entry."""
        return self._raft.apply_conf_change(vbucket, index, data)

    def transfer_leader(self, vbucket: int, to: int) -> bool:
        """Start handing leadership over; `Ready.transfer` tells how it ended. Nothing can be proposed meanwhile."""
        return self._raft.transfer_leader(vbucket, to)

    def all_matched(self, vbucket: int) -> int:
        """The smallest index that all voters have on disk; 0 when this replica does not lead."""
        return self._raft.all_matched(vbucket)

    def watch_all(self, vbucket: int, is_watched: bool) -> None:
        """Whether `Ready.all_matched` tells when that has changed."""
        self._raft.watch_all(vbucket, is_watched)

    def read_index(self, vbucket: int, context: bytes) -> bool:
        """Ask up to where a read must see; the answer comes in `Ready.reads` or `Ready.reads_lost`."""
        return self._raft.read_index(vbucket, context)

    def lease_place(self, vbucket: int) -> tuple[int, int] | None:
        """(term, commit index) of a replica that may hold a lease if a quorum has vowed; None: it may not."""
        return self._raft.lease_place(vbucket)

    def advance(self, *, in_line: bool = False) -> list[Ready]:
        """Acknowledge what became durable, hand new writes to the log, return the groups that have news. With `in_line`
        a little may be written on this thread, where the disk has been quick of late.

        Raises StorageFailed once a write or sync has failed: nothing may be acknowledged after that.
        """
        if self._asked:
            self._take_fetched()
        return [
            tuple.__new__(Ready, (*group, *NOTHING_BUT_ENTRIES)) if len(group) == 2 else self._told(group)
            for group in self._relayed(in_line)
        ]

    def _told(self, group: "GroupNews") -> Ready:
        vbucket, committed, messages, reads, reads_lost, leadership, fetches, *_ = group
        for low, high in fetches:
            self._read_for_follower(vbucket, low, high)
        return Ready(vbucket, committed, messages, reads, reads_lost, leadership, *group[7:])

    def be_patient(self, is_patient: bool) -> None:
        """Whether nobody waits for what followers here have to apply: it comes later then, more of it at once."""
        self.relay.be_patient(is_patient)

    def applied(self, marks: list[tuple[int, int]]) -> None:
        """(vBucket, index) applied."""
        self._raft.applied(marks)
        self._applied.update(marks)

    def release(self, vbucket: int, index: int) -> None:
        """Raft needs nothing up to `index` in memory any more; never beyond what is applied."""
        self._raft.compact(vbucket, min(index, self._applied[vbucket]))

    def cut(self, vbucket: int, index: int) -> None:
        """The log up to `index` is not needed any more, in memory and on disk; never beyond what is applied."""
        index = min(index, self._applied[vbucket])
        self._raft.cut(vbucket, index)
        self._log.cut(vbucket, index)

    def fetch(self, token: int, vbucket: int, low: int, high: int, bytes_max: int) -> None:
        """Read entries [low, high) of the log off the turn; `fetched` has them, or why not, later."""
        try:
            self._log.fetch(token, vbucket, low, high, bytes_max)
        except ValueError as refused:
            self._fetched.append((token, str(refused)))

    def fetched(self) -> list[tuple[int, list[EntryTuple] | str]]:
        """What `fetch` was asked for, in any order."""
        self._take_fetched()
        fetched, self._fetched = self._fetched, []
        return fetched

    def _read_for_follower(self, vbucket: int, low: int, high: int) -> None:
        """What lies below the window in memory comes from the log, off the turn (INVARIANTS 19)."""
        prev_index, prev_term = self._log.prev(vbucket)
        self._ask(FollowerRead(vbucket, low, high, prev_term if prev_index == low - 1 else None))

    def _ask(self, asked: FollowerRead) -> None:
        self._token += 1
        self._asked[self._token] = asked
        low = asked.low if asked.prev_term is not None else asked.low - 1
        self.fetch(self._token, asked.vbucket, low, asked.high, _FOLLOWER_BYTES)

    def _take_fetched(self) -> None:
        """Gives Raft what was read for followers, and keeps the rest for who asked."""
        fetched, self._fetched = self._fetched + self._log.fetched(), []
        for token, entries in fetched:
            if (asked := self._asked.pop(token, None)) is None:
                self._fetched.append((token, entries))
            elif isinstance(entries, str):
                self._raft.fetched(asked.vbucket, asked.low, 0, [])  # cut meanwhile: Raft sees that when it asks again
            elif asked.prev_term is not None:
                self._raft.fetched(asked.vbucket, asked.low, asked.prev_term, entries)
            elif len(entries) > 1:
                self._raft.fetched(asked.vbucket, asked.low, entries[0][1], entries[1:])
            else:  # the entry before was as much as may be read at once
                self._ask(asked._replace(prev_term=entries[0][1]))

    def log_bounds(self, vbucket: int) -> LogBounds:
        """The first and the last entry the log keeps; first = last + 1 when it keeps none."""
        state = self._log.state(vbucket)
        if state is None:
            raise KeyError(vbucket)
        return LogBounds(state[1], state[2])

    def status(self, vbucket: int) -> dict[str, object]:
        return self._raft.status(vbucket)

    def stats(self) -> Mapping[str, object]:
        return self._log.stats()

    def raft_stats(self) -> Mapping[str, object]:
        """groups and awake, now; elections begun, leader_changes, proposals, committed entries, messages sent and
        received {kind: count}, ever."""
        return self._raft.stats()

    def close(self) -> None:
        """Finish and sync what was handed over. Idempotent."""
        self._log.close()

    def _follow_snapshot(self, vbucket: int, index: int, term: int) -> None:
        """Lets the log begin anew behind a snapshot, unless it has been there already. Then nothing is lost that was
        acknowledged: entries behind the snapshot are durable only together with the new beginning."""
        state = self._log.state(vbucket)
        if state is None:
            return
        (own_term, vote, _), first, last = state
        if first <= index <= last:
            [(_, found, _, _)] = self._log.read(vbucket, index, index + 1, 0)
            if found == term:
                return
        elif first > index:
            return
        hard_state = (own_term, vote, index) if term <= own_term else (term, 0, index)
        self._reset(vbucket, hard_state, index, term)

    def _reset(self, vbucket: int, hard_state: tuple[int, int, int], prev_index: int, prev_term: int) -> None:
        try:
            self._log.reset_group(vbucket, hard_state, prev_index, prev_term)
        except OSError as error:
            raise StorageFailed(f"the log: {error}") from error

    def _relayed(self, in_line: bool) -> "list[GroupNews | tuple[int, list[EntryTuple]]]":
        try:
            return self.relay.advance(in_line=in_line)
        except OSError as error:
            raise StorageFailed(f"the log: {error}") from error

    def _before(
        self, vbucket: int, applied: int, first: int, has_peers: bool
    ) -> tuple[tuple[int, int], list[EntryTuple]]:
        """(index, term) just before the window, and the applied entries that open it."""
        if applied < first:
            return self._log.prev(vbucket), []
        behind = self._read(vbucket, max(first, applied - _BEHIND_COUNT) if has_peers else applied, applied + 1)
        bytes_kept, start = 0, len(behind) - 1
        while start > 0 and bytes_kept <= _BEHIND_BYTES_MAX:
            bytes_kept += len(behind[start][3])
            start -= 1
        index, term, _, _ = behind[start]
        return (index, term), behind[start + 1 :]

    def _read(self, vbucket: int, low: int, high: int) -> list[EntryTuple]:
        entries: list[EntryTuple] = []
        while low < high:
            part = self._log.read(vbucket, low, high, _READ_BYTES_MAX)
            entries += part
            low += len(part)
        return entries
