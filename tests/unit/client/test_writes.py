"""The numbers of writes in their sessions, against the server's own table of sessions."""

from collections.abc import Iterator

import pytest

from dkv.client.exchange import EVERYWHERE
from dkv.client.writes import OUTSTANDING_MAX, Write, WriteLine, WriteLines
from dkv.model.commands import Outcome, Session
from dkv.vbucket.routing import vbucket_of
from dkv.vbucket.sessions import OUTSTANDING_MAX as KEPT_MAX
from dkv.vbucket.sessions import Sessions
from dkv.wire import messages as wire


def names() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"session-%08d" % number


@pytest.fixture
def line() -> WriteLine:
    made = names()
    return WriteLine(lambda: next(made))


def sent(write: Write) -> Session:
    """What the next attempt says."""
    request = wire.PutRequest.FromString(write.fields())
    return Session(request.session, request.sequence, request.lowestOutstanding)


def begun(line: WriteLine) -> Write:
    write = line.begin()
    assert write is not None
    return write


def opened(line: WriteLine) -> None:
    line.end(begun(line), True)


def test_first_write_opens_the_session_alone(line: WriteLine) -> None:
    """It carries 0; the next one waits until it was answered, and carries at least 1."""
    first = begun(line)
    assert sent(first) == (b"session-00000001", 1, 0)
    assert line.begin() is None
    line.end(first, True)
    assert sent(begun(line)) == (b"session-00000001", 2, 2)


def test_first_write_sent_again_opens_only_while_it_cannot_have_arrived(line: WriteLine) -> None:
    """A retry of it never looks like an opening."""
    first = begun(line)
    assert sent(first).lowest_outstanding == 0
    first.unsure()
    assert sent(first) == (b"session-00000001", 1, 1)


def test_session_whose_opening_was_given_up_is_not_used_again(line: WriteLine) -> None:
    """Nobody knows whether it is open."""
    line.end(begun(line), False)
    assert sent(begun(line)) == (b"session-00000002", 1, 0)


def test_lowest_outstanding_waits_for_the_slowest(line: WriteLine) -> None:
    """Results are acknowledged in order, and given up writes do not hold the rest."""
    opened(line)
    slow, second, third = (begun(line) for _ in range(3))
    line.end(second, True)
    assert sent(third).lowest_outstanding == slow.sequence
    line.end(slow, False)
    assert sent(third).lowest_outstanding == third.sequence


def test_writes_under_way_stay_below_what_a_server_keeps(line: WriteLine) -> None:
    """Counted from the slowest one."""
    opened(line)
    slow, *others = (begun(line) for _ in range(OUTSTANDING_MAX))
    assert (line.room, line.begin()) == (0, None)
    for write in others:
        line.end(write, True)
    assert line.room == 0
    line.end(slow, True)
    assert line.room == OUTSTANDING_MAX
    assert OUTSTANDING_MAX < KEPT_MAX


def test_session_forgotten_by_the_server_ends_with_its_last_write(line: WriteLine) -> None:
    """New writes begin in a new one at once; those under way keep their numbers."""
    opened(line)
    old, other = begun(line), begun(line)
    line.forgotten(old)
    line.end(old, False)
    new = begun(line)
    assert sent(new) == (b"session-00000002", 1, 0)
    line.end(other, True)
    assert line.begin() is None


def test_every_attempt_applies_once_on_the_servers_table(line: WriteLine) -> None:
    """Writes that end in any order, each sent twice."""
    table, applied, rows = Sessions(4), list[int](), dict[bytes, bytes | None]()

    def serve(write: Write) -> Outcome:
        session = sent(write)
        known = table.known(session, 0)
        if known is None:
            known = Outcome(True, len(applied) + 1)
            applied.append(session.sequence)
            table.keep(session, known, 0, rows)
        return known

    first = begun(line)
    assert serve(first).error == ""
    first.unsure()
    assert serve(first).change_number == 1
    line.end(first, True)
    for _ in range(5):
        writes = [begun(line) for _ in range(20)]
        for write in writes[1::2] + writes[::2]:
            outcome = serve(write)
            write.unsure()
            assert serve(write) == outcome
            line.end(write, True)
    assert sorted(applied) == list(range(1, 102))


def test_every_vbucket_has_a_line_of_its_own_and_so_have_writes_that_concern_all() -> None:
    """A session lives in one vBucket. Before it is known that there are several, one line does for everything, and what
    was opened then is not used again."""
    made, counts = names(), [1]
    lines = WriteLines(lambda: next(made), lambda: counts[0])
    keys = [b"key %d" % number for number in range(20)]
    first = lines.of(keys[0])
    assert {lines.of(key) for key in (*keys, EVERYWHERE)} == {first}
    counts[0] = 4
    found: dict[int, WriteLine] = {}
    for key in keys:
        assert found.setdefault(vbucket_of(key, 4), lines.of(key)) is lines.of(key)
    all_lines = [*found.values(), lines.of(EVERYWHERE), first]
    assert len(set(all_lines)) == 6
    assert len({sent(begun(each))[0] for each in all_lines}) == 6
