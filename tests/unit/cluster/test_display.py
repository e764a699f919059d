"""What people are shown of nodes."""

import pytest

from dkv.cluster.display import display_id, is_called
from dkv.model.errors import InvalidRequest
from dkv.model.members import Member
from dkv.model.node_urls import address_of, checked_address, url_of


@pytest.mark.parametrize(
    ("url", "shown"), [("http://127.0.0.1:9091", 0xC63380DD0A493345), ("127.0.0.1:9094", 0x6AB6BFDF9F29BD1A)]
)
def test_displayed_id_is_that_of_the_original(url: str, shown: int) -> None:
    """The two of COMPATIBILITY 1.5; scheme or not."""
    assert display_id(url) == shown


@pytest.mark.parametrize(
    ("url", "address"),
    [("http://a:1", "a:1"), ("http://a:1/", "a:1"), ("http://[::1]:80", "[::1]:80"), (url_of("b:2"), "b:2")],
)
def test_url_of_a_node_has_its_address(url: str, address: str) -> None:
    """Host and port, and nothing else."""
    assert address_of(url) == address


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("a:1", "given listen address, a:1 must have HTTP scheme"),
        ("https://a:1", "given listen address, https://a:1 must have HTTP scheme"),
        ("http://a", "given listen address, http://a must include port number"),
        ("http://a:0", "given listen address, http://a:0 must include port number"),
        ("http://a:x", "given listen address, http://a:x is not a valid URL, error: "),
        ("http://[a:1", "given listen address, http://[a:1 is not a valid URL, error: "),
        ("http://:1", "given listen address, http://:1 is not a valid URL, error: "),
        ("http://a:1/path", "given listen address, http://a:1/path is not a valid URL, error: "),
        ("http://a b:1", "given listen address, http://a b:1 is not a valid URL, error: "),
    ],
)
def test_url_that_is_none_is_refused_in_the_originals_words(url: str, text: str) -> None:
    """COMPATIBILITY 1.6."""
    with pytest.raises(InvalidRequest) as refusal:
        address_of(url)
    assert str(refusal.value).startswith(text)


@pytest.mark.parametrize(("name", "fits"), [("a:1", True), ("http://a:1", True), ("n:9", True), ("b:1", False)])
def test_member_is_called_by_address_or_url(name: str, fits: bool) -> None:
    """Nodes of the original's options have two addresses."""
    assert is_called(Member(1, 1, "n:9", "http://a:1"), name) == fits


@pytest.mark.parametrize("address", ["h:1", "10.0.0.1:8080", "[::1]:1", "Host.example:80"])
def test_address_of_a_node_is_taken_as_it_is(address: str) -> None:
    """Whatever can be connected to."""
    assert checked_address(address) == address


@pytest.mark.parametrize("address", ["", "h", "h:", "h:0", ":1", "h:1/x", "u@h:1", "h:99999", "::1:1", "unix:/s"])
def test_address_that_no_node_can_use_is_refused(address: str) -> None:
    """In a directory it would end every node that reads it."""
    with pytest.raises(InvalidRequest, match="is no address of a node"):
        checked_address(address)
