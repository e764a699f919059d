"""Backups and restores of a simulated cluster: an operator asks any node, and the shelf is one that all of them reach.

A node backs up what it has applied, so a backup is a read that says which change it has seen, no more. A restore is a
write of every key at once, on all replicas or on none. The diary knows the state behind each entry from whichever node
applied it first: replicas do not differ.
"""

from collections.abc import Iterator, Mapping
from random import Random

from dkv.jobs.stage import named_spaces
from dkv.model.errors import Code
from dkv.node.hosted import Hosted
from dkv.storage.memory import MemoryStore
from dkv.testing.backups import Shelved
from dkv.testing.clients import ALL_KEYS
from dkv.testing.cluster.member import Member
from dkv.testing.diary import Diary, Moment, Target
from dkv.testing.edge import Reply
from dkv.testing.history import Call, History, Kind, Level
from dkv.testing.operator import THE_BACKUP, Operator, Send
from dkv.vbucket.replica import Replica
from dkv.vbucket.routing import FIRST_VBUCKET
from dkv.vbucket.rows import unnamed_ranges


class ClusterDiary(Diary):
    """What the state was behind each entry with which some turn of some node has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._known: set[int] = set()

    def note(self, replica: Replica, store: MemoryStore) -> None:
        """A turn has ended."""
        index = replica.applied_index
        if index not in self._known and not store.damaged:
            self._known.add(index)
            rows = dict(zip(ALL_KEYS, store.get_many(replica.row_keys(list(ALL_KEYS))), strict=True))
            found = index, replica.change_number, replica.log_time, replica.history_id
            self._moments.append(Moment(*found, rows))
            if len(self._moments) > 1 and self._moments[-2].log_index > index:
                self._moments.sort(key=lambda moment: moment.log_index)


class ClusterOperator(Operator):
    """Waits at one node for what it has asked of it."""

    restores: float = 0.7

    def __init__(self, number: int, rng: Random, history: History, members: list[Member], vbuckets: range) -> None:
        self.diaries: dict[int, ClusterDiary] = {vbucket: ClusterDiary() for vbucket in vbuckets}
        """By vBucket."""
        super().__init__(number, rng, history, members[0].shelf, self.diaries[FIRST_VBUCKET], len(vbuckets))
        self._member = members[0]
        for member in members:
            self.lends_to(member)

    def lends_to(self, member: Member) -> None:
        """What is on the shelf is there for this machine, too."""
        member.shelf.kept = self._shelf.kept

    @property
    def at(self) -> int:
        """The number of the machine that it waits for."""
        return self._member.number

    def ask(self, member: Member, send: Send) -> str:
        """Something of this node. Only while nothing is open."""
        self._member, self._shelf = member, member.shelf
        line = self.act(send)
        assert self.call is not None
        if self.call.kind is Kind.GET:
            self.call.level = Level.SEQUENTIAL
        return line

    def replied(self, reply: Reply) -> str:
        """It is over; or nobody knows whether it is."""
        call = self.call
        assert call is not None
        if reply.code == Code.DEADLINE_EXCEEDED:
            self.lost()
            return f"{reply.code} {reply.reason} {call}"
        return super().replied(reply)

    def note(self, member: Member, vbuckets: Mapping[int, Hosted]) -> None:
        """A turn of this node has ended."""
        for vbucket, hosted in vbuckets.items():
            self.diaries[vbucket].note(hosted.replica, member.store)

    def _choose_target(self, shelved: Shelved) -> Target:
        """Of several vBuckets a point is a time whose state is known of each."""
        if self._vbuckets == 1:
            return super()._choose_target(shelved)
        known = {facts.vbucket: self.diaries[facts.vbucket].spans(facts) for facts in shelved.vbuckets}
        times = [time for spans in known.values() for span in spans for time in (span.begin, span.end - 1)]
        for time in self._rng.sample(times, len(times)):
            moments = {
                vbucket: span.moment
                for vbucket, spans in known.items()
                for span in spans
                if span.begin <= time < span.end
            }
            if moments.keys() == known.keys():
                return Target(0, time, moments)
        return THE_BACKUP

    def _ok(self, call: Call) -> None:
        call.node = self._member.node_id
        call.applied_in = {facts.vbucket: facts.change_number for facts in self._shelf.kept[self._path].vbuckets}
        self._history.ok(call, seen=self._seen(), applied=call.applied_in[FIRST_VBUCKET])


def left_over(members: list[Member], vbuckets: range) -> Iterator[str]:
    """What restores have left on nodes at rest: something staged, or rows of a block that nobody serves."""
    for member in members:
        assert member.life is not None
        for vbucket, row in zip(vbuckets, member.store.get_many(list(map(Replica.staging_key, vbuckets))), strict=True):
            if row is not None:
                yield f"node {member.number}: a restore of vBucket {vbucket} is staged: {row.hex()}"
        for start, end in unnamed_ranges(named_spaces(member.store)):
            scan = member.store.scan(start, end)
            if rows := scan.take(1, 1):
                yield f"node {member.number}: a row of no block that is served: {rows[0][0].hex()}"
            scan.close()
