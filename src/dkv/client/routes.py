"""The way of each call through a cluster: to which node, for how long, and what its end says about that node.

Both channels of a cluster, for threads and for a loop, ask here before a call and tell here what became of it. What a
caller is told is what its own node said, with two exceptions: a node that takes too long, and one that lacks a change
that another may have, are UNAVAILABLE, which is what makes a client try again, elsewhere.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError

from dkv.client.answers import Answer, Fate, error_of
from dkv.client.levels import Levels
from dkv.client.nodes import Nodes, Seen
from dkv.model.errors import Code, OutcomeUnknown, StaleRead
from dkv.wire import messages as wire
from dkv.wire import methods

WRITES = frozenset(
    (
        methods.PUT_PATH,
        methods.DELETE_PATH,
        methods.COMPARE_AND_SET_PATH,
        methods.MULTI_PUT_PATH,
        methods.DELETE_RANGE_PATH,
    )
)
REPEATED = WRITES | {methods.GET_PATH, methods.MULTI_GET_PATH, methods.GET_NODE_STATUS_PATH}
"""Unary methods that clients try again."""
READ_ON = frozenset((methods.ITERATE_PATH, methods.STREAM_CHANGES_PATH))
"""Streams that clients begin again where they stopped."""
NEWS_S = 10.0
"""Between two looks at the members."""
NEWS_AFTER_FAILURE_S = 0.1
NEWS_MS_MAX = 1_000
REFUSED_S_MAX = 1.5
"""Longer than an election. Who has only been refused for so long asks those again who did not answer once: what is left
may be a minority, or nodes that were removed, and their word on who is up says nothing of the others."""
ASK = wire.GetMembersRequest(vBucket=1).SerializeToString()
"""Of the groups only the first is asked for: who leads how many stands with the nodes."""


class Attempt(NamedTuple):
    """One call to one node."""

    path: str
    address: str
    timeout_ms: int
    is_cut: bool
    """Its caller has more time."""


class Routes:
    """Owns what a client knows of its cluster. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        nodes: Nodes,
        levels: Levels,
        clock: Callable[[], float],
        *,
        learns: bool = True,
        reads_at_leader: bool = False,
    ) -> None:
        """`learns`: asks nodes for the members. `reads_at_leader`: calls go to the leader, not the writes alone."""
        self.nodes = nodes
        self._levels, self._clock, self._learns, self._at_leader = levels, clock, learns, reads_at_leader
        self._news_s = 0.0
        self._refused_s: float | None = None
        """When the first call was refused since one went well."""

    def attempt(self, path: str, timeout_ms: int) -> Attempt:
        """Where this call goes."""
        address = self.nodes.pick(leader=self._at_leader or path in WRITES)
        if path not in REPEATED:
            return Attempt(path, address, timeout_ms, False)
        cut_ms = self.nodes.attempt_ms(address, timeout_ms)
        return Attempt(path, address, cut_ms, cut_ms < timeout_ms)

    def stream(self, path: str, silence_ms: int) -> Attempt:
        """Where this stream goes; `silence_ms` is how long its reader waits for a message. A server at work says
        something in half of it."""
        address = self.nodes.pick(leader=self._at_leader)
        is_cut = path in READ_ON and len(self.nodes.addresses) > 1
        return Attempt(path, address, silence_ms // 2 if is_cut else silence_ms, is_cut)

    def went_well(self, attempt: Attempt, reply: bytes) -> bool:
        """The node answered. True: now is the time to ask it for the members."""
        self.nodes.went_well(attempt.address)
        self._refused_s = None
        if attempt.path in WRITES:
            self._levels.wrote(reply)
        if not self._learns or (now := self._clock()) < self._news_s:
            return False
        self._news_s = now + NEWS_S
        return True

    def failed(self, attempt: Attempt, answer: Answer) -> Answer:
        """What the caller is told."""
        nodes, address = self.nodes, attempt.address
        error = error_of(answer)
        if isinstance(error, StaleRead) and attempt.path not in WRITES:
            has_fresher = nodes.has_fresher(address)
            nodes.is_behind(address)
            return _unavailable(answer, answer.text) if has_fresher else answer
        if answer.fate != Fate.ANSWERED and answer.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
            self._again(lambda: nodes.went_wrong(address, is_silent=True))
        elif isinstance(error, OutcomeUnknown):
            self._again(nodes.lost_leader)
        elif answer.code == Code.UNAVAILABLE:
            self._again(lambda: nodes.went_wrong(address, is_silent=False))
            self._was_refused()
        if answer.code == Code.DEADLINE_EXCEEDED and attempt.is_cut and answer.fate != Fate.ANSWERED:
            return _unavailable(answer, f"no answer from {address} in {attempt.timeout_ms / 1_000:g} s")
        return answer

    def _was_refused(self) -> None:
        since_s, now_s = self._refused_s, self._clock()
        if since_s is None:
            self._refused_s = now_s
        elif now_s - since_s >= REFUSED_S_MAX:
            self._refused_s = None
            self.nodes.give_another_chance()

    def _again(self, note: Callable[[], None]) -> None:
        note()
        self._news_s = min(self._news_s, self._clock() + NEWS_AFTER_FAILURE_S)

    def learn(self, address: str, reply: bytes) -> None:
        """The members, as the node at `address` sees them. What is no such message is ignored: it is only a hint."""
        try:
            cluster = wire.GetMembersResponse.FromString(reply)
        except DecodeError:
            return
        self.nodes.learn(_seen(cluster, address))
        self._levels.knows_vbuckets(_vbuckets(cluster))


def _unavailable(answer: Answer, text: str) -> Answer:
    return Answer(Code.UNAVAILABLE, text, b"", b"", answer.fate)


def _vbuckets(cluster: wire.GetMembersResponse) -> int:
    """One if all replicas of the cluster are replicas of the first; else as many as a node that has all."""
    if sum(node.replicas for node in cluster.nodes) == sum(len(group.replicas) for group in cluster.groups):
        return 1
    return max(node.replicas for node in cluster.nodes)


def _seen(cluster: wire.GetMembersResponse, asked: str) -> Iterator[Seen]:
    """The node that was asked goes by the name that it was asked under."""
    vbuckets = max((node.replicas for node in cluster.nodes), default=0)
    for node in cluster.nodes:
        address = asked if node.node == cluster.node else node.address
        yield Seen(address, node.isUp, 0 < vbuckets == node.leads)
