"""What must hold of leases, looked at after every turn: whoever answered from one in it is the latest leader there is.

Clients see it break only when they happen to read what the next leader has written already.
"""

from collections.abc import Iterator

from dkv.node.hosted import Hosted
from dkv.testing.cluster.member import Member
from dkv.testing.cluster.raft_checks import RaftChecks


class LeaseChecks:
    """Of one vBucket, owned by the world of one run."""

    def __init__(self, raft_checks: RaftChecks) -> None:
        self._raft_checks = raft_checks
        self._seen: dict[int, tuple[int, int]] = {}
        """(life, answers) by number of the member."""
        self.answers: int = 0

    def look(self, member: Member, hosted: Hosted) -> Iterator[str]:
        """Complaints about one replica after a turn of its node."""
        answers, (life, before) = hosted.reads.lease.answers, self._seen.get(member.number, (0, 0))
        self._seen[member.number] = (member.lives, answers)
        news = answers - (before if life == member.lives else 0)
        self.answers += news
        if news and self._raft_checks.latest_term > hosted.term:
            latest = self._raft_checks.latest_term
            yield f"node {member.number} answered from a lease of term {hosted.term}, and term {latest} has a leader"
