"""What a restore waits for: the lead of its vBuckets, other replicas, its commands. Each is looked at once a turn.

`look` returns None as long as there is nothing to say, or raises what ends the restore: nothing that was proposed may
still be applied then.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from dkv.jobs.restore import Answer, Propose, Spread
from dkv.model.backups import Finished, Phase, Progress
from dkv.model.commands import Restore
from dkv.model.errors import BackupFailed, NoLeader, OutcomeUnknown
from dkv.node.hosted import Hosted
from dkv.node.membership import Membership
from dkv.node.peering import Peering
from dkv.node.spreading import Spreading
from dkv.node.stagings import Stagings
from dkv.ports.clock import Now
from dkv.ports.consensus import Conf, Consensus
from dkv.ports.store import Store
from dkv.vbucket.replica import EntryResult

LEAD_MS_MAX = 15_000
"""Some elections."""
LEAD_AGAIN_MS = 1_000
NOTHING: Mapping[int, Finished] = {}


class Wait(Protocol):
    """Owned by the job."""

    @property
    def progress(self) -> Progress: ...
    def look(self, now: Now) -> Answer: ...
    def note_applied(self, results: Mapping[int, list[EntryResult]]) -> None:
        """What was applied in this turn, by vBucket."""


class Surroundings(NamedTuple):
    """What of the node a restore waits for. `membership` and `peering` are None on a server that stands alone."""

    vbuckets: Mapping[int, Hosted]
    consensus: Consensus
    store: Store
    stagings: Stagings
    peering: Peering | None
    membership: Membership | None


class Office(NamedTuple):
    """The lead of a vBucket, as it was when a restore began: it must be the same until its command is proposed."""

    hosted: Hosted
    term: int
    members: Conf

    def check(self) -> None:
        """Raises BackupFailed when it is another one."""
        vbucket = self.hosted.vbucket
        if not self.hosted.is_leading or self.hosted.term != self.term:
            raise BackupFailed(f"the lead of vBucket {vbucket} was lost meanwhile: nothing was replaced")
        if self.hosted.replica.members != self.members:
            raise BackupFailed(f"the members of vBucket {vbucket} have changed meanwhile: nothing was replaced")


def check_members(vbuckets: Mapping[int, Hosted]) -> None:
    """This node must be able to lead, and nobody on the way in or out. Raises BackupFailed."""
    for vbucket, hosted in vbuckets.items():
        voters, learners, outgoing, learners_next, _ = hosted.replica.members
        if learners or outgoing or learners_next:
            raise BackupFailed(f"the members of vBucket {vbucket} are being changed: restore when that is over")
        if hosted.replica.replica not in voters:
            raise BackupFailed(f"this node has no vote in vBucket {vbucket}, and cannot lead its restore: ask another")


class LeadWait:
    """Until this node leads every vBucket."""

    def __init__(self, around: Surroundings, now: Now) -> None:
        self._around = around
        self._begun_ms = now.monotonic_ms
        self._asked_ms = now.monotonic_ms - LEAD_AGAIN_MS
        self.offices: list[Office] = []
        """Once it does."""

    @property
    def progress(self) -> Progress:
        return Progress(Phase.VERIFY, is_waiting=True)

    def look(self, now: Now) -> Answer:
        vbuckets = self._around.vbuckets
        check_members(vbuckets)
        others = [hosted for hosted in vbuckets.values() if not hosted.is_leading]
        if not others:
            self.offices = [Office(each, each.term, each.replica.members) for each in vbuckets.values()]
            return NOTHING
        if now.monotonic_ms - self._begun_ms >= LEAD_MS_MAX:
            address = self._address(others[0])
            raise NoLeader(f"this node cannot take the lead of vBucket {others[0].vbucket}{address}")
        if now.monotonic_ms - self._asked_ms >= LEAD_AGAIN_MS and self._around.membership is not None:
            self._asked_ms = now.monotonic_ms
            for hosted in others:
                if not hosted.is_leader and hosted.leader_node:
                    self._around.membership.transfer(hosted.vbucket, hosted.replica.replica)
        return None

    def _address(self, hosted: Hosted) -> str:
        members = hosted.replica.directory.members()
        found = [member.address for member in members if member.replica == hosted.leader]
        return f", {found[0]} leads it: ask there" if found else ": nobody leads it"

    def note_applied(self, results: Mapping[int, list[EntryResult]]) -> None:
        """Nothing of it is waited for."""


class SpreadWait:
    """Until the other replicas have what is staged."""

    def __init__(self, step: Spread, around: Surroundings, bytes_staged: int, now: Now) -> None:
        self._stagings, self._bytes_staged = around.stagings, bytes_staged
        self.spreading: Spreading | None = None
        """None: there are no others."""
        if around.peering is not None:
            self.spreading = Spreading(step.staged, around.vbuckets, around.store, around.peering, now)
        self._stagings.spreading = self.spreading

    @property
    def progress(self) -> Progress:
        if self.spreading is None or not self.spreading.count:
            return Progress(Phase.SWITCH, is_waiting=True)
        total = max(self._bytes_staged * self.spreading.count, self.spreading.bytes_sent)
        return Progress(Phase.SPREAD, self.spreading.bytes_sent, total, is_waiting=True)

    def look(self, now: Now) -> Answer:
        if self.spreading is not None:
            if not self.spreading.is_enough(now):
                return None
            self.spreading.close()
        return NOTHING

    def note_applied(self, results: Mapping[int, list[EntryResult]]) -> None:
        """Nothing of it is waited for."""


class Proposed(NamedTuple):
    """Where in its log a command is, unless another leader has put something else there."""

    hosted: Hosted
    term: int
    log_index: int
    command: Restore


class ProposalWait:
    """Until every command was applied, or cannot be. Each is proposed once only: while it may still be applied nothing
    is given up and nothing repeated."""

    def __init__(self, step: Propose, around: Surroundings, offices: list[Office]) -> None:
        self._consensus, self._offices = around.consensus, offices
        self._waiting: dict[int, tuple[Office, Restore]] = {
            office.hosted.vbucket: (office, step.commands[office.hosted.vbucket]) for office in offices
        }
        """Not proposed yet."""
        self._places: dict[int, Proposed] = {}
        self._results: dict[int, EntryResult] = {}
        self._finished: dict[int, Finished] = {}
        self._passed: list[int] = []
        """Of these a snapshot has brought what came of the command, without saying it."""

    @property
    def progress(self) -> Progress:
        return Progress(Phase.SWITCH, is_waiting=True)

    def look(self, now: Now) -> Answer:
        if self._waiting:
            self._propose(now)
        for vbucket, (hosted, term, index, command) in list(self._places.items()):
            if (result := self._results.get(vbucket)) is not None:
                del self._places[vbucket]
                if result.term == term:
                    number = result.outcomes[0].change_number
                    self._finished[vbucket] = Finished(number, command.history_id, result.log_time)
            elif hosted.replica.applied_index >= index:
                del self._places[vbucket]
                self._passed.append(vbucket)
        if self._waiting or self._places:
            return None
        if self._passed:
            raise OutcomeUnknown("another node took over and has sent a snapshot: look whether the data were replaced")
        return self._finished

    def _propose(self, now: Now) -> None:
        """What the log takes now; the rest in the next turn. Before the first one everything is looked at again, as
        nothing can be taken back then."""
        if not self._places and not self._finished:
            for office in self._offices:
                office.check()
        for vbucket, (office, command) in list(self._waiting.items()):
            replica = office.hosted.replica
            try:
                office.check()
            except BackupFailed:
                del self._waiting[vbucket]
                continue
            proposal = replica.propose([command], now)
            accepted = self._consensus.propose(vbucket, proposal.data)
            if accepted is not None:
                term, index = accepted
                replica.note_proposed(index, term, proposal)
                del self._waiting[vbucket]
                self._places[vbucket] = Proposed(office.hosted, term, index, command)

    def note_applied(self, results: Mapping[int, list[EntryResult]]) -> None:
        for vbucket, place in self._places.items():
            for result in results.get(vbucket, ()):
                if result.index == place.log_index:
                    self._results[vbucket] = result
