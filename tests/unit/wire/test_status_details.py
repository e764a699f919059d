"""Typed errors through the details of a status and back."""

import pytest

from dkv.model import errors
from dkv.wire.errors import from_status, to_details

TYPED = [
    errors.LimitExceeded("value bytes", 10, 11, 3),
    errors.LimitExceeded("key bytes", 10, 11),
    errors.HistoryPurged(5, 10, 20),
    errors.StaleRead("too old", 7),
    errors.StaleRead("too old", 7, "h:1"),
    errors.BeyondHistory("not yet"),
    errors.OutcomeUnknown("who knows"),
    errors.Overloaded("full", 250),
]


@pytest.mark.parametrize("error", TYPED, ids=lambda error: type(error).__name__)
def test_typed_error_through_a_status_comes_back_equal(error: errors.DkvError) -> None:
    """Class, text and fields survive the wire."""
    back = from_status(int(error.code), str(error), to_details(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)


@pytest.mark.parametrize("error", [errors.InvalidRequest("bad"), errors.NoLeader("none")], ids=str)
def test_untyped_error_has_no_details_and_keeps_its_code(error: errors.DkvError) -> None:
    """Without details the code still sorts the error."""
    assert to_details(error) == b""
    back = from_status(int(error.code), str(error))
    assert back.code == error.code
    assert str(back) == str(error)


def test_status_with_broken_details_still_yields_an_error() -> None:
    """Details from a stranger never raise."""
    assert from_status(5, "gone", b"\xff\xff").code == errors.Code.NOT_FOUND
    assert str(from_status(77, "odd", b"")) == "odd"
