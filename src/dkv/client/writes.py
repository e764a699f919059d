"""The client's half of exactly once (INVARIANTS 15, docs/formats/rows.md): every write has a number in a session.

    write = line.begin()          None: not now, another write opens the session, or too many are under way
    write.fields()                what each attempt carries
    write.unsure()                an attempt may have arrived: from now on it is a retry
    line.end(write, opened)       its result is known, or nobody wants it any more

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
    """The sessions of one client, one after the other. `name` makes 16 bytes that nobody else has."""

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
