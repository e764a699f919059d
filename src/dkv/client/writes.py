"""The client's half of exactly once (INVARIANTS 15, docs/formats/rows.md): every write has a number in a session.

    write = line.begin()          None: not now, another write opens the session, or too many are under way
    write.fields()                what each attempt carries
    write.unsure()                an attempt may have arrived: from now on it is a retry
    line.end(write, opened)       its result is known, or nobody wants it any more

A session lives in one vBucket. So a client has a line for each in which it writes, and one for writes that concern all.

Invariants: a sequence is used by one write only, whatever becomes of it. The first write of a session goes alone, since
a later one that overtook it would meet a session that is not open. Only a write of which no attempt can have arrived
carries *lowest outstanding* 0. A session of which it is not known that it was opened is never used again.

Not thread-safe: whoever shares a line guards it. A forked child needs a line of its own.
"""

from collections.abc import Callable

from dkv.wire.requests import in_session, session_head

OUTSTANDING_MAX = 1_000
"""A server keeps 1,024 results of a session; more would be refused."""


class Session:
    """One name, and the sequences under way in it."""

    __slots__ = ("head", "is_open", "is_spent", "lowest", "next_sequence", "outstanding")

    def __init__(self, name: bytes) -> None:
        self.head: bytes = session_head(name)
        self.next_sequence: int = 1
        self.lowest: int = 1
        self.outstanding: set[int] = set()
        self.is_open: bool = False
        """The server has it: some write of it was answered."""
        self.is_spent: bool = False
        """Not to be used for new writes."""

    @property
    def room(self) -> int:
        """How many more writes may begin now."""
        if not self.is_open:
            return 1 if self.next_sequence == 1 else 0
        return OUTSTANDING_MAX - (self.next_sequence - self.lowest)


class Write:
    """One write's place in its session."""

    __slots__ = ("is_retry", "sequence", "session")

    def __init__(self, session: Session, sequence: int) -> None:
        self.session: Session = session
        self.sequence: int = sequence
        self.is_retry: bool = False
        """An earlier attempt may have arrived."""

    def fields(self) -> bytes:
        """Fields 110 to 112 of the next attempt."""
        session = self.session
        is_opening = self.sequence == 1 and not self.is_retry
        return in_session(session.head, self.sequence, 0 if is_opening else session.lowest)

    def unsure(self) -> None:
        """An attempt may have arrived."""
        self.is_retry = True


class WriteLine:
    """The sessions of one client in a vBucket, one after the other. `name` makes 16 bytes that nobody else has."""

    def __init__(self, name: Callable[[], bytes]) -> None:
        self._name = name
        self._session = Session(name())

    @property
    def room(self) -> int:
        """How many writes `begin` would take now."""
        return 1 if self._session.is_spent else self._session.room

    def begin(self) -> Write | None:
        """The next write; None: wait until one has ended."""
        if self._session.is_spent:
            self._session = Session(self._name())
        session = self._session
        if session.room < 1:
            return None
        sequence = session.next_sequence
        session.next_sequence += 1
        session.outstanding.add(sequence)
        return Write(session, sequence)

    def end(self, write: Write, is_answered: bool) -> None:
        """`is_answered`: the server applied it, or gave the result that it had; else the write was given up."""
        session = write.session
        if is_answered:
            session.is_open = True
        elif write.sequence == 1:
            session.is_spent = True
        outstanding = session.outstanding
        outstanding.discard(write.sequence)
        while session.lowest < session.next_sequence and session.lowest not in outstanding:
            session.lowest += 1

    def forgotten(self, write: Write) -> None:
        """The server does not know the session any more."""
        write.session.is_spent = True


class WriteLines:
    """Of one client. `vbuckets` says how many the cluster has, as far as is known; nobody but the server minds if that
    is wrong, as it then has a session opened anew."""

    def __init__(self, name: Callable[[], bytes], vbuckets: Callable[[], int]) -> None:
        self._name, self._vbuckets = name, vbuckets
        self._count = 1
        self._vbucket_of: Callable[[bytes, int], int] = _the_only_one
        self._lines: dict[int, WriteLine] = {}
        """By vBucket; 0: for writes that concern all, and for all where there is one."""

    def of(self, key: bytes) -> WriteLine:
        """The line for a write that is about this key, or, without one, about all."""
        if (count := self._vbuckets()) != self._count:
            self._learn(count)
        vbucket = self._vbucket_of(key, count) if key else 0
        line = self._lines.get(vbucket)
        if line is None:
            line = self._lines[vbucket] = WriteLine(self._name)
        return line

    def _learn(self, count: int) -> None:
        """A session that was opened in one vBucket would be half known to all, so none is used any more."""
        from dkv.vbucket.routing import vbucket_of  # Loaded by clients of clusters that have several.

        self._count, self._lines = count, {}
        self._vbucket_of = vbucket_of if count > 1 else _the_only_one


def _the_only_one(key: bytes, count: int) -> int:
    return 0
