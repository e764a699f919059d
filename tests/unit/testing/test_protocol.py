"""The clients' own spelling of the wire, against bytes written by hand from the message tables."""

import pytest

from dkv.model.commands import Session
from dkv.testing.edge import Reply
from dkv.testing.history import Entry, History, Kind, Status
from dkv.testing.protocol import Method, field, parse, record, request


def reply(message: bytes, items: list[bytes] | None = None) -> Reply:
    return Reply(1, 0, message, "", b"", 0, items or [])


def test_request_put_has_key_value_seconds_and_session() -> None:
    """Fields 1, 2, 3 (seconds) and 110 to 112."""
    entry = Entry(b"k", b"v", expires_at=300_000)
    expected = b"\x0a\x01k\x12\x01v\x18\xac\x02" + b"\xf2\x06\x01s\xf8\x06\x02\x80\x07\x01"
    assert request(Method.PUT, (entry,), Session(b"s", 2, 1)) == expected


def test_request_multi_put_nests_its_puts() -> None:
    """Field 1, repeated, each a PutRequest."""
    message = request(Method.MULTI_PUT, (Entry(b"a", b"1"), Entry(b"b", b"2")), None)
    assert message == b"\x0a\x06\x0a\x01a\x12\x011" + b"\x0a\x06\x0a\x01b\x12\x012"


def test_request_iterate_asks_for_the_group() -> None:
    """The prefix up to the slash."""
    assert request(Method.ITERATE, (Entry(b"g0/a"), Entry(b"g0/b")), None) == b"\x0a\x03g0/"


def test_request_delete_range_ends_before_the_next_group() -> None:
    """From the prefix to the first key that does not have it."""
    message = request(Method.DELETE_RANGE, (Entry(b"g0/a"), Entry(b"g0/b")), None)
    assert message == b"\x0a\x03g0/\x12\x03g00"


def test_request_put_has_a_relative_time_to_live() -> None:
    """Field 100, milliseconds."""
    message = request(Method.PUT, (Entry(b"k", b"v", ttl_ms=5),), None)
    assert message == b"\x0a\x01k\x12\x01v\xa0\x06\x05"


def test_parse_reads_what_field_writes() -> None:
    """Varints of any size and bytes come back; repeated fields keep their order."""
    message = field(1, 1 << 63) + field(2, b"x") + field(2, b"y") + field(3, 0)
    assert parse(message) == {1: [1 << 63], 2: [b"x", b"y"]}


@pytest.mark.parametrize("broken", [b"\x0a\x05ab", b"\x80", b"\x0d\x00\x00\x00\x00"])
def test_parse_refuses_broken_messages(broken: bytes) -> None:
    """A message cut short, or a wire type that no message here has."""
    with pytest.raises(ValueError, match=r"cut short|wire type"):
        parse(broken)


def test_record_compare_and_set_tells_whether_it_took_effect() -> None:
    """Field 2 absent means false, and then no change number was taken."""
    history = History()
    call = history.invoke(0, Kind.CAS, (Entry(b"k", b"v"),))
    record(history, call, Method.CAS, reply(b"\x0a\x00" + field(100, 7)))
    assert (call.status, call.took_effect, list(call.change_numbers)) == (Status.OK, False, [])


def test_record_get_tells_empty_from_missing() -> None:
    """Field 100 says whether the key was there."""
    for message, seen in [(field(2, b"v") + field(100, 1), b"v"), (field(100, 1), b""), (b"", None)]:
        history = History()
        call = history.invoke(0, Kind.GET, (Entry(b"k"),))
        record(history, call, Method.GET, reply(message))
        assert call.seen == (seen,)


def test_record_multi_get_finds_what_was_left_out() -> None:
    """Missing keys are not in the reply."""
    history = History()
    call = history.invoke(0, Kind.GET, (Entry(b"a"), Entry(b"b")))
    record(history, call, Method.MULTI_GET, reply(field(2, field(1, b"b") + field(2, b"2"))))
    assert call.seen == (None, b"2")


def test_record_refuses_a_key_that_was_not_asked_for() -> None:
    """An iterate beyond its prefix is a bug, not a result."""
    history = History()
    call = history.invoke(0, Kind.GET, (Entry(b"g0/a"),))
    with pytest.raises(ValueError, match="not asked"):
        record(history, call, Method.ITERATE, reply(b"", [field(2, b"g1/a") + field(3, b"v")]))
