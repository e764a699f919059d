"""URLs: every part means something, or is refused."""

import pytest

import dkv
from dkv.client.url import Options, duration_s, parse


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("dkv://127.0.0.1:8080?timeout=2s", Options("127.0.0.1:8080", timeout_s=2)),
        ("dkv://db.example", Options("db.example:8080")),
        ("dkv://db.example:1/", Options("db.example:1")),
        ("dkv://[::1]:9000?timeout=500ms", Options("[::1]:9000", timeout_s=0.5)),
        ("dkv:///run/dk%20v.sock?timeout=3", Options("unix:/run/dk v.sock", timeout_s=3)),
        ("dkv://h:1?consistency=sequential&authority=x", Options("h:1", level="sequential", authority="x")),
        ("dkv://a,[::1]:2,c:3?reads=leader",
         Options("a:8080", others=("[::1]:2", "c:3"), learns_members=True, reads_at_leader=True)),
        ("dkv://a,b?members=given", Options("a:8080", others=("b:8080",))),
        ("dkv://a?members=learn&consistency=read_your_writes",
         Options("a:8080", learns_members=True, level="read_your_writes")),
    ],
)  # fmt: skip
def test_url_says_where_and_how(url: str, options: Options) -> None:
    """With defaults for what it leaves out."""
    assert parse(url) == options


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "expected dkv://"),
        ("127.0.0.1:8080", "expected dkv://"),
        ("http://127.0.0.1:8080", "expected dkv://"),
        ("dkv://", "expected dkv://"),
        ("dkv://:8080", "expected dkv://"),
        ("dkv://h:port", "port"),
        ("dkv://h:99999", "Port out of range"),
        ("dkv://[::1:8080", "IPv6|netloc|\\]"),
        ("dkv://h/database", "path must be empty"),
        ("dkv://me@h", "user"),
        ("dkv://h#here", "fragment"),
        ("dkv://h?timeout", "timeout|parsing"),
        ("dkv://h?timeout=", "not a duration"),
        ("dkv://h?timeout=2x", "not a duration"),
        ("dkv://h?timeout=nan", "1 ms to one day"),
        ("dkv://h?timeout=0s", "1 ms to one day"),
        ("dkv://h?timeout=25h", "1 ms to one day"),
        ("dkv://h?timeout=1s&timeout=2s", "twice"),
        ("dkv://h?consistency=strong", "linearizable or read_your_writes or sequential"),
        ("dkv://a,", "expected dkv://"),
        ("dkv://,a", "expected dkv://"),
        ("dkv://a,b:port", "port"),
        ("dkv://a,b,a:8080", "given twice"),
        ("dkv://a,b?members=some", "members is learn or given"),
        ("dkv://a,b?reads=here", "reads is any or leader"),
        ("dkv://h?tiemout=2s", "unknown option tiemout"),
    ],
)
def test_url_that_is_none_says_what_is_wrong(url: str, why: str) -> None:
    """Nothing is ignored."""
    with pytest.raises(dkv.InvalidRequest, match=why):
        parse(url)


def test_durations_have_units() -> None:
    """As in Go, or bare seconds."""
    assert [duration_s(text) for text in ("5ms", "2s", "1.5m", "1h", "0.25")] == [0.005, 2, 90, 3600, 0.25]


def test_addresses_are_shuffled_whole() -> None:
    """So that clients spread over the nodes."""
    numbers = iter([b"3", b"1", b"2"])
    assert parse("dkv://a,b,c").shuffled(lambda: next(numbers)).addresses == ("b:8080", "c:8080", "a:8080")
