"""Simulated clients: each has one logical operation at a time, invents it from its stream, and retries like a client.

A retry of a write carries the same session and sequence; a client without sessions never repeats a write whose outcome
it does not know. The first attempt of a session's first write opens it (lowest outstanding 0), no later one does. What
an attempt's end allows to conclude is the heart of it: an error that says "not proposed" settles only its own attempt.
If an earlier attempt of the same write was lost, the write stays unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dkv.model.commands import Session
from dkv.model.errors import Code
from dkv.testing import protocol
from dkv.testing.edge import Reply
from dkv.testing.history import Call, Entry, History, Kind, Level
from dkv.testing.protocol import MS, Method, Terms, record, request
from dkv.vbucket.routing import vbucket_of
from dkv.wire.messages import Acknowledgement

Send = Callable[[Method, bytes], int]

PLAIN_KEYS = tuple(b"k%d" % i for i in range(4))
TTL_KEYS = tuple(b"t%d" % i for i in range(2))
GROUP_KEYS = ((b"g0/e", b"g0/s", b"g0/ac"), (b"g1/au", b"g1/bc", b"g1/bi"))
"""Of up to four vBuckets those of a group lie in one, as a MultiPut needs, and the two groups in different ones."""
GROUP_OF = {key: f"g{g}" for g, keys in enumerate(GROUP_KEYS) for key in keys}
ALL_KEYS = PLAIN_KEYS + TTL_KEYS + tuple(GROUP_OF)
ATTEMPTS_MAX = 8
STALENESS_MS = (1, 50, 500, 5_000)
NOT_DONE = (
    Code.UNAVAILABLE,
    Code.RESOURCE_EXHAUSTED,
    Code.INVALID_ARGUMENT,
    Code.FAILED_PRECONDITION,
    Code.OUT_OF_RANGE,
    Code.ABORTED,
)
"""Statuses that promise that this attempt had no effect."""


@dataclass(slots=True)
class Client:
    """Owned by the world; `number` names its streams and sessions."""

    number: int
    rng: Random
    history: History
    has_session: bool
    at: int = 0
    """The machine that it asks."""
    call_id: int | None = None
    """The attempt it waits for."""
    call: Call | None = None
    """The logical operation under way."""
    acknowledged: int = 0
    levels: tuple[Level, ...] = ()
    """Of its reads; empty: there is one node, where all are the same."""
    vbuckets: int = 1
    """How many the keys are divided into."""
    by_all: float = 0.0
    """How many of its writes ask for the disks of all voters."""
    numbers_seen: dict[int, int] = field(default_factory=dict)
    """The latest change it knows of, by vBucket: what it reads and writes says so."""
    fast_share: float = 0.0
    """How many of its Puts and Deletes ask to be answered before anybody has them."""
    wants: Level | None = None
    """What its next operation is, if not what its stream says: a read of this level."""
    asks: Method | None = None
    """The same of other operations."""
    _method: Method = Method.GET
    _session: Session | None = None
    _sequence: int = 0
    _is_session_open: bool = False
    _incarnation: int = 0
    _attempts: int = 0
    _may_have_happened: bool = False
    _is_fast: bool = False
    _last_seen: dict[bytes, bytes] = field(default_factory=dict)

    def act(self, send: Send, wall_ms: int) -> str:
        """Start an operation, or repeat the one under way. Only while no attempt is open."""
        if self.call is None:
            self._begin(wall_ms)
        return self._attempt(send)

    def begin(self, method: Method, kind: Kind, entries: tuple[Entry, ...]) -> Call:
        """Start this very operation; `act` sends it."""
        self.call = self.history.invoke(self.number, kind, entries)
        self._method, self._attempts, self._may_have_happened, self._session = method, 0, False, None
        self.call.is_spread = method is Method.DELETE_RANGE and self.vbuckets > 1
        if self.call.is_write:
            self.call.by_all = self.by_all > 0 and self.rng.random() < self.by_all
        self._is_fast = False
        if self.call.is_write and self.has_session:
            self._sequence += 1
            name = b"c%d.%d" % (self.number, self._incarnation)
            self._session = Session(name, self._sequence, self._sequence if self._is_session_open else 0)
        elif self.call.is_write and self.fast_share and method in (Method.PUT, Method.DELETE):
            self._is_fast = not self.call.by_all and self.rng.random() < self.fast_share
        elif self.levels and not self.call.is_write:
            self._choose_level(self.call, {vbucket_of(entry.key, self.vbuckets) for entry in entries})
        return self.call

    def _choose_level(self, call: Call, vbuckets: set[int]) -> None:
        """A token is of one vBucket, and an Iterate of all."""
        call.level = level = self.wants or self.rng.choice(self.levels)
        if level is Level.BOUNDED_STALENESS:
            call.staleness_ms_max = self.rng.choice(STALENESS_MS)
        elif level is Level.READ_YOUR_WRITES:
            if self.vbuckets > 1 and (len(vbuckets) > 1 or self._method is Method.ITERATE):
                call.level = Level.LINEARIZABLE
            else:
                call.number_min = self.numbers_seen.get(min(vbuckets), 0)

    def replied(self, reply: Reply) -> str:
        """The open attempt has ended with an answer."""
        call, self.call_id = self.call, None
        assert call is not None
        if reply.code == Code.OK and self._is_fast:
            self.lost()  # it was accepted, no more
        elif reply.code == Code.OK:
            record(self.history, call, self._method, reply)
            self._no_more_opening()
            self.acknowledged += call.is_write
            self._remember(call)
            self.call = None
        elif reply.code in NOT_DONE:
            self._not_now()
        elif reply.code == Code.DEADLINE_EXCEEDED:
            self._unknown(reply.reason)
        elif reply.code == Code.DATA_LOSS and not call.is_write:
            self.lost()
        else:
            raise AssertionError(f"code {reply.code} ({reply.reason}) ended {call}")
        return f"{reply.code} {reply.reason} {call}"

    def lost(self) -> None:
        """The attempt ended without an answer: nobody knows."""
        self.call_id = None
        self._may_have_happened = True
        self._no_more_opening()
        if self._session is None or self._attempts >= ATTEMPTS_MAX:
            self._end_without_result()

    def give_up(self) -> None:
        """End the operation under way as what it is."""
        if self.call is not None:
            self.call_id = None
            self._end_without_result()

    def _no_more_opening(self) -> None:
        """A lowest outstanding of 0 opens the session: never sent again once such an attempt may have arrived."""
        if self._session is not None:
            self._is_session_open = True
            self._session = self._session._replace(lowest_outstanding=self._sequence)

    def _unknown(self, reason: str) -> None:
        """The server does not know; if what it lacks is the session, asking again is of no use."""
        self.lost()
        if "session" in reason or "sequence" in reason:
            self.give_up()
            self._new_session()

    def _new_session(self) -> None:
        self._incarnation += 1
        self._sequence = 0
        self._is_session_open = False

    def _not_now(self) -> None:
        if self._attempts >= ATTEMPTS_MAX:
            self._end_without_result()

    def _end_without_result(self) -> None:
        assert self.call is not None
        if self._may_have_happened:
            self.history.unknown(self.call)
            if self._session is not None and self.rng.random() < 0.3:
                self._new_session()
        else:
            self.history.failed(self.call)
        self.call = None

    def _attempt(self, send: Send) -> str:
        assert self.call is not None
        self._attempts += 1
        is_strong = self.call.level is Level.LINEARIZABLE if self.levels else self.call.number % 2 == 1
        terms = Terms(is_strong, self.call.number_min, self.call.staleness_ms_max)
        message = request(self._method, self.call.entries, self._session, terms, by_all=self.call.by_all)
        if self._is_fast:
            message += protocol.field(113, Acknowledgement.FAST)
        self.call_id = send(self._method, message)
        return f"{self._method.rsplit('/')[-1]} {self.call_id} attempt {self._attempts} of {self.call}"

    def _begin(self, wall_ms: int) -> None:
        value = b"v%d" % len(self.history.calls)
        key = self.rng.choice(PLAIN_KEYS + TTL_KEYS)
        group = self.rng.choice(GROUP_KEYS)
        if self.wants is not None:
            self.begin(Method.GET, Kind.GET, (Entry(key),))
            return
        match self.asks or self.rng.choices(list(Method), weights=(5, 1, 3, 3, 4, 3, 1, 1))[0]:
            case Method.PUT:
                self.begin(Method.PUT, Kind.PUT, (Entry(key, value, expires_at=self._expiry(key, wall_ms)),))
            case Method.DELETE:
                self.begin(Method.DELETE, Kind.DELETE, (Entry(key),))
            case Method.CAS:
                self.begin(Method.CAS, Kind.CAS, (Entry(key, value, self._expected(key)),))
            case Method.MULTI_PUT:
                self.begin(Method.MULTI_PUT, Kind.PUT, tuple(Entry(each, value) for each in group))
            case Method.GET:
                self.begin(Method.GET, Kind.GET, (Entry(key),))
            case Method.MULTI_GET:
                self.begin(Method.MULTI_GET, Kind.GET, tuple(Entry(each) for each in (key, *group)))
            case Method.ITERATE:
                self.begin(Method.ITERATE, Kind.GET, tuple(map(Entry, group)))
            case Method.DELETE_RANGE:
                self.begin(Method.DELETE_RANGE, Kind.DELETE, tuple(map(Entry, group)))

    def _expiry(self, key: bytes, wall_ms: int) -> int:
        """Sometimes past, never far; whole seconds, as the wire has it."""
        if key not in TTL_KEYS or self.rng.random() < 0.2:
            return 0
        return (wall_ms // MS + self.rng.randint(-1, 4)) * MS

    def _expected(self, key: bytes) -> bytes:
        return b"" if self.rng.random() < 0.3 else self._last_seen.get(key, b"")

    def _remember(self, call: Call) -> None:
        values = call.seen if call.kind is Kind.GET else [entry.value for entry in call.entries]
        for entry, value in zip(call.entries, values, strict=True):
            self._last_seen[entry.key] = value or b""
        if len(vbuckets := {vbucket_of(entry.key, self.vbuckets) for entry in call.entries}) == 1:
            vbucket = vbuckets.pop()
            known = self.numbers_seen.get(vbucket, 0)
            self.numbers_seen[vbucket] = max(known, call.change_number, call.applied)
