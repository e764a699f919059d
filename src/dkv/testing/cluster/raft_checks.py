"""What the Raft paper promises (figure 3), looked for in the Raft objects and their disks after every turn.

| promise             | how it is seen here                                                                         |
|---------------------|---------------------------------------------------------------------------------------------|
| election safety     | whoever leads in a term is the only one that was ever seen to                               |
| one vote a term     | who has a vote for a term on its disk has the same one in mind                              |
| log matching        | an (index, term) names one entry, with one (term) before it, in whatever log it is written  |
| leader completeness | a new leader's log has every entry that anybody has called committed                        |
| state machine safety| what one calls committed at an index is what all others do                                  |
| durability          | when an entry is first called committed, a quorum of disks has it, synced                   |

The quorum may be that of the members before this turn, too: a change of them counts from the entry behind it on.

Clients cannot see most of these break until much later, if at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dkv.node.role import LEADER
from dkv.ports.consensus import Conf
from dkv.testing.log import Appended
from dkv.testing.log_disk import LogDisk
from dkv.testing.machine import VBUCKET, Life

Written = tuple[int, int, bytes]
"""(term of the entry before, kind, data)"""


class RaftChecks:
    """Of one vBucket. Owned by the world of one run. Replicas are Raft ids."""

    def __init__(self, vbucket: int = VBUCKET) -> None:
        self._vbucket = vbucket
        self._leaders: dict[int, int] = {}
        self._written: dict[tuple[int, int], Written] = {}
        self._committed: dict[int, int] = {}
        """Term by index."""

    @property
    def committed(self) -> int:
        """How many entries were committed."""
        return len(self._committed)

    @property
    def terms(self) -> int:
        """In how many terms somebody led."""
        return len(self._leaders)

    @property
    def latest_term(self) -> int:
        """In which somebody led."""
        return max(self._leaders, default=0)

    def look(self, replica: int, life: Life, disks: Mapping[int, LogDisk]) -> Iterator[str]:
        """Complaints about one replica after its turn; `disks` are those of every replica that ever was."""
        status: Mapping[str, Any] = life.raft.status(self._vbucket)
        if status["role"] == LEADER:
            yield from self._leads(replica, life, status["term"])
        yield from self._remembers(replica, status, disks[replica])
        conf = status["conf"]
        seen, conf_before = life.looked_at.get(self._vbucket, (0, conf))
        life.looked_at[self._vbucket] = status["commit"], conf
        for index in range(max(seen, 1) + 1, status["commit"] + 1):
            term = life.log.term_at(self._vbucket, index)
            if term is not None:
                yield from self._is_committed(replica, index, term, (conf_before, conf), disks)

    def appended(self, replica: int, news: Sequence[Appended]) -> Iterator[str]:
        """Complaints about what a log was given."""
        for _, prev_term, entries in news:
            before = prev_term
            for index, term, kind, data in entries:
                written = before, kind, data
                if (known := self._written.setdefault((index, term), written)) != written:
                    yield f"replica {replica}: log matching: entry {index}/{term} is {written} and was {known}"
                before = term

    def _remembers(self, replica: int, status: Mapping[str, Any], disk: LogDisk) -> Iterator[str]:
        term, vote, _ = disk.synced[self._vbucket].hard_state
        if vote and term == status["term"] and vote != status["vote"]:
            yield f"replica {replica}: it has voted for {vote} in term {term}, and says {status['vote']} now"

    def _leads(self, replica: int, life: Life, term: int) -> Iterator[str]:
        known = self._leaders.get(term)
        if known is None:
            self._leaders[term] = replica
            yield from self._is_complete(replica, life, term)
        elif known != replica:
            yield f"election safety: {known} and {replica} both lead in term {term}"

    def _is_complete(self, replica: int, life: Life, term: int) -> Iterator[str]:
        first = life.log.prev(self._vbucket)[0] + 1
        for index, committed in self._committed.items():
            if index >= first and committed < term and life.log.term_at(self._vbucket, index) != committed:
                yield f"leader completeness: {replica} leads in term {term} without entry {index}/{committed}"

    def _is_committed(
        self, replica: int, index: int, term: int, confs: Sequence[Conf], disks: Mapping[int, LogDisk]
    ) -> Iterator[str]:
        known = self._committed.get(index)
        if known is None:
            self._committed[index] = term
            have = {each for each, disk in disks.items() if self.has(disk, index, term)}
            if not any(has_quorum(conf, have) for conf in confs):
                yield f"replica {replica}: entry {index}/{term} is called committed and durable on {sorted(have)} only"
        elif known != term:
            yield f"replica {replica}: state machine safety: entry {index} is committed in terms {known} and {term}"

    def has(self, disk: LogDisk, index: int, term: int) -> bool:
        """Whether the entry is on this disk, synced, or was before it was cut."""
        log = disk.synced.get(self._vbucket)
        return log is not None and (log.prev_index >= index or log.term_at(index) == term)


def has_quorum(conf: Conf, have: set[int]) -> bool:
    """Whether these replicas are a majority of the voters; of both sets in a joint change."""
    voters, _, outgoing, _, _ = conf
    return all(2 * len(have.intersection(each)) > len(each) for each in (voters, outgoing) if each)
