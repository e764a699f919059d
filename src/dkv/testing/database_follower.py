"""A simulated follower of all vBuckets of a database in one stream, with a place in each.

What a `Follower` promises itself of one vBucket holds in each of them: every change once, in order, no number left out
but where it was told so. It resumes with what the last messages said, at any node, which may be behind in some of them.
A vBucket whose history was cut ends the stream for all of them.
"""

from collections.abc import Mapping
from random import Random

from dkv.model.errors import Code
from dkv.testing.edge import Reply
from dkv.testing.follower import RESUMED_AFTER, STREAM_CHANGES, Follower, Send, number_of, purged
from dkv.testing.protocol import field as encoded
from dkv.testing.protocol import parse

NOT_APPLIED_YET = (*RESUMED_AFTER, Code.FAILED_PRECONDITION)
"""A follower that has changed nodes may be ahead of the new one."""
PLACES, VBUCKET_FIELD = 8, 7


class DatabaseFollower:
    """Owned by the world."""

    def __init__(self, number: int, rng: Random, vbuckets: range) -> None:
        self.number: int = number
        self.rng: Random = rng
        self.at: int = 0
        """The machine that serves it."""
        self.call_id: int | None = None
        self.parts: dict[int, Follower] = {vbucket: Follower(number, rng, b"") for vbucket in vbuckets}

    def act(self, send: Send) -> str:
        """Begin, or resume. Only while no stream is open."""
        message = b""
        for vbucket, part in self.parts.items():
            if not part.history_id:
                part.covered.append(range(part.next_number, part.next_number))
            place = encoded(1, vbucket) + encoded(2, part.next_number) + encoded(6, part.history_id)
            message += encoded(PLACES, place)
        self.call_id = send(STREAM_CHANGES, message)
        return f"from {self.place}"

    def took(self, items: list[bytes]) -> str:
        """What the stream has brought: changes of one vBucket, places in any."""
        for item in items:
            message = parse(item)
            if vbucket := number_of(message, VBUCKET_FIELD):
                self.parts[vbucket].take(message)
            for place in message.get(PLACES, []):
                assert isinstance(place, bytes)
                fields = parse(place)
                self.parts[number_of(fields, 1)].take(fields | {1: []})
        return f"{len(items)} messages, next is {self.place}"

    def replied(self, reply: Reply, history_ids: Mapping[int, bytes]) -> str:
        """The stream has ended, by a node that follows these histories now, by vBucket."""
        self.took(reply.items)
        self.call_id = None
        if reply.code == Code.OUT_OF_RANGE:
            fields = purged(reply.details)
            vbucket = number_of(fields, 4)
            self.parts[vbucket].cut(fields, history_ids[vbucket])
        elif reply.code not in NOT_APPLIED_YET:
            self.parts[min(self.parts)].complaints.append(f"the stream ended with {reply.code}: {reply.reason}")
        return f"{reply.code} {reply.reason}"

    def lost(self) -> None:
        """The stream is gone, with what had not been taken of it."""
        self.call_id = None

    @property
    def place(self) -> dict[int, int]:
        """Where it is, by vBucket."""
        return {vbucket: part.next_number for vbucket, part in self.parts.items()}

    def has_all(self, latest: Mapping[int, int]) -> bool:
        """Up to these change numbers, by vBucket."""
        return all(part.next_number > latest[vbucket] for vbucket, part in self.parts.items())
