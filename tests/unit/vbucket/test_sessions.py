"""The table of sessions."""

import pytest

from dkv.model.commands import Outcome, Session
from dkv.model.errors import Corrupt
from dkv.vbucket import sessions as limits
from dkv.vbucket.sessions import SEEN, TOO_MANY, UNKNOWN, Sessions

SPACE = 12


class Table:
    """A table and its rows."""

    def __init__(self) -> None:
        self.sessions = Sessions(SPACE)
        self.rows: dict[bytes, bytes | None] = {}
        self.number = 0

    def write(self, name: bytes, sequence: int, lowest: int, log_time: int = 0) -> Outcome:
        session = Session(name, sequence, lowest)
        known = self.sessions.known(session, self.number)
        if known is not None:
            return known
        self.number += 1
        outcome = Outcome(True, self.number)
        self.sessions.keep(session, outcome, log_time, self.rows)
        return outcome

    def live(self) -> list[tuple[bytes, bytes]]:
        return sorted((key, row) for key, row in self.rows.items() if row is not None)

    def reload(self) -> None:
        self.sessions = Sessions(SPACE)
        self.sessions.load(self.live())


def test_session_opens_only_with_lowest_zero() -> None:
    """No retry looks like an opening, so a forgotten session is never opened by one."""
    table = Table()
    assert table.write(b"s", 1, 1) == Outcome(False, 0, UNKNOWN)
    assert table.write(b"s", 5, 0) == Outcome(True, 1)
    assert table.write(b"s", 6, 5) == Outcome(True, 2)
    assert table.write(b"s", 4, 0) == Outcome(False, 2, SEEN)


@pytest.mark.parametrize("reload", [False, True])
def test_session_retry_gets_the_stored_outcome(reload: bool) -> None:
    """Until its client says it has seen it; then it is refused, not applied."""
    table = Table()
    table.write(b"s", 1, 0)
    table.write(b"s", 2, 1)
    if reload:
        table.reload()
    assert table.write(b"s", 1, 1) == Outcome(True, 1)
    assert table.write(b"s", 3, 3) == Outcome(True, 3)
    if reload:
        table.reload()
    assert table.write(b"s", 2, 1) == Outcome(False, 3, SEEN)
    assert len(table.live()) == 1


def test_session_without_writes_for_an_hour_is_forgotten() -> None:
    """By log time; its retries are of unknown outcome and its rows go."""
    table = Table()
    table.write(b"old", 1, 0, 0)
    table.write(b"new", 1, 0, 1)
    table.sessions.expire(limits.IDLE_MS_MAX, table.rows)
    assert table.write(b"old", 1, 1).error == UNKNOWN
    assert table.write(b"new", 1, 1) == Outcome(True, 2)
    assert len(table.live()) == 1


def test_session_expiry_of_many_takes_several_entries() -> None:
    """One entry removes a bounded number of rows."""
    table = Table()
    for number in range(100):
        table.write(b"%d" % number, 1, 0)
    table.sessions.expire(limits.IDLE_MS_MAX, table.rows)
    assert len(table.sessions) == 100 - limits.EXPIRED_PER_ENTRY_MAX
    table.sessions.expire(limits.IDLE_MS_MAX, table.rows)
    assert table.live() == []


@pytest.mark.parametrize("reload", [False, True])
def test_session_beyond_the_bound_pushes_out_the_least_recently_used(
    monkeypatch: pytest.MonkeyPatch, reload: bool
) -> None:
    """The order of use survives reading the table back."""
    monkeypatch.setattr(limits, "SESSIONS_MAX", 2)
    table = Table()
    table.write(b"a", 1, 0)
    table.write(b"b", 1, 0)
    table.write(b"a", 2, 1)
    if reload:
        table.reload()
    table.write(b"c", 1, 0)
    assert table.write(b"a", 2, 1) == Outcome(True, 3)
    assert table.write(b"b", 1, 1).error == UNKNOWN


def test_session_with_too_many_results_outstanding_is_refused_until_it_acknowledges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that never acknowledges cannot fill the table."""
    monkeypatch.setattr(limits, "OUTSTANDING_MAX", 2)
    table = Table()
    table.write(b"s", 1, 0)
    table.write(b"s", 2, 1)
    assert table.write(b"s", 3, 1) == Outcome(False, 2, TOO_MANY)
    assert table.write(b"s", 3, 2) == Outcome(True, 3)


@pytest.mark.parametrize("damage", ["short key", "wrong length", "short row", "bad flag"])
def test_session_row_that_is_malformed_raises_corrupt(damage: str) -> None:
    """Damage is found when the table is read."""
    table = Table()
    table.write(b"s", 1, 0)
    key, row = table.live()[0]
    bad = {
        "short key": (key[:12], row),
        "wrong length": (key[:4] + b"\2" + key[5:], row),
        "short row": (key, row[:-1]),
        "bad flag": (key, row[:-1] + b"\2"),
    }[damage]
    with pytest.raises(Corrupt):
        Sessions(SPACE).load([bad])


def test_session_acknowledged_out_of_order_keeps_its_lowest_when_read_back() -> None:
    """The highest of the rows counts, not the one of the highest sequence."""
    table = Table()
    table.write(b"s", 1, 0)
    table.write(b"s", 4, 1)
    table.write(b"s", 3, 3)
    table.reload()
    assert table.write(b"s", 2, 1) == Outcome(False, 3, SEEN)
